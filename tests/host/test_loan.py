"""A checkpoint for one run, and a person's own one offered back."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from browser import WIDE, Tab, expect, screenshot
from test_runs import calls


def loaded(host) -> str:
    return host.get("/instruct-edit/v1/status").json()["model"]


def chosen(host) -> str:
    return host.get("/sdapi/v1/options").json()["sd_model_checkpoint"]


@pytest.fixture(scope="module")
def plain(chromium, running_webui, quick, photo_file):
    """The tab in a WebUI whose checkpoint does not edit."""
    with running_webui.options(sd_model_checkpoint="plain.safetensors"):
        page = chromium.new_context(viewport=WIDE).new_page()
        yield Tab(page, running_webui.url).make_ready(photo_file)
        page.context.close()


def choose(tab, name: str) -> None:
    tab["checkpoint"].locator("input").click()
    tab["checkpoint"].locator("ul li", has_text=name).click()


def test_a_checkpoint_is_lent_for_an_edit_and_the_person_s_own_given_back(plain, host):
    own, stored = chosen(host), (host.folder / "config.json").read_text()
    choose(plain, "other-edit")
    expect(plain["lend"]).to_contain_text("a load each way")
    plain.set(lend=True)
    screenshot(plain, "lend")
    info = plain.generate()
    assert "Model: other-edit" in info["infotexts"][0]
    assert loaded(host).startswith("plain") and chosen(host) == own and (host.folder / "config.json").read_text() == stored
    expect(plain["lend"]).to_be_visible()
    plain.set(prompt="")
    plain.start()
    expect(plain.page.locator("#html_log_ip2p .error")).to_contain_text("The instruction is empty")
    assert loaded(host).startswith("plain")


def test_a_person_s_own_checkpoint_is_offered_back(plain, host):
    plain.open()
    plain.page.wait_for_function("ip2p_checkpoint !== null")  # by which the page notices that it is another
    choose(plain, "other-edit")
    plain["use_checkpoint"].click()
    expect(plain["give_back"]).to_contain_text("Give back “plain.safetensors")
    assert loaded(host).startswith("other-edit")
    expect(plain["lend"]).to_be_hidden()
    screenshot(plain, "give-back")
    plain["give_back"].click()
    expect(plain["notice"]).to_contain_text("is not an edit model")
    expect(plain["give_back"]).to_be_hidden()
    assert loaded(host).startswith("plain")
    assert plain.errors == []


# One request of the API


@pytest.fixture
def own(host):
    """What the settings say while the loaded checkpoint does not edit."""
    with host.options(sd_model_checkpoint="plain.safetensors"):
        yield chosen(host)
        host.probe("clear")
        assert loaded(host).startswith("plain") and chosen(host).startswith("plain")


def test_a_request_names_the_checkpoint_that_edits_it(host, own):
    assert "is not an edit model" in host.refusal()
    texts = [host.edit(model=name).infotexts[0] for name in ("other-edit", "edit.safetensors")]
    assert [text.partition("Model: ")[2].split(",")[0] for text in texts] == ["other-edit", "edit"]
    assert loaded(host).startswith("plain") and chosen(host) == own


@pytest.mark.parametrize(
    "name, sentence", [("nothing", "There is no checkpoint “nothing”. Edit"), ("plain", "“plain” is not an edit checkpoint. Edit")]
)
def test_a_checkpoint_that_does_not_edit_is_refused(host, own, name, sentence):
    refusal = host.refusal(model=name)
    assert refusal.startswith(f"{sentence} checkpoints found: ") and "other-edit.safetensors" in refusal


def test_a_checkpoint_is_given_back_after_a_failure(host, own):
    host.probe("switch", fail_at=2)
    assert host.ask(model="other-edit").status_code == 500
    assert loaded(host).startswith("plain") and chosen(host) == own


def test_a_checkpoint_is_given_back_after_an_interruption(host, own):
    host.probe("switch", seconds=0.2)
    with ThreadPoolExecutor() as threads:
        job = threads.submit(host.edit, model="other-edit", steps=60)
        calls(host, 2)
        assert host.post("/sdapi/v1/interrupt").ok
        assert job.result().info["interrupted"]
    assert loaded(host).startswith("plain") and chosen(host) == own


def test_a_webui_that_keeps_two_checkpoints_loads_each_once(host, own):
    with host.options(sd_checkpoints_limit=2):
        host.edit(model="other-edit")
        before = host.log.count("Loading weights")
        host.edit(model="other-edit")
        assert host.log.count("Loading weights") == before
        assert loaded(host).startswith("plain")

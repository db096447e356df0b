"""A checkpoint for one run, and a person's own one offered back."""

import pytest

from browser import WIDE, Tab, expect, screenshot


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

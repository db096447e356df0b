"""The small checkpoint in a real WebUI: from a clean one to an edit with one button, and the command line's picture in the tab."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

from browser import RESULT, WIDE, Tab, expect, screenshot, wait_for
from webui import REPOSITORY, WebUI, checkpoints, find_webui

pytest.importorskip("diffusers", reason="the parity of the small checkpoint needs diffusers and transformers (pip install -e '.[edit]')")

from ip2p.__main__ import main
from ip2p.checkpoints.packaged import FAST, OWN, SMALL

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' own, with numpy 2
INSTRUCTION, SEED, STEPS = "make it winter", 7, 3
SUITS = SMALL.defaults
SUITING = [f"{value:g}" for value in (SUITS.longest_side, SUITS.text_scale, SUITS.image_scale, SUITS.steps)]
USUAL = ["512", "7.5", "1.5", "20"]  # of the published checkpoint, and of a new tab
PICTURE = REPOSITORY / "ip2p" / "examples" / "chelsea.jpg"


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """A WebUI of someone who has one checkpoint, which does not edit."""
    folder = tmp_path_factory.mktemp("models")
    for suffix in (".safetensors", ".yaml"):
        shutil.copyfile(checkpoints(find_webui()) / f"plain{suffix}", folder / f"plain{suffix}")
    host = WebUI(find_webui(), tmp_path_factory.mktemp("clean") / "data", "--ckpt-dir", folder, "--ckpt", folder / "plain.safetensors")
    host.models = folder
    try:
        yield host.wait()
    finally:
        host.stop()


@pytest.fixture
def tab(chromium, clean):
    """The tab, its own on a page of its own; no error of the page's script is allowed."""
    context = chromium.new_context(viewport=WIDE, accept_downloads=True)
    tab = Tab(context.new_page(), clean.url)
    yield tab
    context.close()
    assert tab.errors == []


@pytest.fixture
def installed(clean):
    """The same WebUI with the small checkpoint loaded."""
    with loaded(clean, SMALL):
        yield clean


@pytest.fixture
def fast(clean):
    """The same WebUI with the small checkpoint's fast version loaded."""
    with loaded(clean, FAST):
        yield clean


def loaded(host, own):
    own.install(host.models)
    assert host.post("/sdapi/v1/refresh-checkpoints").ok
    return host.options(sd_model_checkpoint=f"{own.in_webui}.safetensors")


def models_of(host) -> set[str]:
    return {path.name for path in host.models.iterdir()}


def suits(tab, values: list[str]) -> None:
    """Waits until the tab has these."""
    wait_for(tab, dict(zip(("longest_side", "text_scale", "image_scale", "steps"), values)))


def test_a_failure_is_a_sentence_and_leaves_nothing(tab, clean):
    in_the_way = clean.models / "instruct-edit-small.safetensors"
    in_the_way.mkdir()
    try:
        tab["install_small"].click()
        expect(tab["notice"]).to_contain_text("is there already")
        expect(tab["install_small"]).to_be_visible()
    finally:
        in_the_way.rmdir()
    assert models_of(clean) == {"plain.safetensors", "plain.yaml"}


@pytest.mark.parametrize("theme", ("dark", "light"))
def test_a_clean_webui_is_offered_the_small_checkpoint(chromium, clean, theme):
    context = chromium.new_context(viewport=WIDE)
    tab = Tab(context.new_page(), clean.url, theme)
    expect(tab["notice"]).to_contain_text("is not an edit model")
    expect(tab["notice"]).to_contain_text("does not add, remove or replace")
    expect(tab["install_small"]).to_be_visible()
    expect(tab["use_checkpoint"]).to_be_hidden()
    screenshot(tab, f"small-offered-{theme}")
    context.close()


def test_one_button_leads_to_an_edit(tab, clean):
    logged = clean.log.count("Traceback")
    tab["install_small"].click()
    expect(tab["notice"]).to_contain_text("“instruct-edit-small” is the small checkpoint")
    expect(tab["install_small"]).to_be_hidden()
    tab.page.wait_for_function("document.querySelector('#setting_sd_model_checkpoint input').value.includes('instruct-edit-small')")
    suits(tab, SUITING)
    assert "instruct-edit-small" in clean.get("/sdapi/v1/options").json()["sd_model_checkpoint"]
    assert models_of(clean) >= {f"{own.in_webui}.{suffix}" for own in OWN for suffix in ("safetensors", "yaml", "clip")}
    tab.upload(PICTURE)
    tab.set(prompt=INSTRUCTION, steps=4, seed=SEED)
    info = tab.generate()
    assert "Model: instruct-edit-small" in info["infotexts"][0] and "Size: 512x" in info["infotexts"][0]
    assert clean.log.count("Traceback") == logged
    screenshot(tab, "small-edited")


def test_where_an_edit_model_is_there_the_button_is_hidden(installed, tab):
    expect(tab["install_small"]).to_be_hidden()
    expect(tab["notice"]).to_contain_text("What suits it: “Longest side” {}, “Text scale” {}, “Image scale” {}.".format(*SUITING))
    suits(tab, SUITING)
    with installed.options(sd_model_checkpoint="plain.safetensors"):
        tab.open()
        expect(tab["notice"]).to_contain_text("choose one of the edit checkpoints")
        suits(tab, USUAL)
        expect(tab["install_small"]).to_be_hidden()
        expect(tab["use_checkpoint"]).to_be_visible()
        for lend, values in ((True, SUITING), (False, USUAL)):
            tab.set(lend=lend)
            suits(tab, values)


def test_what_is_typed_before_the_first_answer_is_not_replaced_by_what_suits_the_model(installed, tab):
    suits(tab, SUITING)
    for typed, had in (("3", ["512", "3", "1.5", "20"]), (None, SUITING)):
        tab.set(longest_side=512, text_scale=7.5, image_scale=1.5, steps=20)
        # In the page itself, so that it comes before the answer.
        tab.page.evaluate(
            """async typed => {
                const [said, scale] = ['#ip2p_suits textarea', '#ip2p_text_scale input[type=number]'].map(s => document.querySelector(s));
                said.value = '';
                updateInput(said);
                document.getElementById('ip2p_refresh_notice').click();
                for (let i = 0; i < 50; i++) await null;  // until it is asked, which no answer can precede
                if (typed) scale.value = typed;
                updateInput(scale);
            }""",
            typed,
        )
        tab.page.wait_for_function("document.querySelector('#ip2p_suits textarea').value")
        tab.page.wait_for_timeout(500)  # until what was answered is shown
        suits(tab, had)


def test_a_ready_instruction_leaves_the_scales_that_suit_it(installed, tab):
    tab.open_accordion("picker")
    tab.set(preset_group="weather")
    tab.set(preset_name="Rain")
    expect(tab["prompt"].locator("textarea")).to_have_value("add heavy rain")
    suits(tab, SUITING)
    expect(tab["preset_suits"]).to_be_empty()
    tab.set(preset_group="hair")
    expect(tab["preset_suits"]).to_contain_text("was not made for this. What it knows: make it winter")


def test_the_tab_gives_the_command_line_s_picture(installed, tab, tmp_path):
    target, sampler = tmp_path / "cli.png", "DDIM"  # which is not the tab's own
    settings = ["--seed", SEED, "--steps", STEPS, "--sampler", sampler]
    assert main([str(x) for x in ("edit", PICTURE, INSTRUCTION, "--output", target, *settings)]) == 0
    ours = np.asarray(Image.open(target), dtype=np.int16)

    tab.upload(PICTURE)
    suits(tab, SUITING)  # what a new tab has with this checkpoint
    tab.set(prompt=INSTRUCTION, steps=STEPS, seed=SEED, sampler=sampler)
    assert f"Sampler: {sampler}," in tab.generate()["infotexts"][0]
    theirs = np.asarray(tab.picture(RESULT).convert("RGB"), dtype=np.int16)
    assert ours.std() > 5 and abs(ours - theirs).max() <= 2, "tab"
    fields = dict(instruction=INSTRUCTION, steps=STEPS, seed=SEED, sampler_name=sampler)
    sent = installed.edit(image=Image.open(PICTURE), result="full", **fields)
    assert abs(ours - sent.pixels[0]).max() <= 2, "API"
    assert sent.info["taken"] == {name: value for name, value in SUITS.settings.items() if name not in ("steps", "sampler_name")}


def test_the_fast_one_edits_in_four_rows_and_gives_the_command_line_s_picture(fast, tab, tmp_path):
    target = tmp_path / "cli.png"
    assert main([str(x) for x in ("edit", PICTURE, INSTRUCTION, "--output", target, "--model", FAST.name, "--seed", SEED)]) == 0
    ours = np.asarray(Image.open(target), dtype=np.int16)

    expect(tab["notice"]).to_contain_text("the small checkpoint's fast version")
    wait_for(tab, {"steps": "4", "sampler": "LCM", "scheduler": "SGM Uniform", "text_scale": SUITING[1], "image_scale": SUITING[2]})
    tab.upload(PICTURE)
    tab.set(prompt=INSTRUCTION, seed=SEED)
    fast.probe("clear")
    assert "Sampler: LCM, Schedule type: SGM Uniform" in tab.generate()["infotexts"][0]
    assert fast.probe("records")["unet"] == [1] * 4
    theirs = np.asarray(tab.picture(RESULT).convert("RGB"), dtype=np.int16)
    assert ours.std() > 5 and abs(ours - theirs).max() <= 2


def test_scales_are_drawn_from_what_suits_it(installed, tab):
    (text, most_text), (image, most_image) = SMALL.defaults.scale_ranges
    assert most_text < 6, "the published checkpoint's begin there"
    expect(tab["randomise_scales"]).to_contain_text(f"text {text:g}–{most_text:g}, image {image:g}–{most_image:g}")
    sent = installed.edit(image=Image.open(PICTURE), instruction=INSTRUCTION, randomise_scales=True, steps=1, longest_side=64)
    drawn = [float(re.search(rf"{name}: ([\d.]+)", sent.infotexts[0])[1]) for name in (", CFG scale", "Image CFG scale")]
    assert text <= drawn[0] <= most_text and image <= drawn[1] <= most_image

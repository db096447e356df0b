"""Settings, defaults, the X/Y/Z plot and ready instructions between the tab and the WebUI's other pages and extensions."""

import base64
import io
import json
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from browser import WIDE, Tab, expect, shown, wait_for
from webui import HERE, WebUI, find_webui, to_base64


def edits_saved(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.rglob("*.png") if "grid" not in file.name)


def test_the_settings_page_has_ours(host):
    options = host.get("/sdapi/v1/options").json()
    assert "Clear history</button>" in options.pop("instruct_edit_clear_history")
    assert {name: value for name, value in options.items() if name.startswith("instruct_edit_")} == {
        "instruct_edit_text_scale": 7.5,
        "instruct_edit_image_scale": 1.5,
        "instruct_edit_longest_side": 512,
        "instruct_edit_result": "Full size with detail",
        "instruct_edit_outdir": "",
        "instruct_edit_filename_pattern": "",
        "instruct_edit_memory": "As the WebUI batches them",
        "instruct_edit_history": True,
        "instruct_edit_history_edits": 20,
        "instruct_edit_history_megabytes": 512,
    }


def test_output_folder_and_file_names_are_those_of_the_tab_alone(tab, host, photo, tmp_path):
    def pattern():
        return host.get("/sdapi/v1/options").json()["samples_filename_pattern"]

    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    before = pattern()
    job = dict(init_images=[to_base64(photo)], prompt="make it winter", steps=2, width=64, height=64, seed=5, save_images=True)
    with host.options(instruct_edit_outdir=str(ours), instruct_edit_filename_pattern="[seed]-trip", outdir_img2img_samples=str(theirs)):
        tab.set(count=2)
        tab.generate()
        names = edits_saved(ours)
        assert [name.partition("-")[2] for name in names] == ["7-trip.png", "8-trip.png"]
        host.edit()
        assert edits_saved(ours) == names, "the API saved a file"
        assert pattern() == before
        assert host.post("/sdapi/v1/img2img", job).status_code == 200
        assert len(edits_saved(theirs)) == 1 and "trip" not in edits_saved(theirs)[0]
        assert edits_saved(ours) == names
    tab.set(prompt="", count=1)
    tab.start()
    expect(tab.page.locator("#html_log_ip2p .error")).to_contain_text("The instruction is empty")
    assert pattern() == before, "a refused job left its pattern behind"


def test_settings_that_are_saved_during_an_edit_keep_the_webui_s_own_pattern(tab, host, tmp_path):
    with host.options(instruct_edit_outdir=str(tmp_path), instruct_edit_filename_pattern="[seed]-trip"):
        host.probe("switch", seconds=0.1)
        tab.set(steps=20)
        tab.start()
        wait_until(lambda: len(host.rows()) > 2)
        with host.options(jpeg_quality=81):
            stored = json.loads((host.folder / "config.json").read_text(encoding="utf8"))
        host.probe("switch", seconds=0.0)
        tab.finished()
        assert stored["jpeg_quality"] == 81 and stored.get("samples_filename_pattern", "") == ""
    assert [name.partition("-")[2] for name in edits_saved(tmp_path)] == ["7-trip.png"]


def wait_until(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_the_pattern_is_that_of_results_and_not_of_their_grid(tab, host, tmp_path):
    options = dict(grid_extended_filename=True, save_images_add_number=False, samples_filename_pattern="host-[seed]")
    with host.options(instruct_edit_outdir=str(tmp_path), instruct_edit_filename_pattern="[seed]-trip", **options):
        tab.set(count=2)
        tab.generate()
    assert edits_saved(tmp_path) == ["7-trip.png", "8-trip.png", "host-7.png"]


def test_without_a_pattern_the_tab_s_files_are_named_as_the_webui_s(tab, host, tmp_path):
    with host.options(instruct_edit_outdir=str(tmp_path)):
        tab.generate()
    assert edits_saved(tmp_path) == ["00000-7.png"]


def test_one_pass_after_another_gives_the_network_one_picture_of_each_at_a_time(host):
    for mode, unet in (("One pass after another", [2] * 12), ("All passes in one batch", [6] * 4)):
        host.probe("clear")
        with host.options(instruct_edit_memory=mode):
            pictures = host.edit(batch_size=2).pixels
        assert host.probe("records")["unet"] == unet
        assert abs(pictures - host.edit(batch_size=2).pixels).max() <= 1


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, photo):
    """A WebUI that starts with a person's own settings, defaults and two other extensions."""
    folder = tmp_path_factory.mktemp("prepared") / "data"
    folder.mkdir()
    settings = {
        "instruct_edit_text_scale": 4.25, "instruct_edit_image_scale": 1.9, "instruct_edit_outdir": "edits",
        "instruct_edit_longest_side": 768, "instruct_edit_result": "Working size",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf8")
    defaults = {
        "ip2p/Sampling steps/value": 33, "ip2p/Sampling method/value": "DDIM", "ip2p/Size/value": "Custom", "ip2p/Width/value": 320,
        "ip2p/Contact sheet over/value": "Seeds",
    }  # fmt: skip
    (folder / "ui-config.json").write_text(json.dumps(defaults), encoding="utf8")
    host = WebUI(find_webui(), folder, neighbours=(HERE / "neighbours" / "patcher", HERE / "neighbours" / "watcher"))
    host.defaults = dict(image=photo.resize((64, 64)), instruction="make it winter", seed=7, steps=4, width=64, height=64)
    try:
        yield host.wait()
    finally:
        host.stop()


def test_default_scales_and_defaults_of_the_defaults_page_are_in_a_new_tab(chromium, prepared):
    page = chromium.new_context(viewport=WIDE).new_page()
    tab = Tab(page, prepared.url)
    assert shown(tab, ("text_scale", "image_scale", "steps", "sampler", "longest_side", "result")) == {
        "text_scale": "4.25", "image_scale": "1.9", "steps": "33", "sampler": "DDIM", "longest_side": "768", "result": "Working size"
    }  # fmt: skip
    assert shown(tab, ("size_mode",)) == {"size_mode": "Custom"}
    expect(tab["width"]).to_be_visible()
    assert tab.value("width") == "320"
    expect(tab["longest_side"]).to_be_hidden()
    tab.open_accordion("sheet")
    expect(tab["sheet_seeds"]).to_be_visible()
    expect(tab["sheet_text_scales"]).to_be_hidden()
    page.context.close()
    assert tab.errors == []


def test_every_default_has_a_key_of_its_own(host):
    config = host.get("/config").json()
    components = {component["id"]: component for component in config["components"]}

    def under(node):
        yield components[node["id"]]
        for child in node.get("children", []):
            yield from under(child)

    def find(node):
        if components[node["id"]]["props"].get("elem_id") == "tab_ip2p":
            return node
        return next((found for child in node.get("children", []) if (found := find(child))), None)

    tab = next(found for node in config["layout"]["children"] if (found := find(node)))
    kept = ("slider", "radio", "checkbox", "textbox", "number", "dropdown")
    ours = [c["props"] for c in under(tab) if c["type"] in kept and str(c["props"].get("elem_id")).startswith("ip2p_")]
    ours = [props for props in ours if "_style" not in props["elem_id"] or props["elem_id"] == "ip2p_styles"]  # the host's editor of styles
    keys = json.loads((host.folder / "ui-config.json").read_text(encoding="utf8"))
    values = [key.split("/")[1] for key in keys if key.startswith("ip2p/") and key.endswith("/value")]
    labels = [props["label"] for props in ours if props.get("label") in values]
    assert len(labels) >= 20
    assert [label for label in set(labels) if labels.count(label) > 1] == [], "two controls share a key"
    assert {"Sampling steps", "Width", "Edit strength from noise", "Batch count"} <= set(labels)
    assert not {"Text scale", "Image scale", "Longest side", "Result", "Ready instruction", "Choice 1", "Seeds from"} & set(values)


# X/Y/Z plot


def pictures_of(answer) -> list[np.ndarray]:
    assert answer.status_code == 200, answer.text[:2000]
    images = [Image.open(io.BytesIO(base64.b64decode(image))) for image in answer.json()["images"]]
    return [np.asarray(image.convert("RGB"), dtype=np.int16) for image in images]


@pytest.fixture
def img2img(host):
    def ask(script=(True, True), **fields):
        job = dict(init_images=[to_base64(host.defaults["image"])], prompt="make it winter", steps=4, seed=7, width=64, height=64)
        job |= dict(sampler_name="Euler", cfg_scale=7.5, image_cfg_scale=1.5, denoising_strength=1)
        return host.post("/sdapi/v1/img2img", {**job, "alwayson_scripts": {"Instruct edit": {"args": list(script)}}, **fields})

    return ask


@pytest.fixture
def plot(host, img2img):
    """Draws a sheet over axes named without their prefix: the answer, whose pictures are the sheet, then its cells row by row."""
    scripts = host.get("/sdapi/v1/script-info").json()
    info = next(script for script in scripts if script["name"] == "x/y/z plot" and script["is_img2img"])
    axes = info["args"][0]["choices"]

    def draw(x, y=None, **fields):
        args = []
        for label, values in (x, y or ("Nothing", ""), ("Nothing", "")):
            number = axes.index(label if label == "Nothing" else f"[Instruct edit] {label}")
            args += [number, "" if isinstance(values, list) else values, values if isinstance(values, list) else []]
        return img2img(script_name="x/y/z plot", script_args=[*args, True, True, False, False, False, False, False, 0, False], **fields)

    return draw


def test_the_xyz_plot_draws_a_sheet_over_both_scales_whose_cells_are_the_single_edits(plot, img2img):
    texts, images = (3, 7.5, 12), (1.1, 1.5, 1.9)
    sheet, *cells = pictures_of(plot(("Text scale", "3, 7.5, 12"), ("Image scale", "1.1, 1.5, 1.9")))
    assert len(cells) == 9 and sheet.shape[0] > 3 * 64 and sheet.shape[1] > 3 * 64
    wanted = [pictures_of(img2img(cfg_scale=text, image_cfg_scale=image))[0] for image in images for text in texts]
    assert [abs(cell - single).max() for cell, single in zip(cells, wanted)] <= [1] * 9
    assert len({single.tobytes() for single in wanted}) == 9


@pytest.mark.parametrize("end", range(4), ids=("text start", "text end", "image start", "image end"))
def test_the_xyz_plot_goes_over_each_end_of_the_schedules(plot, img2img, end):
    label = ("Text guidance start", "Text guidance end", "Image guidance start", "Image guidance end")[end]
    whole, part = (0.0, 0.6) if end % 2 == 0 else (1.0, 0.4)
    answer = plot((label, f"{part}, {whole}"))
    _, *cells = pictures_of(answer)
    interval = [0.0, 1.0, 0.0, 1.0]
    interval[end] = part
    wanted = [pictures_of(img2img((True, True, *interval)))[0], pictures_of(img2img())[0]]
    assert [abs(cell - single).max() for cell, single in zip(cells, wanted)] <= [1, 1]
    assert (wanted[0] != wanted[1]).any()
    field = "Instruct edit " + ("text start", "text end", "image start", "image end")[end]
    infotexts = json.loads(answer.json()["info"])["infotexts"]
    assert [field in text for text in infotexts] == [True, True, False], "a cell's infotext has the schedule of another"


def test_the_xyz_plot_goes_over_presets_at_the_steps_that_were_asked_for(host, plot, img2img):
    presets = {preset["key"]: preset for preset in host.get("/instruct-edit/v1/presets").json()}
    chosen = [presets["rain"], presets["fog"]]
    _, *cells = pictures_of(plot(("Preset", [preset["key"] for preset in chosen])))
    for cell, preset in zip(cells, chosen):
        prompt = preset["instruction"].format(**preset["defaults"])
        fields = dict(prompt=prompt, cfg_scale=preset["text_scale"], image_cfg_scale=preset["image_scale"])
        assert abs(cell - pictures_of(img2img(**fields))[0]).max() <= 1


def test_a_preset_of_the_xyz_plot_leaves_to_another_axis_what_that_goes_over(host, plot, img2img):
    presets = {preset["key"]: preset for preset in host.get("/instruct-edit/v1/presets").json()}
    _, *cells = pictures_of(plot(("Text scale", "3, 12"), ("Preset", ["rain"])))
    for cell, scale in zip(cells, (3, 12)):
        preset = presets["rain"]
        prompt = preset["instruction"].format(**preset["defaults"])
        single = img2img(prompt=prompt, cfg_scale=scale, image_cfg_scale=preset["image_scale"])
        assert abs(cell - pictures_of(single)[0]).max() <= 1


def test_the_xyz_plot_goes_over_both_speeds(host, plot, img2img):
    answer = plot(("Speed", ["exact", "fast"]))
    _, *cells = pictures_of(answer)
    arguments = (True, True, 0, 1, 0, 1, "working", 1, "", False)
    wanted = [pictures_of(img2img((*arguments, speed)))[0] for speed in ("exact", "fast")]
    assert [abs(cell - single).max() for cell, single in zip(cells, wanted)] <= [1, 1] and (wanted[0] != wanted[1]).any()
    infotexts = json.loads(answer.json()["info"])["infotexts"]
    assert ["Instruct edit speed: fast" in text for text in infotexts] == [False, False, True]
    refused = plot(("Speed", ["furious"]))
    assert refused.status_code == 422 and "no speed “furious”" in refused.json()["detail"]


def test_an_unknown_preset_of_the_xyz_plot_is_a_sentence(host, plot, img2img):
    logged = host.log.count("Traceback")
    answer = plot(("Preset", ["rain", "winterr"]))
    assert answer.status_code == 422
    assert "no preset “winterr”" in answer.json()["detail"]
    assert host.log.count("Traceback") == logged
    assert len(pictures_of(img2img())) == 1


# Ready instructions


def test_a_ready_instruction_fills_instruction_scales_and_steps_and_its_words_are_free(tab):
    tab.open_accordion("picker")
    tab.set(preset_group="season")
    tab.set(preset_name="Change the season")  # offered once the group is answered: another one would be dropped before that
    tab.set(preset_group="weather")
    tab.set(preset_name="Change the weather")
    wait_for(tab, {"prompt": "change the weather from sunny to rainy", "text_scale": "7.5", "image_scale": "1.4", "steps": "20"})
    tab.set(preset_word_2="snowy")
    wait_for(tab, {"prompt": "change the weather from sunny to snowy"})
    word = tab["preset_word_1"].locator("input")
    word.click()
    word.fill("a mild spring day")
    word.press("Enter")
    wait_for(tab, {"prompt": "change the weather from a mild spring day to snowy"})
    tab.set(preset_name="Rain")
    wait_for(tab, {"prompt": "add heavy rain", "text_scale": "8"})
    expect(tab["preset_word_2"]).to_be_hidden()
    assert tab.value("seed") == "7"


def test_ones_own_preset_is_kept_and_offered(tab, host):
    tab.open_accordion("picker")
    tab.set(prompt="make it {very} round", text_scale=6.5, image_scale=1.35, steps=9, preset_own_name="Rounder & <b>rounder</b>")
    tab["preset_save"].click()
    expect(tab["preset_message"]).to_contain_text("Saved as “Rounder & <b>rounder</b>”")
    saved = {"preset_group": "own", "preset_name": "Rounder & <b>rounder</b>"}
    wait_for(tab, saved)
    tab["preset_save"].click()
    expect(tab["preset_message"]).to_contain_text("already have a preset")
    tab.open()
    tab.open_accordion("picker")
    tab.set(preset_group="own")
    tab.set(preset_name=saved["preset_name"])
    wait_for(tab, {"prompt": "make it (very) round", "text_scale": "6.5", "image_scale": "1.35", "steps": "9"})
    own = [preset for preset in host.get("/instruct-edit/v1/presets").json() if preset["own"]]
    assert [(preset["name"], preset["group"], preset["steps"]) for preset in own] == [(saved["preset_name"], "own", 9)]


def test_a_preset_of_the_edit_request_acts_and_what_the_request_says_goes_first(host):
    host.defaults, defaults = {k: v for k, v in host.defaults.items() if k not in ("instruction", "steps")}, host.defaults
    try:
        text = host.edit(preset="change-weather", choices={"to": "foggy"}).infotexts[0]
        assert text.startswith("change the weather from sunny to foggy\n")
        assert "Steps: 20," in text and "CFG scale: 7.5," in text and "Image CFG scale: 1.4" in text
        text = host.edit(preset="change-weather", image_scale=1.8, steps=4).infotexts[0]
        assert "Steps: 4," in text and "Image CFG scale: 1.8" in text
        assert "no choice “too”" in host.refusal(preset="change-weather", choices={"too": "foggy"})
        assert "no preset “change-wether”" in host.refusal(preset="change-wether")
    finally:
        host.defaults = defaults


# Other extensions


@pytest.mark.parametrize("sampler", ["Euler", "DDIM"])
def test_extensions_beside_the_script_see_what_they_see_without_it(prepared, photo, sampler):
    def run(enabled: bool):
        job = dict(init_images=[to_base64(photo.resize((64, 64)))], prompt="make it winter", negative_prompt="blurry", steps=4, seed=7)
        job |= dict(width=64, height=64, sampler_name=sampler, cfg_scale=7.5, image_cfg_scale=1.5, denoising_strength=1, batch_size=2)
        for name in ("patcher", "watcher"):
            prepared.post(f"/{name}/taken")
        prepared.probe("clear")
        answer = prepared.post("/sdapi/v1/img2img", {**job, "alwayson_scripts": {"Instruct edit": {"args": [enabled, False]}}})
        counted, seen = prepared.post("/patcher/taken").json()["calls"], prepared.post("/watcher/taken").json()
        return pictures_of(answer), counted, seen

    pictures, counted, seen = run(enabled=True)
    stock_pictures, stock_counted, stock_seen = run(enabled=False)
    calls = {"Euler": 4, "DDIM": 2}[sampler]  # the host's DDIM leaves two steps out when it starts from the picture
    assert counted == stock_counted == calls
    assert len(seen) == len(stock_seen) == calls
    for ours, stock in zip(seen, stock_seen):
        assert ours.keys() == stock.keys()
        assert (ours["step"], ours["inner_model"]) == (stock["step"], stock["inner_model"])
        for name in ("x", "image_cond", "sigma", "denoised", "text_cond", "text_uncond"):
            assert len(ours[name]) == len(stock[name]) == (2 if name.startswith("text") else 6)
            assert np.allclose(ours[name], stock[name], rtol=1e-3, atol=1e-4), name
    assert max(abs(a - b).max() for a, b in zip(pictures, stock_pictures)) <= 1


# History


def test_the_history_has_the_limits_of_the_options_and_is_cleared_from_there(tab, host):
    folder = host.folder / "extensions" / "sd-webui-instruct-edit" / "user" / "history"
    window = tab.page.evaluate("ip2p_page()[0]")

    def kept(window: str = window) -> int:
        return len(list(folder.glob(f"{window}/*/step.json")))

    tab.set(steps=1)
    with host.options(instruct_edit_history_edits=2):
        for seed in (1, 2, 3):
            tab.set(seed=seed)
            tab.generate()
        wait_until(lambda: kept() == 2)
    tab.page.evaluate("() => { ip2p_element('cleared').textContent = ''; window.confirm = () => true; ip2p_clear_history(); }")
    tab.page.wait_for_function("document.querySelector('#ip2p_cleared').textContent")
    assert kept("*") == 0
    with host.options(instruct_edit_history=False):
        tab.generate()
        expect(tab["history_message"]).to_contain_text("switched off")
    assert kept() == 0

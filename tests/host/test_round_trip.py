"""Settings, pictures and ready instructions on their way between the tab, its results, the WebUI's other tabs and pages, and other extensions."""

import base64
import io
import json
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from browser import RESULT, WIDE, Tab, expect
from webui import HERE, WebUI, find_webui, to_base64

# Every control of the tab: a value that is not its default. The picture is the tab fixture's.
CONTROLS = {
    "prompt": 'make it winter, with "deep" snow: (icicles:1.2) too',
    "neg_prompt": "blurry, low: quality",
    "text_scale": "4.5",
    "image_scale": "1.25",
    "randomise_scales": False,
    "sampler": "Heun",
    "scheduler": "Exponential",
    "steps": "6",
    "seed": "1234",
    "count": "2",
    "batch_size": "2",
    "own_size": True,
    "heat_map": True,
    "text_start": "0.05",
    "text_end": "0.95",
    "image_start": "0.1",
    "image_end": "0.9",
    "denoising_strength": "0.8",
}
SIZES = {
    "custom": {"size_mode": "Custom", "width": "128", "height": "72"},
    "as the picture": {"size_mode": "As the picture", "longest_side": "128"},
}
PLAIN = (
    "a castle on a hill\nNegative prompt: people\nSteps: 31, Sampler: Euler, Schedule type: Karras, CFG scale: 6.5, Seed: 99, "
    "Size: 640x384, Model hash: abc, Model: sd15, Denoising strength: 0.7, Hires upscale: 2, Hires upscaler: Latent, Version: v1.10.1"
)


def shown(tab: Tab, names) -> dict:
    """What the controls show, in the terms of CONTROLS."""
    values = {}
    for name in names:
        control = tab[name]
        if control.locator("input[type=radio]").count():
            values[name] = control.locator("input:checked").input_value()
        elif control.locator("input[type=checkbox]").count():
            values[name] = control.locator("input[type=checkbox]").is_checked()
        else:
            values[name] = tab.value(name)
    return values


def wait_for(tab: Tab, expected: dict, seconds: float = 10) -> None:
    """Until the controls show these values; else the assertion that names the ones that don't."""
    deadline = time.monotonic() + seconds
    while (now := shown(tab, expected)) != expected and time.monotonic() < deadline:
        tab.page.wait_for_timeout(100)
    assert now == expected


def press_paste(tab: Tab) -> None:
    tab.page.locator("#ip2p_tools #paste").click()


def paste(tab: Tab, text: str) -> None:
    tab.set(prompt=text)
    press_paste(tab)


def open_tab(tab: Tab, name: str) -> None:
    tab.page.locator("#tabs > .tab-nav > button", has_text=name).first.click()


def png(folder: Path, image: Image.Image, parameters: str) -> Path:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", parameters)
    image.save(folder / "with-parameters.png", pnginfo=info)
    return folder / "with-parameters.png"


# Paste


@pytest.mark.parametrize("size", SIZES)
def test_paste_brings_every_control_back(tab, size):
    given = {**CONTROLS, **SIZES[size]}
    tab.open_accordion("schedule")
    tab.set(size_mode=given["size_mode"])
    tab.set(**given)
    assert shown(tab, given) == given
    infotext = tab.generate()["infotexts"][0]
    tab.open()
    tab.open_accordion("schedule")
    defaults = shown(tab, CONTROLS)
    assert [name for name in CONTROLS if defaults[name] == given[name]] == ["randomise_scales"]
    paste(tab, infotext)
    wait_for(tab, given)


def test_paste_brings_drawn_scales_and_styles_back(tab):
    tab.page.locator("#ip2p_styles input").click()
    tab.page.locator("#ip2p_styles ul li", has_text="watercolour").click()
    tab.page.keyboard.press("Escape")
    tab.set(randomise_scales=True)
    infotext = tab.generate()["infotexts"][0]
    drawn = {key: value for key, _, value in (part.partition(": ") for part in infotext.splitlines()[-1].split(", "))}
    tab.open()
    paste(tab, infotext)
    scales = {"text_scale": drawn["CFG scale"], "image_scale": drawn["Image CFG scale"]}
    wait_for(tab, {"prompt": "make it winter", "randomise_scales": True, **scales})
    expect(tab.page.locator("#ip2p_styles .token")).to_have_text(["watercolour"])


def test_pasting_a_plain_picture_takes_what_it_has_and_leaves_our_own_controls(tab):
    own = {name: CONTROLS[name] for name in ("image_scale", "text_start", "text_end", "image_start", "image_end", "denoising_strength")}
    own |= {"own_size": True, "heat_map": True, "count": "3", "size_mode": "As the picture", "longest_side": "256"}
    tab.open_accordion("schedule")
    tab.set(**own)
    paste(tab, PLAIN)
    taken = {"prompt": "a castle on a hill", "neg_prompt": "people", "steps": "31", "text_scale": "6.5", "seed": "99"}
    wait_for(tab, {**taken, "sampler": "Euler", "scheduler": "Karras", **own})


def test_pasting_with_an_empty_prompt_takes_the_last_generation(tab):
    given = {name: CONTROLS[name] for name in ("prompt", "neg_prompt", "text_scale", "image_scale", "steps", "seed", "text_end")}
    tab.open_accordion("schedule")
    tab.set(**given)
    tab.generate()
    tab.open()
    tab.open_accordion("schedule")
    tab.set(prompt="")
    press_paste(tab)
    wait_for(tab, given)


# Pictures of the former extension

KLACE = (
    "Prompt: {}, {}Steps: 30, Sampler: Euler a, Image CFG scale: 1.2, Text CFG scale: 9.5, Seed: 1234, Model hash: abc, "
    "Model: ip2p, Model Type: instruct-pix2pix"
)
KLACE_VALUES = {"text_scale": "9.5", "image_scale": "1.2", "seed": "1234", "steps": "30", "sampler": "Euler a"}
KLACE_PROMPTS = {
    "plain": ("turn him into a cyborg", "Negative Prompt: blurry, ", "turn him into a cyborg", "blurry"),
    "commas": (r'"make it winter, with \"deep\" snow"', 'Negative Prompt: "blurry, low: quality", ', 'make it winter, with "deep" snow', "blurry, low: quality"),
    "quotes": ('"deep" snow and "thick" ice', "Negative Prompt: , ", '"deep" snow and "thick" ice', ""),
    "field names": ('"add a sign, Steps: 5, Seed: 9"', "Negative Prompt: people, ", "add a sign, Steps: 5, Seed: 9", "people"),
    "no negative": ("turn him into a cyborg", "", "turn him into a cyborg", ""),
}  # fmt: skip


@pytest.mark.parametrize("kind", ("commas", "quotes"))
def test_a_picture_of_the_former_extension_pastes(tab, kind):
    written, negative_written, prompt, negative = KLACE_PROMPTS[kind]
    tab.open_accordion("schedule")
    tab.set(neg_prompt="" if negative else "left over", text_start=0.3, denoising_strength=0.6, randomise_scales=True)
    paste(tab, KLACE.format(written, negative_written))
    edit = {"text_start": "0", "denoising_strength": "1", "randomise_scales": False}
    wait_for(tab, {**KLACE_VALUES, "prompt": prompt, "neg_prompt": negative, **edit})


def test_a_picture_of_the_former_extension_comes_through_png_info(tab, photo, tmp_path):
    file = png(tmp_path, photo.rotate(180), KLACE.format("turn him into a cyborg", "Negative Prompt: blurry, "))
    open_tab(tab, "PNG Info")
    tab.page.locator("#pnginfo_image input[type=file]").set_input_files(file)
    expect(tab.page.locator("#tab_pnginfo")).to_contain_text("instruct-pix2pix")
    source = tab.pixels("#pnginfo_image img")
    before = tab.page.locator("#ip2p_image img").get_attribute("src")
    tab.page.locator("#tab_pnginfo #ip2p_tab").click()
    expect(tab["generate"]).to_be_visible()
    wait_for(tab, {**KLACE_VALUES, "prompt": "turn him into a cyborg", "neg_prompt": "blurry"})
    tab.page.wait_for_function("before => document.querySelector('#ip2p_image img')?.src !== before", arg=before)
    assert tab.pixels("#ip2p_image img") == source


@pytest.mark.parametrize("kind", KLACE_PROMPTS)
def test_a_picture_of_the_former_extension_is_read_over_http(host, tmp_path, kind):
    written, negative_written, prompt, negative = KLACE_PROMPTS[kind]
    file = png(tmp_path, Image.new("RGB", (8, 8)), KLACE.format(written, negative_written))
    read = host.post("/sdapi/v1/png-info", {"image": base64.b64encode(file.read_bytes()).decode()}).json()["parameters"]
    assert [read[name] for name in ("Prompt", "Negative prompt")] == [prompt, negative]
    assert [read[name] for name in ("CFG scale", "Image CFG scale", "Seed", "Steps")] == ["9.5", "1.2", "1234", "30"]


# Send to Instruct edit


def generate_in(tab: Tab, name: str) -> None:
    # Not its size: the script that the host runs on txt2img's raises an error in the page.
    box = tab.page.locator(f"#{name}_steps input[type=number]")
    box.fill("2")
    box.blur()
    tab.page.locator(f"#{name}_prompt textarea").fill("a house")
    tab.page.locator(f"#{name}_generate").click()
    tab.page.wait_for_selector(f"#{name}_gallery .preview img, #{name}_gallery .thumbnail-item img", state="attached")
    expect(tab.page.locator(f"#{name}_results .progressDiv")).to_have_count(0)


@pytest.mark.parametrize("source, checkpoint", [("txt2img", "plain.safetensors"), ("img2img", "edit.safetensors")])
def test_a_result_of_another_tab_is_sent_to_the_tab(tab, host, photo_file, source, checkpoint):
    with host.options(sd_model_checkpoint=checkpoint):
        open_tab(tab, source)
        if source == "img2img":
            tab.page.locator("#img2img_image input[type=file]").set_input_files(photo_file)
            expect(tab.page.locator("#img2img_image img").first).to_be_visible()
        generate_in(tab, source)
    result = tab.pixels(f"#{source}_gallery .preview img, #{source}_gallery .thumbnail-item img")
    before = tab.page.locator("#ip2p_image img").get_attribute("src")
    expect(tab["generate"]).to_be_hidden()
    tab.page.locator(f"#{source}_send_to_ip2p").click()
    expect(tab["generate"]).to_be_visible()
    tab.page.wait_for_function("before => document.querySelector('#ip2p_image img')?.src !== before", arg=before)
    assert tab.pixels("#ip2p_image img") == result


def test_a_result_of_the_tab_says_in_png_info_how_it_was_made_and_goes_back(tab, host, tmp_path):
    with host.options(instruct_edit_outdir=str(tmp_path)):
        tab.set(text_scale=4.5, image_scale=1.25, seed=4321, heat_map=True, own_size=True, size_mode="Custom")
        tab.set(width="128", height="72")
        info = tab.generate()
    saved = next(file for file in sorted(tmp_path.rglob("*.png")) if "grid" not in file.name)
    read = host.post("/sdapi/v1/png-info", {"image": base64.b64encode(saved.read_bytes()).decode()}).json()
    assert read["info"] == info["infotexts"][0]
    assert [read["parameters"][name] for name in ("Prompt", "CFG scale", "Image CFG scale")] == ["make it winter", "4.5", "1.25"]

    tab.open()
    open_tab(tab, "PNG Info")
    tab.page.locator("#pnginfo_image input[type=file]").set_input_files(saved)
    expect(tab.page.locator("#tab_pnginfo")).to_contain_text("Image CFG scale: 1.25")
    tab.page.locator("#tab_pnginfo #ip2p_tab").click()
    expect(tab["generate"]).to_be_visible()
    wait_for(tab, {"prompt": "make it winter", "text_scale": "4.5", "image_scale": "1.25", "seed": "4321", "heat_map": True})
    wait_for(tab, {"own_size": True, "size_mode": "Custom", "width": "128", "height": "72"})
    expect(tab["image"].locator("img")).to_be_visible()
    with Image.open(saved) as image:
        assert tuple(tab.pixels("#ip2p_image img")[:2]) == image.size


@pytest.mark.parametrize("size", [(40, 30), (4608, 96)], ids=str)
def test_a_picture_of_any_size_is_sent_and_leaves_the_size_of_ones_own(tab, size, tmp_path):
    tab.set(size_mode="Custom")
    tab.set(width="128", height="72")
    open_tab(tab, "PNG Info")
    tab.page.locator("#pnginfo_image input[type=file]").set_input_files(png(tmp_path, Image.new("RGB", size, "teal"), "no parameters"))
    expect(tab.page.locator("#tab_pnginfo")).to_contain_text("no parameters")
    tab.page.locator("#tab_pnginfo #ip2p_tab").click()
    expect(tab["generate"]).to_be_visible()
    tab.page.wait_for_function("width => document.querySelector('#ip2p_image img')?.naturalWidth === width", arg=size[0])
    wait_for(tab, {"prompt": "no parameters", "width": "128", "height": "72"})
    tab.generate()
    assert tab.pixels(RESULT)[:2] == [128, 72]


# Settings and defaults


def edits_saved(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.rglob("*.png") if "grid" not in file.name)


def test_the_settings_page_has_ours(host):
    options = host.get("/sdapi/v1/options").json()
    assert {name: value for name, value in options.items() if name.startswith("instruct_edit_")} == {
        "instruct_edit_text_scale": 7.5,
        "instruct_edit_image_scale": 1.5,
        "instruct_edit_outdir": "",
        "instruct_edit_filename_pattern": "",
        "instruct_edit_memory": "As the WebUI batches them",
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
    settings = {"instruct_edit_text_scale": 4.25, "instruct_edit_image_scale": 1.9, "instruct_edit_outdir": "edits"}
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
    assert shown(tab, ("text_scale", "image_scale", "steps", "sampler")) == {
        "text_scale": "4.25", "image_scale": "1.9", "steps": "33", "sampler": "DDIM"
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
    assert {"Sampling steps", "Longest side", "Edit strength from noise", "Batch count"} <= set(labels)
    assert not {"Text scale", "Image scale", "Ready instruction", "Choice 1", "Seeds from"} & set(values)


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


def test_the_xyz_plot_goes_over_presets(host, plot, img2img):
    presets = {preset["key"]: preset for preset in host.get("/instruct-edit/v1/presets").json()}
    chosen = [presets["rain"], presets["fog"]]
    _, *cells = pictures_of(plot(("Preset", [preset["key"] for preset in chosen])))
    for cell, preset in zip(cells, chosen):
        prompt = preset["instruction"].format(**preset["defaults"])
        fields = dict(prompt=prompt, cfg_scale=preset["text_scale"], image_cfg_scale=preset["image_scale"], steps=preset["steps"])
        assert abs(cell - pictures_of(img2img(**fields))[0]).max() <= 1


def test_a_preset_of_the_xyz_plot_leaves_to_another_axis_what_that_goes_over(host, plot, img2img):
    presets = {preset["key"]: preset for preset in host.get("/instruct-edit/v1/presets").json()}
    _, *cells = pictures_of(plot(("Text scale", "3, 12"), ("Preset", ["rain"])))
    for cell, scale in zip(cells, (3, 12)):
        preset = presets["rain"]
        prompt = preset["instruction"].format(**preset["defaults"])
        single = img2img(prompt=prompt, cfg_scale=scale, image_cfg_scale=preset["image_scale"], steps=preset["steps"])
        assert abs(cell - pictures_of(single)[0]).max() <= 1


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

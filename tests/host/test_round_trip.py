"""Settings, pictures and ready instructions on their way between the tab, its results, the WebUI's other tabs and pages, and other extensions."""

import base64
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from browser import RESULT, Tab, expect, shown, wait_for

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
    "speed": "fast",
    "seed": "1234",
    "count": "2",
    "batch_size": "2",
    "result": "Own size, enlarged",
    "detail": "0.35",
    "crop": True,
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
    tab.open_anew()
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
    own |= {
        "result": "Working size",
        "detail": "0.5",
        "crop": True,
        "heat_map": True,
        "count": "3",
        "size_mode": "As the picture",
        "longest_side": "256",
    }
    tab.open_accordion("schedule")
    tab.set(**own)
    paste(tab, PLAIN)
    taken = {"prompt": "a castle on a hill", "neg_prompt": "people", "steps": "31", "text_scale": "6.5", "seed": "99"}
    wait_for(tab, {**taken, "sampler": "Euler", "scheduler": "Karras", **own})


@pytest.mark.new_page
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
        tab.set(text_scale=4.5, image_scale=1.25, seed=4321, heat_map=True, result="Own size, enlarged", size_mode="Custom")
        tab.set(width="128", height="72")
        info = tab.generate()
    saved = next(file for file in sorted(tmp_path.rglob("*.png")) if "grid" not in file.name)
    read = host.post("/sdapi/v1/png-info", {"image": base64.b64encode(saved.read_bytes()).decode()}).json()
    assert read["info"] == info["infotexts"][0]
    assert [read["parameters"][name] for name in ("Prompt", "CFG scale", "Image CFG scale")] == ["make it winter", "4.5", "1.25"]

    tab.open_anew()
    open_tab(tab, "PNG Info")
    tab.page.locator("#pnginfo_image input[type=file]").set_input_files(saved)
    expect(tab.page.locator("#tab_pnginfo")).to_contain_text("Image CFG scale: 1.25")
    tab.page.locator("#tab_pnginfo #ip2p_tab").click()
    expect(tab["generate"]).to_be_visible()
    wait_for(tab, {"prompt": "make it winter", "text_scale": "4.5", "image_scale": "1.25", "seed": "4321", "heat_map": True})
    wait_for(tab, {"result": "Own size, enlarged", "crop": False, "size_mode": "Custom", "width": "128", "height": "72"})
    expect(tab["image"].locator("img")).to_be_visible()
    with Image.open(saved) as image:
        assert tuple(tab.pixels("#ip2p_image img")[:2]) == image.size


@pytest.mark.parametrize("size", [(40, 30), (4608, 96)], ids=str)
def test_a_picture_of_any_size_is_sent_and_leaves_the_size_of_ones_own(tab, size, tmp_path):
    tab.set(size_mode="Custom")
    tab.set(width="128", height="72")
    open_tab(tab, "PNG Info")
    text = f"no parameters of {size[0]}"  # what the tab says of the picture before is another one's
    tab.page.locator("#pnginfo_image input[type=file]").set_input_files(png(tmp_path, Image.new("RGB", size, "teal"), text))
    expect(tab.page.locator("#tab_pnginfo")).to_contain_text(text)
    tab.page.wait_for_function("width => document.querySelector('#pnginfo_image img')?.naturalWidth === width", arg=size[0])
    tab.page.locator("#tab_pnginfo #ip2p_tab").click()
    expect(tab["generate"]).to_be_visible()
    tab.page.wait_for_function("width => document.querySelector('#ip2p_image img')?.naturalWidth === width", arg=size[0])
    wait_for(tab, {"prompt": text, "width": "128", "height": "72"})
    tab.set(result="Working size", crop=True)
    tab.generate()
    assert tab.pixels(RESULT)[:2] == [128, 72]

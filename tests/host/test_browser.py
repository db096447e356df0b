"""The tab in a real browser: a person's way from a photograph to its edit."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from browser import PHONE, RESULT, WIDE, Tab, expect, paint, screenshot
from ip2p.wording import EXAMPLES


def test_a_photograph_is_edited_with_progress_and_preview(tab, host):
    host.probe("switch", seconds=0.3)
    tab.set(steps=30)
    tab.start()
    expect(tab.page.locator("#ip2p_results .progressDiv")).to_contain_text("ETA")
    expect(tab.page.locator("#ip2p_gallery .livePreview img").first).to_be_attached()
    screenshot(tab, "running")
    info = tab.finished()
    assert "Steps: 30" in info["infotexts"][0] and info["prompt"] == "make it winter"
    assert tab.pixels(RESULT)[2:] != tab.pixels("#ip2p_image img")[2:]
    expect(tab["interrupt"]).to_be_hidden()
    screenshot(tab, "edited")


CONTROLS = {
    "neg_prompt": ("blurry", "Negative prompt: blurry"),
    "text_scale": (4.5, "CFG scale: 4.5,"),
    "image_scale": (1.25, "Image CFG scale: 1.25"),
    "randomise_scales": (True, "Instruct edit randomise scales: True"),
    "sampler": ("DPM2 a", "Sampler: DPM2 a"),
    "scheduler": ("Exponential", "Schedule type: Exponential"),
    "steps": (5, "Steps: 5,"),
    "seed": (1234, "Seed: 1234"),
    "longest_side": (128, "Size: 128x128"),
    "result": ("Own size, enlarged", "Instruct edit result: own-size"),
    "detail": (0.5, "Instruct edit detail: 0.5"),
    "crop": (True, "Instruct edit crop: True"),
    "text_start": (0.25, "Instruct edit text start: 0.25"),
    "text_end": (0.75, "Instruct edit text end: 0.75"),
    "image_start": (0.2, "Instruct edit image start: 0.2"),
    "image_end": (0.8, "Instruct edit image end: 0.8"),
    "denoising_strength": (0.6, "Denoising strength: 0.6"),
}


def test_each_control_changes_the_request_it_is_named_for(tab):
    tab.open_accordion("schedule")
    before = tab.generate()["infotexts"][0]
    for name, (value, expected) in CONTROLS.items():
        tab.set(**{name: value})
        after = tab.generate()["infotexts"][0]
        assert expected not in before and expected in after, f"{name}: {after}"
        before = after


def test_count_and_batch_size_multiply(tab):
    tab.set(count=2, batch_size=2)
    assert tab.generate()["all_seeds"] == [7, 8, 9, 10]


def test_a_size_of_ones_own(tab):
    tab.set(size_mode="Custom")
    expect(tab["longest_side"]).to_be_hidden()
    tab.set(width=128, height=72)
    assert "Size: 128x72" in tab.generate()["infotexts"][0]


def test_the_heat_map_is_the_last_picture(tab):
    assert len(tab.generate()["infotexts"]) == 1
    tab.set(heat_map=True)
    info = tab.generate()
    assert tab.pictures() == 2
    assert "where the instruction acts" in info["infotexts"][-1]


@pytest.mark.parametrize("kind", ["Full size with detail", "Own size, enlarged", "Working size"])
def test_a_result_is_of_the_size_that_was_chosen(tab, photo, kind):
    tab.set(result=kind)
    tab.generate()
    size = (64, round(64 * photo.height / photo.width)) if kind == "Working size" else photo.size
    assert tuple(tab.pixels(RESULT)[:2]) == size


def test_only_what_is_painted_over_is_edited(tab, photo):
    paint(tab)
    screenshot(tab, "mask")
    info = tab.generate()
    assert "Instruct edit region: painted" in info["infotexts"][0]
    source = np.asarray(photo, dtype=np.int16)
    result = np.asarray(tab.picture(RESULT).convert("RGB"), dtype=np.int16)
    changed = np.abs(result - source).max(-1) > 0
    assert changed.any() and not changed[:, photo.width // 2 :].any()


def test_styles_are_applied(tab):
    styles = tab.page.locator("#ip2p_styles input")
    styles.click()
    tab.page.locator("#ip2p_styles ul li", has_text="watercolour").click()
    tab.page.keyboard.press("Escape")
    assert "as a watercolour of make it winter" in tab.generate()["infotexts"][0]


def test_edit_more_and_less_move_the_scales_against_each_other(tab):
    def scales():
        return float(tab.value("text_scale")), float(tab.value("image_scale"))

    start = scales()
    tab["edit_more"].click()
    tab.page.wait_for_function(f"document.querySelector('#ip2p_text_scale input').value != '{start[0]}'")
    more = scales()
    assert more[0] > start[0] and more[1] < start[1]
    for _ in range(2):
        before = scales()
        tab["edit_less"].click()
        tab.page.wait_for_function(f"document.querySelector('#ip2p_text_scale input').value != '{before[0]:g}'")
    less = scales()
    assert less[0] < start[0] and less[1] > start[1]


def test_the_seed_of_a_result_can_be_reused_and_drawn_anew(tab):
    tab.set(seed=-1)
    drawn = tab.generate()["all_seeds"][0]
    tab["reuse_seed"].click()
    tab.page.wait_for_function(f"document.querySelector('#ip2p_seed input').value == '{drawn}'")
    tab["random_seed"].click()
    assert tab.value("seed") == "-1"


def test_the_result_becomes_the_picture(tab):
    tab.generate()
    result = tab.pixels(RESULT)
    before = tab.page.locator("#ip2p_image img").get_attribute("src")
    tab["use_result"].click()
    tab.page.wait_for_function("before => document.querySelector('#ip2p_image img')?.src !== before", arg=before)
    assert tab.pixels("#ip2p_image img") == result


def test_an_example_is_a_picture_and_what_to_make_of_it(tab, host):
    tab["example"].click()
    tab.page.wait_for_function("before => document.querySelector('#ip2p_image img')?.getAttribute('src') !== before", arg=tab.source)
    picture = tab.picture("#ip2p_image img")
    assert (picture.tobytes(), tab.value("prompt")) in [(Image.open(file).tobytes(), instruction) for file, instruction in EXAMPLES]
    assert tab.generate()["prompt"] == tab.value("prompt")
    assert tuple(tab.pixels(RESULT)[:2]) == picture.size


def seen_over_result(tab) -> np.ndarray:
    """The result as it is seen, with what lies over it: (h, w, 3)."""
    return np.asarray(Image.open(io.BytesIO(tab["compare"].screenshot())).convert("RGB"), dtype=int)


@pytest.mark.new_page
def test_a_handle_over_the_result_and_holding_show_what_it_was_made_of(tab):
    hold, keys = tab["hold"], tab.page.keyboard
    tab.resize({"width": 1400, "height": 1800})  # nothing scrolls
    expect(hold).to_be_disabled()
    tab.generate()
    handle = tab["compare"].locator("input")
    expect(handle).to_have_value("0")
    assert tab.pixels("#ip2p_compare img") == tab.pixels("#ip2p_image img")
    tab.page.wait_for_function(
        "[...document.querySelectorAll('#ip2p_gallery .preview > img, #ip2p_compare img')].every(img => img.complete)"
    )
    result = seen_over_result(tab)
    hold.focus()
    keys.down("Space")
    original = seen_over_result(tab)
    keys.up("Space")
    margin = 14  # px, half of the handle
    gap = abs(result - original)[:, margin:].mean()
    assert gap > 5 and abs(seen_over_result(tab) - result).mean() < gap / 10
    hold.hover()
    tab.page.mouse.down()
    assert tab.page.evaluate("getComputedStyle(document.querySelector('#ip2p_compare img')).clipPath") == "none"
    tab.page.mouse.up()

    box = tab["compare"].bounding_box()
    tab.page.mouse.move(box["x"] + 4, box["y"] + box["height"] / 2)
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=5)
    tab.page.mouse.up()
    expect(handle).to_have_value(re.compile("^(49|50|51)$"))
    both, middle = seen_over_result(tab), result.shape[1] // 2
    left, right = np.s_[:, margin : middle - 2 * margin], np.s_[:, middle + 2 * margin :]
    assert abs(both - original)[left].mean() < gap / 10 and abs(both - result)[right].mean() < gap / 10
    screenshot(tab, "compared")
    share = int(handle.input_value())
    handle.focus()
    keys.press("ArrowRight")
    expect(handle).to_have_value(str(share + 1))
    assert not tab.page.locator("#lightboxModal").is_visible()
    tab.generate()
    expect(handle).to_have_value("0")


@pytest.mark.parametrize("target", ["img2img", "inpaint", "extras"])
def test_a_result_is_sent_to_other_tabs(tab, target):
    tab.generate()
    result = tab.pixels(RESULT)
    tab["send_to_" + target].click()
    field = {"img2img": "#img2img_image", "inpaint": "#img2maskimg", "extras": "#extras_image"}[target]
    tab.page.locator(f"{field} img").first.wait_for(state="attached")  # inpaint draws it on a canvas
    assert tab.pixels(f"{field} img") == result


def test_a_result_is_saved_and_zipped(tab, host):
    tab.generate()
    tab.page.locator("#save_zip_ip2p").click()
    expect(tab.page.locator("#html_log_ip2p").first).to_contain_text("Saved:")
    link = tab.page.locator("#download_files_ip2p a").first
    expect(link).to_be_visible()
    assert ".zip" in tab.page.locator("#download_files_ip2p").inner_text()


def test_interrupt_ends_the_job_and_gives_what_there_is(tab, host):
    host.probe("switch", seconds=0.3)
    tab.set(steps=200)
    tab.start()
    expect(tab["interrupt"]).to_be_visible()
    expect(tab.page.locator("#ip2p_results .progressDiv")).to_contain_text("ETA")
    tab["interrupt"].click()
    tab.finished()
    assert tab.pictures() <= 1
    minutes, seconds = re.search(
        r"Time taken:\s*(?:(\d+) min\. )?([\d.]+) sec", tab.page.locator("#html_log_ip2p").first.inner_text()
    ).groups()
    assert 60 * int(minutes or 0) + float(seconds) < 40, "whole it takes a minute at least"
    expect(tab["interrupt"]).to_be_hidden()


def test_ctrl_enter_starts_an_edit(tab):
    tab["prompt"].locator("textarea").focus()
    tab.forget_job()
    tab.page.keyboard.press("Control+Enter")
    assert tab.finished()["prompt"] == "make it winter"


def test_tokens_are_counted(tab):
    tab.set(prompt="make it a very cold winter")
    expect(tab["token_counter"]).to_contain_text("6/75")
    tab.set(neg_prompt="blurry")
    expect(tab["negative_token_counter"]).to_contain_text("1/75")


def test_extra_networks_are_offered(tab):
    tab.page.locator("#ip2p_extra_tabs > .tab-nav > button", has_text="Lora").click()
    tab.page.locator("#ip2p_lora_cards .card", has_text="testlora").click()
    tab.page.wait_for_function("document.querySelector('#ip2p_prompt textarea').value.includes('<lora:testlora:')")


@pytest.mark.new_page
def test_a_running_job_comes_back_after_a_reload(tab, host):
    host.probe("switch", seconds=3)  # it lasts longer than the page takes to build
    tab.set(steps=60)
    tab.start()
    expect(tab.page.locator("#ip2p_results .progressDiv")).to_contain_text("ETA")
    tab.open()
    expect(tab.page.locator("#ip2p_results .progressDiv")).to_contain_text("%")
    host.probe("switch", seconds=0.0)
    assert "Steps: 60" in tab.finished()["infotexts"][0]
    tab.page.wait_for_selector(RESULT)


@pytest.mark.new_page
def test_a_finished_result_comes_back_after_a_reload(tab):
    tab.generate()
    result = tab.pixels(RESULT)
    tab.open()
    tab.page.wait_for_selector(RESULT)
    assert tab.pixels(RESULT) == result


@pytest.mark.parametrize("what, prompt", [("picture", "make it winter"), ("instruction", "  ")])
def test_what_is_missing_is_a_sentence_under_the_gallery(tab, host, what, prompt):
    logged = host.log.count("Traceback")
    if what == "picture":
        tab["image"].locator("button[aria-label=Clear]").click()
    tab.set(prompt=prompt)
    tab.start()
    expect(tab.page.locator("#html_log_ip2p .error")).to_contain_text(what)
    assert host.log.count("Traceback") == logged


@pytest.mark.parametrize(
    "name, content", [("broken.png", b"\x89PNG\r\n\x1a\n" + b"nonsense" * 20), ("notes.txt", b"a text"), ("a.pdf", b"%PDF-1.7")]
)
def test_a_file_that_is_no_picture_is_refused_at_once_and_the_field_stays_as_it_is(tab, tmp_path, name, content):
    shown = tab["image"].locator("img").get_attribute("src")
    expect(tab["error"]).to_be_hidden()
    (tmp_path / name).write_bytes(content)
    tab["image"].locator("input[type=file]").set_input_files(tmp_path / name)
    expect(tab["error"]).to_be_visible()
    expect(tab["error"]).to_contain_text("can't be read")
    assert tab["image"].locator("img").get_attribute("src") == shown
    tab["error"].locator("button").click()
    expect(tab["error"]).to_be_hidden()


def test_a_picture_is_sent_once_and_a_key_in_its_place_from_then_on(tab, photo, tmp_path):
    sent = []
    tab.page.on("request", lambda request: sent.append((request.url, len(request.post_data_buffer or b""))))
    photo.resize((600, 400)).save(tmp_path / "photo.png")
    size = (tmp_path / "photo.png").stat().st_size
    tab.upload(tmp_path / "photo.png")
    tab.generate()
    tab.generate()
    names = [name.rsplit("/", 1)[1] for name, _ in sent]
    assert names.count("instruct-edit-picture") == 1 and all(length < size for _, length in sent), names


def test_a_picture_that_browsers_don_t_show_is_shown_by_the_webui(tab, photo, tmp_path):
    photo.save(tmp_path / "photo.tif")
    tab.upload(tmp_path / "photo.tif")
    assert tuple(tab.pixels("#ip2p_image img")[:2]) == photo.size
    tab.generate()
    assert tuple(tab.pixels(RESULT)[:2]) == photo.size


def test_a_picture_is_shown_again_after_a_result_took_its_place(tab):
    tab.upload(tab.photo)
    tab.generate()
    for act in (tab["use_result"].click, lambda: tab["image"].locator("input[type=file]").set_input_files(tab.photo)):
        shown = tab["image"].locator("img").get_attribute("src")
        act()
        expect(tab["image"].locator("img")).not_to_have_attribute("src", shown)


def pictures_of_all_kinds(folder: Path, photo: Image.Image) -> dict[str, Path]:
    files = {}

    def keep(name: str, image: Image.Image, **options) -> None:
        files[name] = folder / name
        image.save(files[name], **options)

    turned = Image.Exif()
    turned[0x0112] = 6
    keep("turned.jpg", photo, exif=turned, quality=95)
    rgba = photo.convert("RGBA")
    rgba.putalpha(128)
    keep("rgba.png", rgba)
    keep("cmyk.jpg", photo.convert("CMYK"), quality=95)
    grey = np.asarray(photo.convert("L"), dtype=np.uint16) * 257
    keep("16-bit.png", Image.fromarray(grey))
    keep("palette.gif", photo.quantize(64))
    return files


def test_pictures_of_all_kinds_are_read_upright(tab, photo, tmp_path):
    for name, file in pictures_of_all_kinds(tmp_path, photo).items():
        tab.upload(file)
        tab.generate()
        size = photo.size[::-1] if name == "turned.jpg" else photo.size
        assert tuple(tab.pixels(RESULT)[:2]) == size, name


def test_a_model_that_does_not_edit_is_said_and_switched_on_a_click(chromium, host, quick):
    with host.options(sd_model_checkpoint="plain.safetensors"):
        page = chromium.new_context(viewport=WIDE).new_page()
        tab = Tab(page, host.url)
        expect(tab["notice"]).to_contain_text("is not an edit model")
        screenshot(tab, "not-an-edit-model")
        line = tab["notice"].locator(".ip2p-notice")
        assert line.bounding_box()["height"] < 50, "it is one line"
        line.get_by_label("Close").click()
        expect(line).to_be_hidden()
        tab.open()
        expect(tab["use_checkpoint"]).to_be_visible()
        expect(line).to_be_hidden()
        field = tab["checkpoint"].locator("input")
        field.click()
        options = tab["checkpoint"].locator("ul li").all_inner_texts()
        assert any("other-edit" in option for option in options) and not any("plain" in option for option in options)
        tab["checkpoint"].locator("ul li", has_text="other-edit").click()
        tab["use_checkpoint"].click()
        expect(tab["notice"]).not_to_contain_text("is not an edit model")
        expect(tab["use_checkpoint"]).to_be_hidden()
        assert "other-edit" in host.get("/instruct-edit/v1/status").json()["model"]
        page.context.close()
        assert tab.errors == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_sticks_out_of_the_window(chromium, host, quick, photo_file, theme):
    tab = Tab(chromium.new_context(viewport=WIDE).new_page(), host.url, theme)
    tab.upload(photo_file)
    tab.set(prompt="make it winter", longest_side=64, steps=3)
    tab.generate()
    for name, viewport in (("wide", WIDE), ("phone", PHONE)):
        tab.resize(viewport)
        tab.page.wait_for_function("width => document.documentElement.scrollWidth <= width", arg=viewport["width"])
        outside = tab.page.evaluate(
            """width => Array.from(document.querySelectorAll(['button', 'input', 'textarea', 'img', '#ip2p_result_row', '#ip2p_checks_row']
                .map(part => `#tab_ip2p ${part}`).join()))
                .filter(e => e.offsetParent && e.getBoundingClientRect().right > width + 1)
                .map(e => e.id || e.outerHTML.slice(0, 80))""",
            viewport["width"],
        )
        assert outside == []
        assert all(tab[row].bounding_box()["x"] >= 0 for row in ("result_row", "checks_row"))
        screenshot(tab, f"{theme}-{name}")
    tab.page.context.close()


def test_the_tab_works_behind_a_subpath(chromium, subpath_url, photo_file):
    page = chromium.new_context(viewport=WIDE).new_page()
    tab = Tab(page, subpath_url)
    tab.upload(photo_file)
    tab.set(prompt="make it winter", longest_side=64, steps=30)
    tab.start()
    expect(tab.page.locator("#ip2p_gallery .livePreview img").first).to_be_attached()
    assert "Steps: 30" in tab.finished()["infotexts"][0]
    page.context.close()


@pytest.fixture
def subpath_url(tmp_path, quick):
    """A second WebUI with --subpath behind a proxy that takes the prefix off, as a reverse proxy does."""
    from subpath_proxy import SubpathProxy
    from webui import WebUI, find_webui

    host = WebUI(find_webui(), tmp_path / "data", "--subpath", "webui")
    try:
        host.wait()
        host.probe("switch", seconds=0.3)
        with host.options(show_progress_every_n_steps=1, live_preview_refresh_period=150), SubpathProxy("webui", host.port) as proxy:
            yield proxy.url
    finally:
        host.stop()


def give(tab: Tab, event: str, file: Path) -> None:
    """Drops a file on the picture field, or pastes it into the page."""
    tab.page.evaluate(
        """async ([event, data, name]) => {
            const transfer = new DataTransfer();
            const blob = await (await fetch(data)).blob();
            transfer.items.add(new File([blob], name, {type: 'image/png'}));
            const field = document.querySelector('#ip2p_image [data-testid=image]');
            if (event === 'paste') window.dispatchEvent(new ClipboardEvent('paste', {clipboardData: transfer, bubbles: true}));
            else field.dispatchEvent(new DragEvent('drop', {dataTransfer: transfer, bubbles: true, composed: true}));
        }""",
        [event, "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode(), file.name],
    )


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_a_picture_is_dropped_or_pasted_also_over_another(tab, event, photo, tmp_path):
    for size in ((40, 30), (30, 40)):
        file = tmp_path / f"{size[0]}.png"
        photo.resize(size).save(file)
        give(tab, event, file)
        tab.page.wait_for_function("size => document.querySelector('#ip2p_image img')?.naturalWidth === size[0]", arg=size)

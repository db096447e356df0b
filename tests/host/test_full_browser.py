"""Full results in a real browser: from a file of twelve megapixels to the download, the slider of detail, and *Full size*."""

import json

import numpy as np
import pytest
from PIL import Image

from browser import INFO, RESULT, Tab, expect, screenshot, shown
from webui import drawn_picture

FULL, ENLARGED, WORKING = "Full size with detail", "Own size, enlarged", "Working size"
SOURCE = f"document.querySelector('{RESULT}').src"


@pytest.fixture
def picture(tab, tmp_path) -> Image.Image:
    """A photograph larger than the working size, which the tab has."""
    image = drawn_picture(300, 200)
    image.save(tmp_path / "photo.png")
    tab.upload(tmp_path / "photo.png")
    return image


def levels(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"), dtype=np.int16)


def infotext(tab: Tab) -> str:
    return json.loads(tab.page.evaluate(INFO))["infotexts"][-1]


def changed(tab: Tab, act) -> None:
    """Until what `act` does has changed the shown result."""
    before = tab.page.evaluate(SOURCE)
    act()
    tab.page.wait_for_function(f"before => {SOURCE} !== before", arg=before)


def asked(host, picture, **fields) -> np.ndarray:
    """What the API makes of the tab's settings."""
    ask = dict(image=picture, sampler_name="Euler a", steps=3, width=None, height=None, longest_side=64)
    return host.edit(**{**ask, "result": "full", "crop": False, **fields}).pixels[0]


@pytest.mark.new_page
def test_a_file_of_twelve_megapixels_comes_back_with_twelve(tab, host, tmp_path):
    photo = drawn_picture(4000, 3000)
    photo.save(tmp_path / "large.jpg", quality=90)
    tab.upload(tmp_path / "large.jpg")
    tab.set(longest_side=128)
    assert "Instruct edit result: full" in tab.generate()["infotexts"][0]
    assert tab.pixels(RESULT)[:2] == [4000, 3000]
    calls = len(host.rows())
    before = tab.picture(RESULT)
    changed(tab, lambda: tab.set(detail=0.3))
    assert len(host.rows()) == calls > 0, "no new edit"
    assert "Instruct edit detail: 0.3" in infotext(tab)
    expect(tab.page.locator("#html_info_ip2p").first).to_contain_text("Instruct edit detail: 0.3")
    with tab.page.expect_download() as download:
        tab["gallery"].locator("a[download]").first.click()
    with Image.open(download.value.path()) as image:
        assert image.size == photo.size and "Instruct edit detail: 0.3" in image.info["parameters"]
        assert abs(levels(image) - levels(before)).max() > 8
    screenshot(tab, "full-size")


@pytest.mark.parametrize("size, first", [((300, 200), b"\x78\x9c"), ((2400, 1800), b"\x78\x01")], ids=["small", "large"])
def test_a_large_result_s_file_is_packed_in_a_quarter_of_the_time(tab, host, tmp_path, size, first):
    """By the two bytes that a compressed stream begins with, which tell its level."""
    drawn_picture(*size).save(tmp_path / "photo.png")
    tab.upload(tmp_path / "photo.png")
    with host.options(instruct_edit_outdir=str(tmp_path / "out"), samples_format="png", return_grid=False):
        tab.generate()
    (saved,) = (tmp_path / "out").rglob("*.png")
    data = saved.read_bytes()
    assert data[data.index(b"IDAT") + 4 :][:2] == first
    with Image.open(saved) as image:
        assert image.size == size and "Instruct edit result: full" in image.info["parameters"]
        assert (levels(image) == levels(tab.picture(RESULT))).all()


@pytest.mark.new_page
def test_the_tab_s_full_result_is_the_api_s_and_the_slider_s_too(tab, host, picture):
    tab.generate()
    assert abs(levels(tab.picture(RESULT)) - asked(host, picture)).max() <= 2
    for detail in (0.5, 0):
        changed(tab, lambda detail=detail: tab.set(detail=detail))
        assert abs(levels(tab.picture(RESULT)) - asked(host, picture, detail=detail)).max() <= 2
    assert (asked(host, picture, detail=0) == asked(host, picture, result="own-size")).all()


@pytest.mark.parametrize("crop", (False, True))
@pytest.mark.parametrize("kind", (WORKING, ENLARGED))
def test_full_size_makes_a_shown_result_full_and_keeps_it(tab, host, picture, tmp_path, kind, crop):
    tab.set(result=kind, crop=crop, batch_size=2, detail=0.75)
    with host.options(instruct_edit_outdir=str(tmp_path / "out"), samples_format="jpg", return_grid=False):
        tab.generate()
        tab["gallery"].locator(".thumbnail-item.thumbnail-small").nth(1).click()
        calls, files = len(host.rows()), {*(tmp_path / "out").rglob("*.jpg")}
        tab.page.wait_for_function("selected_gallery_index() === 1")
        changed(tab, tab["full_size"].click)
        assert len(host.rows()) == calls
    wanted = asked(host, picture, crop=crop, seed=8, detail=0.75)
    (saved,) = {*(tmp_path / "out").rglob("*.jpg")} - files
    with Image.open(saved) as image:
        assert image.size == wanted.shape[1::-1]
    text = infotext(tab)
    assert "Instruct edit result: full, Instruct edit detail: 0.75" in text and "Seed: 8" in text
    assert ("Instruct edit crop: True" in text) == crop
    # The other one stays as it is, and the changed one stays selected.
    assert "result: full" not in json.loads(tab.page.evaluate(INFO))["infotexts"][0]
    assert tab.page.evaluate("selected_gallery_index()") == 1 and tab.pictures() == 2


def test_the_grid_of_full_results_is_of_working_size(tab, picture):
    tab.set(batch_size=2)
    tab.generate()
    assert tab.pictures() == 3
    assert tab.pixels("#ip2p_gallery .thumbnail-item.thumbnail-small:nth-child(1) img")[:2] == [128, 43]
    assert tab.pixels("#ip2p_gallery .thumbnail-item.thumbnail-small:nth-child(2) img")[:2] == list(picture.size)


def test_the_slider_leaves_a_result_of_another_kind_alone(tab, host, picture):
    tab.set(result=WORKING)
    tab.generate()
    before = tab.page.evaluate(SOURCE)
    tab.set(detail=0.5)
    tab.page.wait_for_timeout(2000)
    assert tab.page.evaluate(SOURCE) == before
    assert tab.page.locator("#html_log_ip2p .error").count() == 0


@pytest.mark.new_page
def test_a_result_that_is_not_kept_any_longer_is_a_sentence(tab, picture):
    tab["full_size"].click()
    expect(tab.page.locator("#html_log_ip2p .error")).to_contain_text("no result to bring to full size yet")
    tab.generate()
    tab.page.evaluate(
        """() => {
            const field = document.querySelector('#generation_info_ip2p textarea');
            field.value = field.value.replace(/"instruct_edit_job": "[0-9a-f]+"/, '"instruct_edit_job": "0123"');
            updateInput(field);
        }"""
    )
    tab["full_size"].click()
    expect(tab.page.locator("#html_log_ip2p .error")).to_contain_text("not kept any longer")


def test_no_other_window_and_no_other_file_is_reached(tab, host, picture):
    """A request of one's own: the job of another window, and a file that the page was never given."""
    tab.generate()
    info = tab.page.evaluate(INFO)
    page = tab.page.evaluate("ip2p_page()[0]")
    file = {"name": "/etc/hostname", "data": None, "is_file": True}
    for window, gallery in (("0" * 32, [file]), (page, [file, file])):
        twice = {**json.loads(info), "infotexts": json.loads(info)["infotexts"] * 2}
        inputs = {"ip2p_page": window, "ip2p_changed_place": 0, "ip2p_gallery": gallery, "ip2p_detail": 0.5}
        button = next(c["id"] for c in host.components(elem_id="ip2p_full_size"))
        config = host.page()
        ids = {c["props"].get("elem_id"): c["id"] for c in config["components"]}
        (index,) = (i for i, e in enumerate(config["dependencies"]) if e["targets"] == [button])
        names = {ids[name]: value for name, value in inputs.items()} | {config["dependencies"][index]["inputs"][3]: json.dumps(twice)}
        data = [names[i] for i in config["dependencies"][index]["inputs"]]
        answer = host.post("/run/predict", {"fn_index": index, "data": data, "session_hash": "test"})
        assert answer.ok and "not kept any longer" in answer.json()["data"][-1]
        assert "/etc/hostname" not in json.dumps(answer.json()["data"][:-1])


def test_a_ready_instruction_sets_the_detail_and_changes_no_result(tab, picture):
    tab.generate()
    before = tab.page.evaluate(SOURCE)
    tab.open_accordion("picker")
    tab.set(preset_group="art medium and style")
    tab.set(preset_name="Medium")
    tab.page.wait_for_function("document.querySelector('#ip2p_detail input').value === '0'")
    tab.page.wait_for_timeout(1000)
    assert tab.page.evaluate(SOURCE) == before


PASTED = (
    ("Instruct edit result: full, Instruct edit detail: 0.4", FULL, False),
    ("Instruct edit own size: True", ENLARGED, False),
    ("Instruct edit crop: False", WORKING, False),
    ("Instruct edit heat map: True", WORKING, True),
)


def test_paste_brings_back_what_an_edit_gave(tab):
    for field, kind, crop in PASTED:
        text = f"make it night\nSteps: 5, Sampler: Euler, CFG scale: 4.5, Image CFG scale: 1.2, Seed: 3, Size: 64x64, Instruct edit: 1.0, {field}"
        tab.set(result=FULL if kind != FULL else WORKING, crop=not crop, steps=3, prompt=text)
        tab.page.locator("#ip2p_tools #paste").click()
        tab.page.wait_for_function("document.querySelector('#ip2p_steps input').value === '5'")
        detail = "0.4" if kind == FULL else "1"
        assert shown(tab, ("result", "crop", "detail")) == {"result": kind, "crop": crop, "detail": detail}, field

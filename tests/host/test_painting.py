"""Where a picture may change, painted on it in a real browser: the mask belongs to its picture."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from browser import MASK, RESULT, Tab, expect, paint, screenshot, stroke
from webui import drawn_picture

ON = "Edit only here · on"


def mask_of(tab: Tab) -> np.ndarray:
    """What goes to the WebUI: (h, w), True where the picture may change."""
    data = tab.page.evaluate(MASK).partition(",")[2]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).getchannel("A")) > 128


def label(tab: Tab) -> str:
    return tab["mask_accordion"].locator(".label-wrap span").first.inner_text()


def no_mask(tab: Tab) -> None:
    tab.page.wait_for_function(f"!{MASK}")
    assert label(tab) == "Edit only here"


@pytest.mark.parametrize("size", [(96, 64), (50, 70)])
def test_another_picture_has_no_mask_whatever_its_size(tab, photo, tmp_path, size):
    paint(tab)
    screenshot(tab, "painted")
    tab["mask_accordion"].locator(".label-wrap").click()
    assert label(tab) == ON
    drawn_picture(*size).save(tmp_path / "other.png")
    tab.upload(tmp_path / "other.png")
    no_mask(tab)
    assert "painted" not in tab.generate()["infotexts"][0]


@pytest.mark.parametrize("kind", ["Working size", "Full size with detail"])
def test_a_result_that_becomes_the_picture_takes_the_mask_along(tab, tmp_path, kind):
    drawn_picture(192, 128).save(tmp_path / "picture.png")
    tab.upload(tmp_path / "picture.png")
    paint(tab)
    before = mask_of(tab)
    tab.set(result=kind, crop=False)
    tab.generate()
    size = tuple(tab.pixels(RESULT)[:2])
    shown = tab["image"].locator("img").get_attribute("src")
    tab["use_result"].click()
    expect(tab["image"].locator("img")).not_to_have_attribute("src", shown)
    tab.page.wait_for_function(f"document.getElementById('ip2p_paint').width == {size[0]} && {MASK}")
    after = mask_of(tab)
    assert after.shape == size[::-1] and abs(after.mean() - before.mean()) < 0.03
    assert "Instruct edit region: painted" in tab.generate()["infotexts"][0]
    picture, result = (np.asarray(tab.picture(s).convert("RGB"), np.int16) for s in ("#ip2p_image img", RESULT))
    changed = abs(result - picture).max(-1) > 0
    assert changed.any() and not changed[:, size[0] // 2 :].any()


def test_strokes_are_undone_and_erased_and_cleared(tab):
    paint(tab)
    once = mask_of(tab)
    tab["erase"].check()
    tab["brush"].fill("20")
    stroke(tab)
    no_mask(tab)
    tab["unpaint"].click()
    tab.page.wait_for_function(MASK)
    assert (mask_of(tab) == once).all()
    tab["erase"].uncheck()
    tab["clear_mask"].click()
    no_mask(tab)


def test_where_the_instruction_acts_is_painted_cut_by_a_threshold_and_mended(tab, tmp_path):
    drawn_picture(192, 128).save(tmp_path / "picture.png")
    tab.upload(tmp_path / "picture.png")
    tab["mask_accordion"].locator(".label-wrap").click()
    tab["find"].click()
    tab.page.wait_for_function(MASK)
    found = mask_of(tab)
    assert found.shape == (128, 192) and 0 < found.mean() < 1 and label(tab) == ON
    shares = []
    for threshold in ("20", "80"):
        tab["threshold"].evaluate("(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }", threshold)
        shares.append(mask_of(tab).mean())
    assert shares[0] > found.mean() > shares[1]
    stroke(tab)
    assert mask_of(tab).mean() > shares[1], "the brush mends it"
    screenshot(tab, "found")
    tab["clear_mask"].click()
    no_mask(tab)

"""A walk of forty steps through the tab as a person may take it, on one page: the right picture and fields at each, and never an error.

The checkpoints are small random ones, and the face parser is a stand-in whose map of labels was drawn by hand.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from browser import MASK, RESULT, WAIT, Tab, drop, expect, paint, screenshot, wait_for
from portraits import by_hand, label_map
from webui import drawn_picture, to_base64

PICTURE = "#ip2p_image [data-testid=image] img"
SHOWN = f"document.querySelector('{PICTURE}')?.getAttribute('src')"
MASK_LABEL = "#ip2p_mask_accordion .label-wrap span"
CHAIN = ("make it foggy", "add a boat", "make it dusk")
REGION = {"region_from": "By name", "region_only": True}
NO_REGION = {"region_from": "What is painted", "region_only": False}


@dataclass
class Stand:
    """What the page shows at a place of the walk. picture, result: as `Tab.pixels` gives them, result None for none."""

    prompt: str
    text_scale: str
    masked: bool
    picture: list[int]
    result: list[int] | None


def stand(tab: Tab) -> Stand:
    return Stand(tab.value("prompt"), tab.value("text_scale"), bool(tab.page.evaluate(MASK)), tab.pixels(PICTURE), tab.pixels(RESULT))


def stands(tab: Tab, expected: Stand) -> None:
    """Waits until this is what the page shows, and no error."""
    tab.page.wait_for_selector(PICTURE)
    deadline = time.monotonic() + WAIT / 1000
    while (now := stand(tab)) != expected and time.monotonic() < deadline:
        tab.page.wait_for_timeout(100)
    assert now == expected
    at_rest(tab)


def at_rest(tab: Tab) -> None:
    """Nothing runs, and no error shows."""
    expect(tab["generate"]).to_be_visible()
    expect(tab["interrupt"]).to_be_hidden()
    assert tab["error"].is_hidden(), tab["error"].inner_text()
    failed = tab.page.evaluate("Array.from(document.querySelectorAll('#tab_ip2p .error'), error => error.closest('[id]').id)")
    assert failed == [] and tab.errors == [], (failed, tab.errors, tab.console)
    label, masked = tab.page.evaluate(f"[document.querySelector('{MASK_LABEL}').textContent, !!{MASK}]")
    assert label == "Edit only here" + " · on" * masked


def edited(tab: Tab, **fields) -> Stand:
    """Sets these fields and edits: where the page stands then, whose result is not its picture."""
    tab.set(**fields)
    tab.generate()
    now = stand(tab)
    assert now.prompt == fields.get("prompt", now.prompt) and now.result not in (None, now.picture)
    at_rest(tab)
    return now


def go_on_from_the_result(tab: Tab) -> None:
    result = tab.pixels(RESULT)
    another_picture(tab, tab["use_result"].click)
    assert tab.pixels(PICTURE) == result
    at_rest(tab)


def another_picture(tab: Tab, act) -> None:
    before = tab.page.evaluate(SHOWN)
    act()
    tab.page.wait_for_function(f"before => {SHOWN} && {SHOWN} !== before", arg=before)


def steps_of(tab: Tab) -> list[str]:
    return tab["history_strip"].locator("li span").all_inner_texts()


def levels(tab: Tab, selector: str) -> np.ndarray:
    return np.asarray(tab.picture(selector).convert("RGB"), np.int16)


def difference(tab: Tab) -> np.ndarray:
    """(h, w), True where the result is not the picture."""
    return (levels(tab, RESULT) != levels(tab, PICTURE)).any(-1)


def open_tab(tab: Tab, name: str) -> None:
    tab.page.locator("#tabs > .tab-nav > button", has_text=name).first.click()


def text_of(info: dict) -> str:
    return info["infotexts"][-1]


@pytest.fixture
def parsed(host):
    host.probe("parser", labels=to_base64(label_map()))
    yield host
    host.probe("parser", labels="")


@pytest.mark.new_page
def test_a_walk_of_forty_steps_shows_the_right_picture_and_fields_at_each(tab, parsed, photo, tmp_path):
    edits = painted_and_edited_three_times(tab, photo)
    undone_and_redone(tab, edits)
    branch = an_older_step_and_another_way_on(tab, edits)
    reloaded_beside_a_second_window(tab, branch, tmp_path)
    a_sheet_chosen_from_and_another_interrupted(tab, parsed)
    chained(tab)
    filled_by_presets(tab)
    kept_to_a_part(tab)
    sent_to_img2img_and_back(tab)
    lent_a_checkpoint(tab, parsed)
    many_at_once(tab, tmp_path)


def painted_and_edited_three_times(tab: Tab, photo: Image.Image) -> list[Stand]:
    """Steps 1 to 8."""
    assert (levels(tab, PICTURE) == np.asarray(photo)).all()
    at_rest(tab)
    paint(tab)
    first = edited(tab, prompt="first", text_scale=3)
    changed = difference(tab)
    assert first.masked and changed.any() and not changed[:, photo.width // 2 :].any()
    assert tab.pixels("#ip2p_compare img") == first.picture and tab.pixels("#ip2p_gallery .preview > img") == first.result
    go_on_from_the_result(tab)
    tab.page.wait_for_function(MASK)
    tab["clear_mask"].click()
    second = edited(tab, prompt="second", text_scale=5)
    assert second.picture == first.result and not second.masked
    go_on_from_the_result(tab)
    third = edited(tab, prompt="third", text_scale=9)
    tab.open_accordion("history")
    expect(tab["history_strip"].locator("li")).to_have_count(3)
    return [first, second, third]


def undone_and_redone(tab: Tab, edits: list[Stand]) -> None:
    """Steps 9 to 14: an edit that is undone leaves its own settings beside the result before it."""
    first, second, third = edits
    for button, settings, result in (
        ("undo", third, second), ("undo", second, first), ("undo", first, None), ("redo", first, first), ("redo", second, second), ("redo", third, third)
    ):  # fmt: skip
        tab[button].click()
        stands(tab, Stand(settings.prompt, settings.text_scale, settings.masked, settings.picture, result and result.result))


def an_older_step_and_another_way_on(tab: Tab, edits: list[Stand]) -> Stand:
    """Steps 15 to 17."""
    first = edits[0]
    tab["history_strip"].locator("li button").nth(0).click()
    stands(tab, first)
    branch = edited(tab, prompt="another way", seed=8)
    assert branch.masked and branch.picture == first.picture and branch.result != first.result
    expect(tab["history_strip"].locator("li span")).to_have_text(["first", "second", "third", "another way"])
    tab["undo"].click()
    stands(tab, Stand(branch.prompt, branch.text_scale, True, branch.picture, first.result))
    tab["redo"].click()
    stands(tab, branch)
    return branch


def reloaded_beside_a_second_window(tab: Tab, branch: Stand, folder) -> None:
    """Steps 18 to 21: each window has its own picture, mask and history."""
    tab.open()
    stands(tab, branch)
    other = Tab(tab.page.context.new_page(), tab.url)
    other.open_accordion("history")
    expect(other["history_strip"].locator("ol")).to_be_attached()
    assert steps_of(other) == [] and not other.page.evaluate(SHOWN)
    drawn_picture(64, 96).save(folder / "other.png")
    other.upload(folder / "other.png")
    theirs = edited(other, prompt="in the other window", longest_side=64, steps=2)
    other.open()
    stands(other, theirs)
    other.page.close()
    tab.open()
    stands(tab, branch)
    tab.open_accordion("history")
    assert steps_of(tab) == ["first", "second", "third", "another way"] and other.errors == []


def a_sheet_chosen_from_and_another_interrupted(tab: Tab, host) -> None:
    """Steps 22 to 25."""
    before = stand(tab)
    tab.open_accordion("sheet")
    tab.set(sheet_text_scales="4, 8", sheet_image_scales="1.1, 1.9", sheet_side=64)
    tab["sheet_draw"].click()
    cells = tab["sheet_cells"].locator("li")
    expect(cells).to_have_count(4)
    expect(tab["sheet"].locator(".progressDiv")).to_have_count(0)
    cells.nth(3).locator("button").click()
    wait_for(tab, {"text_scale": "8", "image_scale": "1.9", "seed": "8"})
    host.probe("switch", seconds=0.5)
    tab.set(steps=100)
    tab["sheet_draw"].click()
    expect(tab["sheet"].locator(".progressDiv")).to_contain_text("%")
    tab["sheet_stop"].click()
    expect(tab["sheet"].locator(".progressDiv")).to_have_count(0)
    host.probe("switch", seconds=0.0)
    tab.set(steps=3)
    before.text_scale = "8"
    stands(tab, before)
    assert edited(tab, prompt="from a cell").result != before.result


def chained(tab: Tab) -> None:
    """Steps 26 to 29: the last line's result is the one that is meant, and each line is undone by itself."""
    tab.open_accordion("mask_accordion")
    tab["clear_mask"].click()
    edited(tab, prompt="\n".join(CHAIN), text_scale=6)
    tab.page.wait_for_function("selected_gallery_index() === 2")
    last = tab.pixels(RESULT)
    lines = [tab.pixels(f"#ip2p_gallery .thumbnail-small:nth-child({place}) img") for place in (1, 2, 3)]
    assert last == lines[2]
    screenshot(tab, "walk-chain")
    expect(tab["history_strip"].locator("li span")).to_have_text(["first", "second", "third", "another way", "from a cell", *CHAIN])
    tab["undo"].click()
    stands(tab, Stand(CHAIN[2], "6", False, lines[1], lines[1]))
    tab["redo"].click()
    stands(tab, Stand(CHAIN[2], "6", False, lines[1], lines[2]))
    go_on_from_the_result(tab)
    assert tab.pixels(PICTURE) == last


def filled_by_presets(tab: Tab) -> None:
    """Steps 30 to 32."""
    tab.open_accordion("picker")
    tab.set(preset_group="weather")
    tab.set(preset_name="Fog")
    expect(tab["preset_word_1"]).to_be_visible()
    tab.page.wait_for_function("document.querySelector('#ip2p_prompt textarea').value.includes('fog')")
    tab.set(preset_own_name="A fog of mine")
    tab["preset_save"].click()
    expect(tab["preset_message"]).to_contain_text("Saved as “A fog of mine”")
    tab["preset_delete"].click()
    expect(tab["preset_message"]).to_contain_text("Deleted “A fog of mine”")
    at_rest(tab)
    edited(tab, steps=2)


def kept_to_a_part(tab: Tab) -> None:
    """Steps 33 to 36: a card's region goes and comes back with its edit, and so does what was found and painted."""
    tab["card_hair"].click()
    wait_for(tab, {**REGION, "region_name": "hair"})
    by_card = edited(tab, steps=2)
    size = by_card.result[:2]
    outside = np.asarray(Image.fromarray(by_hand("hair")).resize(size)) == 0
    assert difference(tab).any() and not difference(tab)[outside].any()
    tab.set(region_from="What is painted", region_only=False)
    tab["find"].click()
    tab.page.wait_for_function(MASK)
    found = edited(tab, prompt="make it winter")
    assert found.masked
    tab["undo"].click()
    stands(tab, Stand(found.prompt, found.text_scale, True, found.picture, by_card.result))
    tab["undo"].click()
    wait_for(tab, {**REGION, "region_name": "hair"})
    expect(tab.page.locator(MASK_LABEL).first).to_have_text("Edit only here")
    tab["redo"].click()
    stands(tab, by_card)
    tab["redo"].click()
    stands(tab, found)
    wait_for(tab, NO_REGION)


def sent_to_img2img_and_back(tab: Tab) -> None:
    """Steps 37 and 38."""
    result = tab.pixels(RESULT)
    tab["send_to_img2img"].click()
    tab.page.locator("#img2img_image img").first.wait_for()
    assert tab.pixels("#img2img_image img") == result
    steps = tab.page.locator("#img2img_steps input[type=number]")
    steps.fill("2")
    steps.blur()
    tab.page.locator("#img2img_prompt textarea").fill("a house")
    tab.page.locator("#img2img_generate").click()
    tab.page.wait_for_selector("#img2img_gallery .preview img, #img2img_gallery .thumbnail-item img", state="attached")
    expect(tab.page.locator("#img2img_results .progressDiv")).to_have_count(0)
    theirs = tab.pixels("#img2img_gallery .preview img, #img2img_gallery .thumbnail-item img")
    another_picture(tab, tab.page.locator("#img2img_send_to_ip2p").click)
    expect(tab["generate"]).to_be_visible()
    tab.page.wait_for_function(f"!{MASK}")
    assert tab.pixels(PICTURE) == theirs
    at_rest(tab)
    edited(tab, prompt="after img2img")


def lent_a_checkpoint(tab: Tab, host) -> None:
    """Step 39: lent for one edit, and given back."""
    with host.options(sd_model_checkpoint="plain.safetensors"):
        before = stand(tab)
        tab.open()
        stands(tab, before)
        expect(tab["notice"]).to_contain_text("is not an edit model")
        tab["checkpoint"].locator("input").click()
        tab["checkpoint"].locator("ul li", has_text="other-edit").click()
        tab.set(lend=True)
        tab.set(prompt="by another checkpoint")
        assert "Model: other-edit" in text_of(tab.generate())
        assert host.get("/instruct-edit/v1/status").json()["model"].startswith("plain")
        lent = stand(tab)
        assert lent.result != before.result
        at_rest(tab)
        tab["undo"].click()
        stands(tab, Stand(lent.prompt, lent.text_scale, lent.masked, lent.picture, before.result))
    tab.open()
    expect(tab["notice"]).not_to_contain_text("is not an edit model")


def many_at_once(tab: Tab, folder) -> None:
    """Step 40: a batch leaves picture, result and history of the window as they are."""
    stands(tab, before := stand(tab))
    files = [folder / name for name in ("red.png", "blue.png")]
    for file in files:
        Image.new("RGB", (64, 64), file.stem).save(file)
    tab.open_accordion("batch")
    drop(tab, *files)
    tab.set(batch_output=folder / "out")
    tab["batch_run"].click()
    expect(tab["batch_report"]).to_contain_text("2 edited, 0 there already, 0 failed.")
    assert sorted(file.name for file in (folder / "out").iterdir()) == ["blue.png", "red.png"]
    stands(tab, before)

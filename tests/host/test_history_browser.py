"""The history of a browser window: undo, redo, older steps, reloads, a second window, and nothing newer replaced."""

import io
import json

import pytest
from PIL import Image

from browser import INFO, MASK, RESULT, Tab, expect, paint, screenshot
from webui import drawn_picture, to_base64

PROMPT = "document.querySelector('#ip2p_prompt textarea').value"
SHOWN = "document.querySelector('#ip2p_image [data-testid=image] img')?.getAttribute('src')"


@pytest.fixture
def walked(tab) -> list:
    """Three edits, each of the result before; of each the picture's, the mask's and the result's pixels. The first has a mask."""
    edits = []
    paint(tab)
    for prompt, scale in (("first", 3), ("second", 5), ("third", 9)):
        if edits:
            shown = tab.page.evaluate(SHOWN)
            tab["use_result"].click()
            tab.page.wait_for_function(f"shown => {SHOWN} && {SHOWN} !== shown", arg=shown)
            if edits[-1][1]:
                tab.page.wait_for_function(MASK)  # which comes along once the result is decoded
            tab["clear_mask"].click()
        tab.set(prompt=prompt, text_scale=scale)
        mask = tab.page.evaluate(MASK)
        tab.generate()
        edits.append((tab.pixels("#ip2p_image img"), mask, tab.pixels(RESULT)))
    return edits


def is_at(tab: Tab, prompt: str, scale: float, edit, result) -> None:
    """Waits for the prompt, then compares picture, mask, scale and result."""
    tab.page.wait_for_function(
        f"prompt => {PROMPT} === prompt && !document.querySelector('#ip2p_history_moves[aria-busy=true]')", arg=prompt
    )
    tab.page.wait_for_timeout(500)  # until what was answered is shown
    picture, mask, _ = edit
    assert float(tab.value("text_scale")) == scale
    tab.page.wait_for_function(f"masked => !!{MASK} === masked", arg=bool(mask))
    assert tab.pixels("#ip2p_image [data-testid=image] > div img") == picture
    if result is None:
        expect(tab.page.locator(RESULT)).to_have_count(0)
    else:
        assert tab.pixels(RESULT) == result


@pytest.mark.new_page
def test_undo_redo_an_older_step_a_reload_and_a_second_window(tab, walked):
    first, second, third = walked
    tab["undo"].click()
    is_at(tab, "third", 9, third, second[2])
    tab["undo"].click()
    is_at(tab, "second", 5, second, first[2])
    tab["redo"].click()
    is_at(tab, "second", 5, second, second[2])
    tab["redo"].click()
    is_at(tab, "third", 9, third, third[2])
    tab["redo"].click()
    expect(tab["status"]).to_contain_text("nothing to redo")

    tab.open_accordion("history")
    steps = tab["history_strip"].locator("li")
    expect(steps.locator("span")).to_have_text(["first", "second", "third"])
    screenshot(tab, "history")
    steps.nth(0).locator("button").click()
    is_at(tab, "first", 3, first, first[2])
    with tab.page.expect_download() as download:
        steps.nth(2).locator("a").click()
    with Image.open(download.value.path()) as image:
        assert image.size == tuple(third[2][:2]) and "third" in image.info["parameters"], "the whole file"

    other = Tab(tab.page.context.new_page(), tab.url)
    other.open_accordion("history")
    expect(other["history_strip"].locator("ol")).to_be_attached()
    assert other["history_strip"].locator("li").count() == 0 and not other.page.evaluate(SHOWN)
    assert other.page.evaluate("ip2p_page()[0]") != tab.page.evaluate("ip2p_page()[0]")
    other.page.close()

    tab.open()
    is_at(tab, "first", 3, first, first[2])
    expect(tab["token_counter"]).to_contain_text("1/75")
    expect(tab["compare"]).to_be_attached()
    assert tab.pixels("#ip2p_compare img") == first[0] and tab.pixels("#ip2p_gallery .preview > img") == first[2]


def test_what_is_typed_while_a_step_is_restored_stays(tab):
    tab.set(prompt="kept in the history")
    tab.generate()
    tab.set(prompt="another")
    tab.generate()
    shown = tab.page.evaluate(SHOWN)
    # In the page itself and before anything that the network brings; what a script types is no person's input unless it says so.
    tab.page.evaluate(
        """async text => {
            const status = document.getElementById('ip2p_status');
            status.textContent = '';
            document.getElementById('ip2p_undo').click();
            for (let i = 0; i < 100 && !status.textContent; i++) await null;
            if (!status.textContent) throw new Error('nothing is restored');
            const box = document.querySelector('#ip2p_prompt textarea');
            box.value = text;
            updateInput(box);
            ip2p_touched++;
        }""",
        "typed meanwhile",
    )
    expect(tab["status"]).to_contain_text("nothing was replaced")
    assert tab.value("prompt") == "typed meanwhile" and tab.page.evaluate(SHOWN) == shown


@pytest.mark.new_page
def test_more_than_ten_edits_are_kept(tab):
    tab.set(steps=1)
    for i in range(12):
        tab.set(prompt=f"edit {i}")
        tab.generate()
        expect(tab["history_strip"].locator("li")).to_have_count(i + 1)
    expect(tab["history_strip"].locator("li span")).to_have_text([f"edit {i}" for i in range(12)])


def test_the_grid_is_never_the_next_picture_nor_compared(tab, tmp_path):
    drawn_picture(64, 64).save(tmp_path / "square.png")
    tab.upload(tmp_path / "square.png")
    tab.set(count=2)
    tab.generate()
    tab.page.wait_for_function("selected_gallery_index() === 1")
    expect(tab["gallery"].locator(".thumbnail-item.thumbnail-small")).to_have_count(3)
    expect(tab["compare"]).to_be_attached()
    result = tab.pixels("#ip2p_gallery .thumbnail-small:nth-child(2) img")
    tab["gallery"].locator(".thumbnail-small").first.click()
    tab.page.wait_for_function("selected_gallery_index() === 0")
    expect(tab["compare"]).to_have_count(0)
    expect(tab["hold"]).to_be_disabled()
    shown = tab.page.evaluate(SHOWN)
    tab["use_result"].click()
    tab.page.wait_for_function(f"shown => {SHOWN} !== shown", arg=shown)
    assert tab.pixels("#ip2p_image [data-testid=image] > div img") == result


def test_a_result_names_the_picture_that_it_was_made_of(host):
    picture = drawn_picture(64, 64)
    fields = {"ip2p_image": "data:image/png;base64," + to_base64(picture), "ip2p_prompt": "make it winter", "ip2p_steps": 1}
    answer = host.press(fields | {"ip2p_longest_side": 64, "ip2p_styles": []}, elem_id="ip2p_generate").json()
    before = json.loads(answer["data"][1])["instruct_edit_before"]
    with Image.open(io.BytesIO(host.get(f"/{before}").content)) as shown:
        assert shown.convert("RGB").tobytes() == picture.tobytes()


def test_a_contact_sheet_is_interrupted_and_so_is_an_edit_that_waited_for_it(tab, host):
    host.probe("switch", seconds=0.5)
    tab.open_accordion("sheet")
    tab.set(sheet_side=64, steps=150)
    tab["sheet_draw"].click()
    expect(tab["sheet"].locator(".progressDiv")).to_contain_text("%")
    bar, cells = tab["sheet"].locator(".progressDiv").bounding_box(), tab["sheet_cells"].bounding_box()
    assert bar["y"] + bar["height"] <= cells["y"] + 1, "beside the labels"
    tab.page.evaluate(f"{INFO} = ''; document.getElementById('ip2p_generate').click()")
    tab["sheet_stop"].click()
    expect(tab["sheet"].locator(".progressDiv")).to_have_count(0)
    expect(tab["interrupt"]).to_be_visible()
    expect(tab.page.locator("#ip2p_results .progressDiv")).to_contain_text("%")
    tab.page.locator("body").click(position={"x": 1, "y": 1})
    tab.page.keyboard.press("Escape")
    tab.finished()
    expect(tab["generate"]).to_be_visible()
    expect(tab["interrupt"]).to_be_hidden()

"""From the tab to where people come from and go on to: the sheet, the history, pasted settings, other tabs."""

import pytest

from browser import PHONE, RESULT, expect, paint, screenshot
from ip2p.presets import CARDS


@pytest.mark.new_page
def test_a_contact_sheet_is_labelled_and_a_cell_fills_the_controls(tab):
    tab.open_accordion("sheet")
    tab.set(sheet_text_scales="4, 8", sheet_image_scales="1.1, 1.4, 1.9", sheet_side=64)
    tab["sheet_draw"].click()
    cells = tab["sheet_cells"].locator("li")
    expect(cells).to_have_count(6)
    assert cells.locator("span").all_inner_texts()[:4] == [
        "text 4, image 1.1", "text 4, image 1.4", "text 4, image 1.9", "text 8, image 1.1"
    ]  # fmt: skip
    screenshot(tab, "sheet")
    cells.nth(4).locator("button").click()
    tab.page.wait_for_function("document.querySelector('#ip2p_image_scale input').value == '1.4'")
    assert (float(tab.value("text_scale")), tab.value("seed")) == (8, "7")


def test_a_contact_sheet_without_scales_is_drawn_around_those_of_the_controls(tab):
    tab.set(text_scale=3, image_scale=1.2)
    tab.open_accordion("sheet")
    tab.set(sheet_side=64)
    tab["sheet_draw"].click()
    cells = tab["sheet_cells"].locator("li")
    expect(cells).to_have_count(9)
    said = cells.locator("span").all_inner_texts()
    assert (said[0], said[4], said[8]) == ("text 1.5, image 0.9", "text 3, image 1.2", "text 4.8, image 1.68")


def test_a_cell_of_the_sheet_is_the_edit_it_promises(tab, host):
    host.probe("clear")
    tab.open_accordion("sheet")
    tab.set(sheet_text_scales="3, 9", sheet_image_scales="1.2, 1.7", sheet_side=64)
    tab["sheet_draw"].click()
    cells = tab["sheet_cells"].locator("li")
    expect(cells).to_have_count(4)
    assert {len(call) for call in host.probe("records")["calls"]} == {1}, "the cells were not one batch"
    shown = tab.pixels("#ip2p_sheet_cells li:nth-child(3) img")
    tab.set(text_scale=9, image_scale=1.2, result="Working size")
    tab.generate()
    result = tab.pixels(RESULT)
    assert shown[:2] == result[:2]
    assert max(abs(a - b) for a, b in zip(shown[2:], result[2:])) <= 2


@pytest.mark.new_page
def test_a_contact_sheet_over_seeds(tab):
    tab.open_accordion("sheet")
    tab.set(sheet_over="Seeds", sheet_seeds=4, sheet_side=64)
    tab["sheet_draw"].click()
    cells = tab["sheet_cells"].locator("li")
    expect(cells).to_have_count(4)
    cells.nth(2).locator("button").click()
    tab.page.wait_for_function("document.querySelector('#ip2p_seed input').value == '9'")


@pytest.mark.parametrize("scales", ["five", "1, 2, 3, 4, 5, 6, 7, 8"])
def test_a_contact_sheet_that_cannot_be_drawn_is_a_sentence(tab, scales):
    tab.open_accordion("sheet")
    tab.set(sheet_text_scales=scales, sheet_image_scales="1, 2, 3, 4, 5, 6, 7, 8")
    tab["sheet_draw"].click()
    expect(tab.page.locator("#html_log_ip2p .error")).to_contain_text("contact sheet")


@pytest.mark.new_page
def test_several_instructions_are_a_chain_with_every_step_shown(tab):
    tab.set(prompt="make it winter\nadd a hat\nmake it night", heat_map=True)
    info = tab.generate()
    assert [text.splitlines()[0] for text in info["infotexts"]] == ["make it winter", "add a hat", "make it night"] * 2
    assert ["where the instruction acts" in text for text in info["infotexts"]] == [False] * 3 + [True] * 3
    assert tab.pictures() == 6
    screenshot(tab, "chain")
    tab.open_accordion("history")
    expect(tab["history_strip"].locator("li span")).to_have_text(["make it winter", "add a hat", "make it night"])
    tab.page.wait_for_function("selected_gallery_index() === 2")  # the last line's


def test_a_chain_with_a_mask_keeps_the_size_and_every_pixel_outside(tab):
    paint(tab)
    tab.set(prompt="make it winter\nadd a hat")
    info = tab.generate()
    assert len(info["infotexts"]) == 2 and all("Instruct edit region: painted" in text for text in info["infotexts"])
    expect(tab["history_strip"].locator("[aria-current]")).to_contain_text("add a hat")  # both are written


def test_a_history_that_can_t_be_kept_is_a_sentence_and_the_result_stays(tab, host):
    history = host.folder / "extensions" / "sd-webui-instruct-edit" / "user" / "history"
    kept = history.with_name("kept")
    history.parent.mkdir(exist_ok=True)
    if history.exists():
        history.rename(kept)
    history.write_text("a file where the folder should be")
    try:
        tab.generate()
        expect(tab["history_message"]).to_contain_text("The history could not be kept")
        assert tab.pictures() == 1
    finally:
        history.unlink()
        if kept.exists():
            kept.rename(history)


def test_a_preset_of_one_s_own_is_deleted_and_a_shipped_one_is_not(tab, host):
    def own() -> list[str]:
        return [preset["key"] for preset in host.get("/instruct-edit/v1/presets").json() if preset["own"]]

    tab.open_accordion("picker")
    before = own()
    tab.set(preset_group="weather")
    tab.set(preset_name="Fog")
    tab["preset_delete"].click()
    expect(tab["preset_message"]).to_contain_text("only those can be renamed or deleted")
    expect(tab["preset_word_1"]).to_be_visible()
    tab.set(prompt="make it mist", preset_own_name="Fog")
    tab["preset_save"].click()
    expect(tab["preset_message"]).to_contain_text("Saved as “Fog (own)”")
    assert own() == [*before, "fog-own"]
    expect(tab["preset_word_1"]).to_be_hidden()
    screenshot(tab, "picker")
    tab.set(preset_own_name="Mist")
    tab["preset_rename"].click()
    expect(tab["preset_message"]).to_contain_text("“Fog (own)” is “Mist” now")
    assert own() == [*before, "mist"]
    tab["preset_delete"].click()
    expect(tab["preset_message"]).to_contain_text("Deleted “Mist”")
    expect(tab["preset_name"].locator("input")).to_have_value("")
    assert own() == before


def test_the_cards_stand_at_least_two_on_a_line_of_a_phone_each_with_its_whole_name(tab):
    tab.resize(PHONE)
    cards = [tab[f"card_{label.lower()}"] for label in CARDS]
    lines = {round(card.bounding_box()["y"]) for card in cards}
    assert len(lines) <= len(cards) / 2
    assert all(card.evaluate("card => card.scrollWidth <= card.clientWidth") for card in cards)
    tab["cards"].scroll_into_view_if_needed()
    screenshot(tab, "cards-phone")

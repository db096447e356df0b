"""Choosing a ready instruction and moving the scales, as the tab and the page do it."""

import pytest

from ip2p.edit import SLIDER_IMAGE, SLIDER_TEXT, move_scales
from ip2p.presets import GROUPS, OWN_GROUP, Preset, chosen, filled, groups_of, load, names_of


def test_the_person_s_own_kinds_of_change_come_last():
    own = {key: Preset(key, "make it odd", group=group, own=True) for key, group in (("a", "zebra"), ("b", OWN_GROUP))}
    assert groups_of({**load(), **own}) == [*GROUPS, "zebra", OWN_GROUP]


@pytest.mark.parametrize("group", GROUPS)
def test_every_shipped_preset_is_found_by_its_kind_and_name(group):
    presets = load()
    for name in names_of(presets, group):
        assert (chosen(presets, group, name).group, chosen(presets, group, name).name) == (group, name)
    assert chosen(presets, group, "no such name") is None


def test_an_emptied_field_stands_for_the_default():
    preset = Preset("Weather", "make it {to}, not {from}", choices={"to": ("foggy", "wet"), "from": ("dry",)})
    assert filled(preset, ["stormy", ""]) == "make it stormy, not dry"
    assert filled(preset, []) == "make it foggy, not dry"


def test_more_edit_and_less_edit_undo_each_other_and_stay_on_the_sliders():
    assert move_scales(*move_scales(7.5, 1.5, +1), -1) == (7.5, 1.5)
    text, image = move_scales(7.5, 1.5, +1)
    assert text > 7.5 and image < 1.5
    for direction in (+1, -1):
        scales = 7.5, 1.5
        for _ in range(60):
            scales = move_scales(*scales, direction)
        assert 1 <= scales[0] <= SLIDER_TEXT and 1 <= scales[1] <= SLIDER_IMAGE

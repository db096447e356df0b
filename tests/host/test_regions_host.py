"""Regions through the API: outside them every pixel stays, one is edited by itself, and what can't be is a sentence."""

import numpy as np
import pytest
from PIL import Image

from webui import drawn_picture, to_base64

SIZE = 240, 160
FACES = (20, 30, 60, 70), (170, 80, 215, 120)
WHOLE = dict(width=None, height=None, longest_side=64, steps=2)


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return drawn_picture(*SIZE)


@pytest.fixture(scope="module")
def mask() -> Image.Image:
    mask = Image.new("L", SIZE)
    for box in FACES:
        mask.paste(255, box)
    return mask


def changed(edited, picture) -> np.ndarray:
    return (edited.pixels[0] != np.asarray(picture)).any(-1)


@pytest.mark.parametrize("region", ({}, {"feather": 3}, {"only": True}, {"only": True, "number": 2}, {"invert": True}), ids=str)
def test_outside_a_region_every_pixel_of_the_photograph_stays(host, picture, mask, region):
    edited = host.edit(image=picture, mask=mask, region=region, result="full", **WHOLE)
    inside = (np.asarray(mask) > 0) ^ region.get("invert", False)
    assert edited.images[0].size == SIZE and not changed(edited, picture)[~inside].any() and changed(edited, picture)[inside].any()
    assert changed(edited, picture)[:, :120].any() == (region.get("number") != 2)
    assert "Instruct edit region: painted" in edited.infotexts[0]


def test_a_region_is_edited_by_itself_at_the_model_s_own_size_one_after_another(host, picture, mask):
    host.probe("clear")
    both = host.edit(image=picture, mask=mask, region={"only": True}, **WHOLE)
    assert both.images[0].size == SIZE, "the whole photograph, where no result is asked for"
    assert [len(part) for part in (both.images, both.infotexts, both.seeds)] == [1, 1, 1] and "Seed: 7," in both.infotexts[0]
    first = host.edit(image=picture, mask=mask, region={"only": True, "number": 1}, **WHOLE).images[0]
    second = host.edit(image=first, mask=mask, region={"only": True, "number": 2}, seed=8, **WHOLE)
    assert (both.pixels == second.pixels).all()


def test_every_part_of_every_line_is_edited_for_every_seed(host, picture, mask):
    chain = host.edit(image=picture, mask=mask, region={"only": True}, instruction="winter\nnight", count=2, **WHOLE)
    assert chain.seeds == [7, 8, 7, 8] and [text.splitlines()[0] for text in chain.infotexts] == ["winter", "winter", "night", "night"]
    assert all(f"Seed: {seed}," in text for seed, text in zip(chain.seeds, chain.infotexts))
    alone = host.edit(image=picture, mask=mask, region={"only": True}, instruction="winter", seed=8, **WHOLE)
    assert abs(chain.pixels[1] - alone.pixels[0]).max() <= 1


def test_a_region_by_name_is_found_and_the_rest_stays(host):
    sky = np.asarray(drawn_picture(*SIZE)).copy()
    sky[:70] = (120, 170, 240)
    edited = host.edit(image=Image.fromarray(sky), region={"from": "name", "name": "sky"}, result="full", **WHOLE)
    assert changed(edited, sky)[:60].mean() > 0.5 and not changed(edited, sky)[90:].any()
    assert "Instruct edit region: sky" in edited.infotexts[0]


def test_the_status_says_which_regions_can_be_found_and_why_others_can_t(host):
    regions = host.get("/instruct-edit/v1/status").json()["regions"]
    assert regions["sky"] is None
    for name in (name for name, reason in regions.items() if reason):
        assert host.refusal(region={"from": "name", "name": name}) == regions[name]


@pytest.mark.parametrize(
    "region, said",
    [
        ({"from": "name", "name": "nose"}, "There is no region “nose”"),
        ({"from": "magic"}, "“magic”"),
        ({"feather": -2}, "The region feather must be a number between 0 and 1000, not -2."),
        ({"number": 1.5}, "The region number must be a whole number between 0 and 99"),
        ({"fether": 2}, "There is no field “fether”"),
        ({"feather": 10**400}, "region feather"),
        ("face", "region"),
        ({"from": "name", "name": "sky"}, "There is no sky in the picture"),
        ({}, "paint over"),
    ],
    ids=str,
)
def test_a_region_that_can_t_be_is_refused_in_a_sentence(host, region, said):
    assert said in host.refusal(image=Image.new("RGB", (64, 64), "red"), region=region)


def test_the_tenth_of_ten_faces_is_told_by_its_number(host):
    mask = Image.new("L", (640, 64))
    for i in range(10):
        mask.paste(255, (64 * i + 20, 20, 64 * i + 44, 44))
    picture = drawn_picture(640, 64)
    edited = host.edit(image=picture, mask=mask, region={"only": True, "number": 10}, **{**WHOLE, "steps": 1})
    columns = np.flatnonzero(changed(edited, picture).any(0))
    assert columns.min() >= 64 * 9 + 20
    assert "There is no painted region number 11: 10 found" in host.refusal(image=picture, mask=mask, region={"only": True, "number": 11})


def test_at_12_megapixels_every_pixel_outside_stays(host):
    picture = drawn_picture(4000, 3000)
    mask = Image.new("L", picture.size)
    mask.paste(255, (1000, 900, 1300, 1250))
    for region in ({}, {"only": True}):
        edited = host.edit(image=to_base64(picture), mask=to_base64(mask), region=region, result="full", **{**WHOLE, "steps": 1})
        different = (np.asarray(edited.images[0]) != np.asarray(picture)).any(-1)
        assert not different[np.asarray(mask) == 0].any() and different.any()


@pytest.mark.parametrize("region", ({}, {"threshold": 0.4, "feather": 2}, {"scoped": True}, {"keep_colour": 1.0}), ids=str)
def test_an_edit_keeps_to_where_its_instruction_acts(host, picture, region):
    edited = host.edit(image=picture, region={"from": "instruction", **region}, result="full", **WHOLE)
    share = changed(edited, picture).mean()
    assert 0 < share < 1 and "Instruct edit region: from the instruction" in edited.infotexts[0]
    again = host.edit(image=picture, region={"from": "instruction", **region}, result="full", seed=8, **WHOLE)
    assert abs(changed(again, picture).mean() - share) < 0.05, "where it acts does not follow from the seed"


@pytest.mark.parametrize("sampler", ("Euler a", "DPM++ 2M", "DDIM", "UniPC", "LCM"))
def test_guidance_is_kept_to_the_region_with_every_kind_of_sampler(host, picture, mask, sampler):
    edits = [
        host.edit(
            image=picture, mask=mask, region={"scoped": scoped, "feather": 0}, sampler_name=sampler, result="full", **{**WHOLE, "steps": 4}
        )
        for scoped in (False, True)
    ]
    assert not changed(edits[1], picture)[np.asarray(mask) == 0].any() and (edits[0].pixels != edits[1].pixels).any()

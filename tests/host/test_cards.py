"""Cards, regions and variations in the tab: what a ready instruction says of where it acts is where it acts.

The face parser is a stand-in, whose map of labels was drawn by hand.
"""

import json

import numpy as np
import pytest
from PIL import Image, ImageFilter
from playwright.sync_api import expect

from browser import RESULT
from portraits import ASTRONAUT, by_hand, label_map, portrait
from test_script import img2img, pixels  # noqa: F401
from webui import to_base64


@pytest.fixture
def parsed(host):
    """The WebUI with the stand-in parser."""
    host.probe("parser", labels=to_base64(label_map()))
    yield host
    host.probe("parser", labels="")


@pytest.fixture
def sent() -> dict:
    picture = "data:image/png;base64," + to_base64(portrait())
    return {"ip2p_image": picture, "ip2p_prompt": "make it winter", "ip2p_steps": 1, "ip2p_longest_side": 64}


def pressed(host, inputs: dict) -> tuple[list[str], str]:
    """Generate → the infotexts of the results, and the message."""
    answer = host.press(inputs, elem_id="ip2p_generate")
    assert answer.ok, answer.text
    _, info, _, log = answer.json()["data"]
    return json.loads(info)["infotexts"] if info else [], log


def test_a_region_by_name_is_edited_from_the_tab_and_told_in_the_infotext(parsed, sent):
    by_name = {"ip2p_region_from": "By name", "ip2p_region_name": "hair", "ip2p_region_only": True, "ip2p_region_feather": 3}
    (text,), _ = pressed(parsed, sent | by_name)
    assert "Instruct edit region: hair; feather 3; only" in text
    (text,), _ = pressed(parsed, sent)
    assert "region" not in text, "with nothing painted and no name the whole picture is edited"
    texts, log = pressed(parsed, sent | by_name | {"ip2p_region_name": "hat", "ip2p_region_number": 3})
    assert not texts and "no hat number 3" in log


def test_an_edit_keeps_to_where_its_instruction_acts_from_the_tab(host, sent):
    acting = {"ip2p_region_from": "Where the instruction acts", "ip2p_region_threshold": 0.3, "ip2p_region_keep_colour": 0.5}
    (text,), _ = pressed(host, sent | acting | {"ip2p_region_scoped": True})
    assert "Instruct edit region: from the instruction; threshold 0.3; keep colour 0.5; scoped" in text
    (text,), _ = pressed(host, sent | acting | {"ip2p_region_threshold": -0.05, "ip2p_region_keep_colour": 0})
    assert text.count("Instruct edit region: from the instruction") == 1 and "threshold" not in text


def test_at_12_megapixels_every_pixel_outside_a_part_stays_in_the_tab(parsed, sent):
    large = portrait().resize((3500, 3500))
    sent["ip2p_image"] = "data:image/png;base64," + to_base64(large)
    by_name = {"ip2p_region_from": "By name", "ip2p_region_name": "hair", "ip2p_region_only": True}
    answer = parsed.press(sent | by_name, elem_id="ip2p_generate")
    gallery, _, _, log = answer.json()["data"]
    assert gallery, log
    result = np.asarray(Image.open(gallery[0]["name"].rsplit("?", 1)[0]).convert("RGB"))
    outside = np.asarray(Image.fromarray((by_hand("hair") > 0).astype(np.uint8)).resize(large.size).filter(ImageFilter.MaxFilter(31))) == 0
    different = (result != np.asarray(large)).any(-1)
    assert result.shape == (3500, 3500, 3) and different.any() and not different[outside].any()


def test_variations_are_results_side_by_side_from_one_seed(parsed, sent):
    texts, _ = pressed(parsed, sent | {"ip2p_variations": "make it red\nmake it blue\n\nmake it green", "ip2p_count": 4})
    texts = [text for text in texts if text.startswith("make it")][-3:]
    assert [text.splitlines()[0] for text in texts] == ["make it red", "make it blue", "make it green"]
    assert len({text.split("Seed: ")[1].split(",")[0] for text in texts}) == 1


def test_the_api_makes_a_result_for_every_choice_of_a_preset_s_word(parsed, host):
    ask = dict(
        image=portrait(), preset="hair-colour", instruction=None, variations="whose", width=None, height=None, longest_side=64, steps=1
    )
    edited = host.edit(**ask)
    choices = next(preset for preset in host.get("/instruct-edit/v1/presets").json() if preset["key"] == "hair-colour")["choices"]["whose"]
    assert len(edited.images) == len(choices) and len(set(edited.seeds)) == 1
    outside = by_hand("hair") == 0
    for result in edited.pixels:
        assert (result[outside] == np.asarray(portrait())[outside]).mean() > 0.99
    assert "Instruct edit region: hair; only" in edited.infotexts[0]
    assert "name one" in host.refusal(variations="whose")


@pytest.mark.new_page
@pytest.mark.parametrize("card, name, word", [("hair", "hair", "hair"), ("clothes", "clothes", "")])
def test_a_card_edits_its_part_of_a_portrait_and_leaves_everything_else(tab, parsed, card, name, word):
    tab.upload(ASTRONAUT)
    tab[f"card_{card}"].click()
    expect(tab["region_name"].locator("input")).to_have_value(name)
    assert word in tab.value("prompt") and tab["region_only"].locator("input").is_checked()
    tab.set(steps=1, longest_side=64)
    tab.generate()
    result = np.asarray(tab.picture(RESULT).convert("RGB"))
    labels, photograph = np.asarray(label_map()), np.asarray(portrait())
    from ip2p.segmentation.parsed_faces import CLOTHES, HAIR

    inside = labels == {"hair": HAIR, "clothes": CLOTHES}[name]
    assert result.shape == photograph.shape and (result != photograph).any(-1)[inside].mean() > 0.3
    assert (result[~inside] == photograph[~inside]).all()
    expect(tab["region_from"].locator("input:checked")).to_have_value("By name")


@pytest.mark.parametrize("only", (False, True))
def test_img2img_edits_a_region_by_name_and_leaves_the_rest(parsed, img2img, only):  # noqa: F811
    script = (True, True, 0, 1, 0, 1, "working", 1, "hair", only)
    (result,) = pixels(img2img(script, image=portrait(), width=512, height=512, steps=1, image_scale=1.5))
    outside, photograph = by_hand("hair") == 0, np.asarray(portrait())
    assert result.shape == photograph.shape and (result != photograph).any(-1)[~outside].mean() > 0.3
    assert (result[outside] == photograph[outside]).mean() > 0.99


def test_img2img_refuses_a_region_in_a_sentence(parsed, img2img):  # noqa: F811
    for name, said in (("nose", "no region “nose”"), ("brows", "no brows in the picture")):
        answer = img2img((True, True, 0, 1, 0, 1, "working", 1, name), image=portrait(), steps=1)
        assert answer.status_code == 422 and said in answer.json()["detail"]

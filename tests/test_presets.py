"""Ready instructions: that the shipped ones are sound, and what a preset is."""

import json
import math
import re
from dataclasses import FrozenInstanceError, replace
from glob import glob
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ip2p import presets
from ip2p.edit import MAX_SCALE, MAX_STEPS
from ip2p.errors import EditError
from ip2p.presets import (
    GROUPS,
    MAX_INSTRUCTION,
    MAX_NAME,
    REGIONS,
    Preset,
    slug,
)  # fmt: skip
from ip2p.where import NAME, Where
from preset_cases import EACH, FOG, SHIPPED, TEXT, every_filling, sentence
from test_house import ROOT, tomllib

# ---- what is shipped


def test_there_is_something_for_everyone():
    assert len(SHIPPED) >= 60
    assert not any(preset.own for preset in SHIPPED.values())
    for group in GROUPS:
        assert len([preset for preset in SHIPPED.values() if preset.group == group]) >= 4, group


def test_the_groups_are_all_there_in_order():
    assert tuple(dict.fromkeys(preset.group for preset in SHIPPED.values())) == GROUPS
    in_file = [GROUPS.index(preset.group) for preset in SHIPPED.values()]
    assert in_file == sorted(in_file), "a group stands together"


def test_no_two_presets_of_a_group_have_one_name():
    names = [(preset.group, preset.name.casefold()) for preset in SHIPPED.values()]
    assert len(set(names)) == len(names)


def test_no_two_presets_have_one_instruction():
    instructions = [preset.instruction_for() for preset in SHIPPED.values()]
    assert len(set(instructions)) == len(instructions)


@EACH
def test_a_shipped_key_is_kebab_case_and_its_own(preset):
    assert re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", preset.key)
    assert SHIPPED[preset.key] is preset


@EACH
def test_the_words_of_a_shipped_instruction_are_those_with_choices(preset):
    written = re.findall(r"\{(.*?)\}", preset.instruction)
    assert set(written) == set(preset.words) == set(preset.choices) == set(preset.defaults)


@EACH
def test_a_shipped_preset_offers_useful_choices_without_doubles(preset):
    for word, offered in preset.choices.items():
        assert len({choice.casefold() for choice in offered}) == len(offered) <= 16, word
        assert len(offered) >= (3 if word in ("who", "whose") else 8), word


@EACH
def test_shipped_defaults_are_among_the_choices(preset):
    assert {word: default for word, default in preset.defaults.items() if default not in preset.choices[word]} == {}


@EACH
def test_shipped_scales_and_steps_are_within_the_limits_and_useful(preset):
    for scale in (preset.text_scale, preset.image_scale):
        assert math.isfinite(scale) and 0 <= scale <= MAX_SCALE
    assert isinstance(preset.steps, int) and 1 <= preset.steps <= MAX_STEPS
    assert 6 <= preset.text_scale <= 9 and 1.2 <= preset.image_scale <= 2 and 20 <= preset.steps <= 40
    assert preset.region in REGIONS


@EACH
def test_a_change_on_a_face_keeps_more_of_the_picture_than_a_style(preset):
    if preset.group == "art medium and style" and preset.region == "all":
        assert preset.image_scale <= 1.6
    if preset.region in ("eyes", "lips") and preset.group == "make-up":
        assert preset.image_scale >= 1.7


@EACH
def test_shipped_instructions_are_instructions_in_plain_english(preset):
    verbs = {"add", "change", "cover", "decorate", "dress", "give", "make", "paint", "remove", "turn"}
    for instruction in every_filling(preset):
        assert instruction.split()[0] in verbs, instruction
        assert not set("{}") & set(instruction) and 2 <= len(instruction.split()) <= 20
        assert not re.search(r"\b(a [aeiou]|an [^aeiou]|(\w+) \2\b)", instruction), instruction


@EACH
def test_shipped_instructions_mean_nothing_else_to_the_prompt_parser(preset):
    for instruction in every_filling(preset):
        assert not re.search(r"[()\[\]<>|\\:\n]|\bAND\b|\bBREAK\b", instruction), instruction


def test_the_shipped_file_is_package_data():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["tool"]["setuptools"]["package-data"]["ip2p"]
    packed = {Path(path) for pattern in patterns for path in glob(str(ROOT / "ip2p" / pattern), recursive=True)}
    assert presets.SHIPPED in packed


# ---- filling in


def test_choices_fill_the_instruction_and_the_rest_is_default():
    weather = SHIPPED["change-weather"]
    assert weather.instruction_for() == "change the weather from sunny to rainy"
    assert weather.instruction_for(to="foggy") == "change the weather from sunny to foggy"
    assert weather.instruction_for(**{"from": "snowy", "to": None}) == "change the weather from snowy to rainy"


def test_the_first_choice_is_the_default_unless_another_is_named():
    assert FOG.defaults == {"colour": "pink"}
    assert replace(FOG, defaults={"colour": "mint"}).instruction_for() == "add mint fog"


def test_an_unknown_choice_is_refused_with_the_known_ones():
    with pytest.raises(EditError) as error:
        SHIPPED["change-weather"].instruction_for(colour="red")
    assert "“colour”" in sentence(error) and "“from”, “to”" in sentence(error)
    with pytest.raises(EditError, match="it has none"):
        Preset(name="Winter", instruction="make it winter").instruction_for(season="spring")


@pytest.mark.parametrize("text, said", [("", "empty"), (" \n", "empty"), (5, "text"), ("x" * 201, "201"), ("a\0b", "control")])
def test_a_choice_that_cannot_be_filled_in_is_a_sentence_that_names_it(text, said):
    with pytest.raises(EditError) as error:
        FOG.instruction_for(colour=text)
    assert "“colour”" in sentence(error) and said in sentence(error)


@given(TEXT)
def test_free_text_is_filled_in_as_it_is(text):
    assume(text.strip())
    assert FOG.instruction_for(colour=text) == f"add {' '.join(text.split())} fog"


@pytest.mark.parametrize("text", ["{colour}", "{self}", "{}", "{0.__class__}", "}{", "{{pink}}", "${oc.env:HOME}", r"\1 \g<0>", "%s"])
def test_braces_and_the_like_in_a_choice_are_literal(text):
    assert FOG.instruction_for(colour=text) == f"add {text} fog"


def test_one_word_may_stand_twice_and_a_word_may_be_called_self():
    twice = Preset(name="Twins", instruction="turn {self} and {self} into {x}", defaults={"self": "him", "x": "twins"})
    assert twice.words == ("self", "x")
    assert twice.instruction_for(self="her") == "turn her and her into twins"


def test_a_choice_stays_in_its_line_and_lines_stay_a_chain():
    chain = Preset(name="Chain", instruction=" make it {season} \r\n\n add fog\n", choices={"season": ["winter"]})
    assert chain.instruction_for(season="late\nautumn") == "make it late autumn\nadd fog"


def test_an_instruction_that_grows_too_long_is_refused():
    long = Preset(name="Long", instruction=" ".join(["{x}"] * 200), defaults={"x": "fog"})
    assert long.instruction_for()
    with pytest.raises(EditError, match=str(MAX_INSTRUCTION)):
        long.instruction_for(x="pink fog")


# ---- what a preset is


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"name": ""}, ["name", "empty"]),
        ({"name": 7}, ["name", "7"]),
        ({"name": "x" * (MAX_NAME + 1)}, ["name", "81", "80"]),
        ({"instruction": "  "}, ["instruction", "empty"]),
        ({"instruction": "x" * (MAX_INSTRUCTION + 1)}, ["instruction", "1001", "1000"]),
        ({"instruction": "add {colour fog"}, ["instruction", "brace"]),
        ({"instruction": "add {{colour}} fog"}, ["instruction", "brace"]),
        ({"instruction": "add {colour!r} fog"}, ["“{colour!r}”"]),
        ({"instruction": "add {} fog"}, ["“{}”"]),
        ({"instruction": "add {colour} {thing}"}, ["“{thing}”", "no default"]),
        ({"instruction": "add ${oc.env:HOME} fog"}, ["“{oc.env:HOME}”"]),
        ({"instruction": "add fog"}, ["“colour”", "“{colour}”"]),
        (
            {"instruction": "{a}{b}{c}{d}{e}{f}{g}{h}{i}{j}{k}", "choices": {}, "defaults": dict.fromkeys("abcdefghijk", "x")},
            ["11", "10"],
        ),
        ({"choices": ["pink"]}, ["choices"]),
        ({"choices": {"colour": "pink"}}, ["choices", "“colour”", "list"]),
        ({"choices": {"colour": [True]}}, ["choice", "“colour”", "True", "quotes"]),
        ({"choices": {"colour": ["pink", ""]}}, ["choice", "“colour”", "empty"]),
        ({"choices": {"colour": ["pink"] * 101}}, ["101", "100"]),
        ({"choices": {"colour": ["pink"], True: ["x"]}}, ["“True”"]),
        ({"defaults": "pink"}, ["defaults"]),
        ({"defaults": {"color": "pink"}}, ["“color”"]),
        ({"text_scale": 101}, ["text scale", "100", "101"]),
        ({"text_scale": 10**400}, ["text scale", "100"]),
        ({"image_scale": math.nan}, ["image scale", "100"]),
        ({"image_scale": math.inf}, ["image scale", "100"]),
        ({"image_scale": "1.5"}, ["image scale", "number"]),
        ({"steps": 0}, ["steps", "1", "200"]),
        ({"steps": 201}, ["steps", "200", "201"]),
        ({"steps": 20.5}, ["steps", "whole", "20.5"]),
        ({"steps": True}, ["steps", "number"]),
        ({"region": "nose"}, ["region", "lips", "nose"]),
        ({"region": []}, ["region", "lips"]),
        ({"group": ""}, ["group", "empty"]),
        ({"key": "Pink Fog"}, ["key", "“pink-fog”"]),
        ({"key": "../fog"}, ["key", "“fog”"]),
    ],
)
def test_a_setting_that_cannot_be_is_a_sentence_that_names_it(settings, said):
    with pytest.raises(ValueError) as error:
        replace(FOG, **{"defaults": {}, **settings})
    assert sentence(error)[0].isupper()
    assert [word for word in said if word not in sentence(error)] == []


def test_a_preset_cannot_be_changed_and_can_be_a_key():
    with pytest.raises(FrozenInstanceError):
        FOG.steps = 5
    assert len({FOG, replace(FOG), replace(FOG, steps=5)}) == 2


def test_a_preset_s_region_is_where_it_acts_and_a_small_one_is_edited_by_itself():
    assert FOG.where is None
    assert replace(FOG, region="hair").where == Where(NAME, "hair", only=True)
    assert replace(FOG, region="sky").where == Where(NAME, "sky")


def test_variations_fill_in_every_choice_of_a_word():
    assert FOG.variations("colour") == ("add pink fog", "add red fog")
    two = replace(FOG, instruction="add {colour} fog {where}", choices={**FOG.choices, "where": ["here"]}, defaults={})
    assert two.variations("colour", where="there") == ("add pink fog there", "add red fog there")
    for word in ("size", "Colour"):
        with pytest.raises(ValueError, match="no choices"):
            FOG.variations(word)


def test_a_preset_as_json():
    assert json.loads(json.dumps(FOG.as_dict())) == {
        "key": "pink-fog",
        "name": "Pink fog",
        "group": "own",
        "instruction": "add {colour} fog",
        "choices": {"colour": ["pink", "red"]},
        "defaults": {"colour": "pink"},
        "text_scale": 8.0,
        "image_scale": 1.4,
        "steps": 25,
        "region": "all",
        "own": False,
    }


@pytest.mark.parametrize(
    "name, key",
    [
        ("Pink fog", "pink-fog"),
        ("  --Fog!! (pink) ", "fog-pink"),
        ("Crème brûlée", "crème-brûlée"),
        ("Straße", "strasse"),
        ("雪の日", "雪の日"),
        ("हिन्दी", "हिन्दी"),
        ("ＦＯＧ　２", "fog-2"),
        ("../../etc/passwd", "etc-passwd"),
    ],
)
def test_a_key_is_made_from_the_name_in_any_script(name, key):
    assert slug(name) == key == Preset(name=name, instruction="add fog").key


def test_names_without_letters_get_keys_of_their_own():
    assert slug("😀") != slug("😎")
    assert re.fullmatch("preset-[0-9a-f]{8}", slug("😀"))


@given(st.text(max_size=120))
def test_a_slug_is_a_key_and_its_own_slug(name):
    key = slug(name)
    assert 1 <= len(key) <= MAX_NAME and slug(key) == key
    assert not re.search(r"[A-Z\s/\\.:{}$'\"]|--|^-|-$", key)

"""The settings of an edit: what is refused, in sentences, and how random scales are drawn."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ip2p.chain import lines_of, next_edit
from ip2p.edit import Edit, random_scales, sheet_over_seeds
from ip2p.errors import EditError
from ip2p.guidance import Guidance, Interval
from ip2p.infotext import fields_of

PICTURE = Image.new("RGB", (96, 64), "teal")


def edit(**settings):
    return Edit(**{"image": PICTURE, "instruction": "make it winter", **settings})


def test_defaults_are_those_of_the_paper():
    settings = edit()
    assert (settings.text_scale, settings.image_scale, settings.denoising_strength) == (7.5, 1.5, 1.0)
    assert settings.guidance() == Guidance(7.5, 1.5, Interval(), Interval())


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"image": None}, ["no picture"]),
        ({"instruction": ""}, ["instruction", "empty"]),
        ({"instruction": " \n"}, ["instruction", "empty"]),
        ({"text_scale": -0.1}, ["text scale", "0", "100", "-0.1"]),
        ({"text_scale": 100.5}, ["text scale", "0", "100", "100.5"]),
        ({"text_scale": math.nan}, ["text scale", "100"]),
        ({"image_scale": math.inf}, ["image scale", "100"]),
        ({"image_scale": -1}, ["image scale", "0", "-1"]),
        ({"steps": 0}, ["steps", "1", "200"]),
        ({"steps": 201}, ["steps", "200", "201"]),
        ({"count": 0}, ["count", "1", "64"]),
        ({"count": 65}, ["count", "64", "65"]),
        ({"batch_size": 0}, ["batch size", "1", "16"]),
        ({"batch_size": 17}, ["batch size", "16", "17"]),
        ({"seed": -2}, ["seed", "-1", "-2"]),
        ({"seed": 2**53 + 1}, ["seed", str(2**53)]),
        ({"seed": math.nan}, ["seed", "between", "nan"]),
        ({"seed": 0.5}, ["seed", "whole number", "0.5"]),
        ({"steps": 2.5}, ["steps", "whole number", "2.5"]),
        ({"count": 1.5}, ["count", "whole number", "1.5"]),
        ({"batch_size": 1.5}, ["batch size", "whole number", "1.5"]),
        ({"width": 64.5}, ["width", "whole number", "64.5"]),
        ({"denoising_strength": -0.1}, ["denoising strength", "0", "1"]),
        ({"denoising_strength": 1.1}, ["denoising strength", "0", "1", "1.1"]),
        ({"width": 63}, ["width", "64", "4096", "63"]),
        ({"height": 4097}, ["height", "64", "4096", "4097"]),
        ({"longest_side": 32}, ["longest side", "64", "4096", "32"]),
        ({"text_start": 0.6, "text_end": 0.4}, ["schedule", "0.6", "0.4", "between 0 and 1"]),
        ({"image_start": -0.1}, ["schedule", "-0.1", "between 0 and 1"]),
        ({"image_end": 1.5}, ["schedule", "1.5", "between 0 and 1"]),
        ({"mask": Image.new("L", (64, 64))}, ["mask", "64x64", "96x64"]),
    ],
)
def test_a_setting_out_of_range_is_a_sentence_that_names_the_limit(settings, said):
    with pytest.raises(EditError) as error:
        edit(**settings)
    sentence = str(error.value)
    assert sentence[0].isupper() and sentence.endswith(".") and "\n" not in sentence
    assert [word for word in said if word not in sentence] == []


@pytest.mark.parametrize(
    "settings",
    [
        {"text_scale": 0, "image_scale": 100},
        {"steps": 1, "count": 64, "batch_size": 16},
        {"steps": 200, "seed": 2**53},
        {"width": 64, "height": 4096, "longest_side": 4096},
        {"denoising_strength": 0},
        {"text_start": 0.5, "text_end": 0.5},
        {"instruction": "", "styles": ("watercolour",)},
        {"mask": Image.new("L", (96, 64))},
    ],
)
def test_the_limits_themselves_are_allowed(settings):
    for name, value in settings.items():
        assert getattr(edit(**settings), name) == value


def test_each_schedule_reaches_its_own_guidance():
    settings = edit(text_start=0.1, text_end=0.9, image_start=0.2, image_end=0.8)
    assert settings.guidance() == Guidance(7.5, 1.5, Interval(0.1, 0.9), Interval(0.2, 0.8))


@given(st.integers(-1, 2**53))
def test_random_scales_are_in_the_official_range_and_repeatable(seed):
    text, image = random_scales(seed)
    assert 6.0 <= text <= 9.0 and 1.2 <= image <= 1.8
    assert random_scales(seed) == (text, image)


def test_random_scales_spread_over_their_range():
    texts, images = zip(*map(random_scales, range(200)), strict=True)
    assert min(texts) < 6.3 and max(texts) > 8.7 and min(images) < 1.26 and max(images) > 1.74


def test_scales_are_drawn_only_when_asked_and_by_the_seed():
    assert edit().guidance(seed=5) == edit().guidance()
    drawn = edit(randomise_scales=True, text_end=0.9)
    assert (drawn.guidance(5).text_scale, drawn.guidance(5).image_scale) == random_scales(5)
    assert drawn.guidance(5) != drawn.guidance(6)
    assert drawn.guidance(5).text_interval == Interval(0.0, 0.9)


@pytest.mark.parametrize(
    "instruction, lines",
    [
        ("make it winter", ["make it winter"]),
        (" a \n\n b\r\nc", ["a", "b", "c"]),
        ("a AND\nb\nc", ["a AND b", "c"]),
        ("a\nAND b:2\nAND c", ["a AND b:2 AND c"]),
        ("ANDROID\nAND", ["ANDROID", "AND"]),
    ],
)
def test_a_line_is_an_edit_and_lines_joined_by_and_are_one(instruction, lines):
    edits = lines_of(edit(instruction=instruction, steps=7))
    assert [line.instruction for line in edits] == lines and {line.steps for line in edits} == {7}


def test_styles_alone_are_one_line():
    assert len(lines_of(edit(instruction="", styles=("watercolour",)))) == 1


def test_a_chain_is_short_and_no_contact_sheet():
    with pytest.raises(EditError, match="at most 64 instructions, one a line, not 65"):
        lines_of(edit(instruction="\n".join("x" * 65)))
    with pytest.raises(EditError, match="has several lines"):
        lines_of(edit(instruction="a\nb", variants=sheet_over_seeds(7.5, 1.5, 0, 4)))


@pytest.mark.parametrize("size", ((454, 727), (261, 200), (1000, 325), (4032, 1816)))
@pytest.mark.parametrize(
    "asked",
    [
        {"longest_side": 768}, {"longest_side": 512}, {"width": 448}, {"width": 200, "height": 72}, {"longest_side": 768, "own_size": True},
        {"longest_side": 512, "crop": False}, {"width": 448, "crop": False}, {"longest_side": 256, "result": "full"},
    ],
)  # fmt: skip
def test_the_next_line_works_at_the_size_of_the_one_before(asked, size):
    """A fitted size need not be its own: 454x727 is fitted to 448x704 within 768, and that to 512x768."""
    line = edit(image=Image.new("RGB", size), mask=Image.new("L", size, 255), **asked)
    result = Image.new("RGB", line.frame.working_size if line.result == "working" else line.image.size, "red")
    after = next_edit(line, result, 3)
    assert after.frame == line.frame
    assert (after.image.getpixel((0, 0)), after.mask.size, after.seed, after.count) == ((255, 0, 0), result.size, 3, 1)


@given(st.tuples(st.integers(16, 5000), st.integers(16, 5000)).filter(lambda size: max(size) <= 16 * min(size)), st.integers(64, 1024))
def test_no_line_changes_the_size_of_a_whole_picture(size, longest_side):
    line = edit(image=Image.new("RGB", size), longest_side=longest_side, crop=False)
    sizes = []
    for _ in range(3):
        sizes.append(line.frame.working_size)
        line = next_edit(line, Image.new("RGB", line.frame.working_size), 3)
    assert len(set(sizes)) == 1, sizes


@pytest.mark.parametrize(
    "asked, result",
    [
        ({}, "working"), ({"result": "full"}, "full"), ({"own_size": True}, "own-size"), ({"own_size": False}, "working"),
        ({"result": "own-size", "own_size": True}, "own-size"), ({"result": "full", "own_size": False}, "full"),
    ],
)  # fmt: skip
def test_the_result_is_asked_for_by_its_name_or_by_the_former_one(asked, result):
    assert edit(**asked).result == result
    assert replace(edit(**asked), seed=4).result == result


@pytest.mark.parametrize(
    "asked, said",
    [
        ({"result": "large"}, "There is no result “large”. Known ones: working, own-size, full"),
        ({"result": "full", "own_size": True}, "“own_size” is the former name of the result “own-size”, and “full” is asked for"),
        ({"result": "own-size", "own_size": False}, "leave one of them out"),
        ({"detail": 1.01}, "The detail must be between 0 and 1, not 1.01"),
        ({"detail": math.nan}, "The detail must be between 0 and 1"),
    ],
)
def test_a_result_that_is_none_is_a_sentence(asked, said):
    with pytest.raises(EditError, match=said):
        edit(**asked)


def test_a_working_result_is_cropped_and_any_other_shows_the_whole_picture_unless_it_is_said():
    cropped = {
        (result, crop): edit(result=result, crop=crop).cropped for result in ("working", "own-size", "full") for crop in (None, True, False)
    }
    assert cropped == {(result, crop): result == "working" if crop is None else crop for result, crop in cropped}


@pytest.mark.parametrize(
    "asked, fields",
    [
        ({}, {}),
        ({"result": "full"}, {"result": "full"}),
        ({"own_size": True}, {"result": "own-size"}),
        ({"result": "full", "detail": 0.5}, {"result": "full", "detail": 0.5}),
        ({"result": "full", "crop": True}, {"result": "full", "crop": True}),
        ({"crop": False}, {"crop": False}),
        ({"crop": True}, {}),
    ],
)
def test_the_infotext_names_the_result_where_it_is_not_the_usual_one(asked, fields):
    own = {
        name: value for name, value in fields_of(edit(**asked)).items() if name.rpartition(" ")[2] in ("result", "detail", "crop", "size")
    }
    assert own == {f"Instruct edit {name}": value for name, value in fields.items()}

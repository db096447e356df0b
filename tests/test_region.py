"""Regions: what their algebra does, that nothing is added outside, and the part of a picture that is edited by itself."""

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("cv2", reason="regions need OpenCV (pip install -e '.[edit]')")

from ip2p.edit import Edit
from ip2p.errors import EditError
from ip2p.images import MAX_PIXELS
from ip2p.located import located
from ip2p.region import MAX_PARTS, MIN_PART, Region
from ip2p.where import INSTRUCTION, MASK, NAME, NAMES, Where, where_of

SIZE = 120, 80


def square(left: int, top: int, side: int, size: tuple[int, int] = SIZE, origin: str = "painted") -> Region:
    return Region.of(np.ones((side, side), np.float32), origin, size, (left, top))


def circle(size: tuple[int, int] = SIZE, radius: float = 25) -> Region:
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    distance = np.hypot(x - size[0] / 2, y - size[1] / 2)
    return Region.of((radius + 0.5 - distance).clip(0, 1), "face")


def test_a_region_knows_its_box_its_share_and_where_it_comes_from():
    region = square(10, 20, 30)
    assert region.box == (10, 20, 40, 50) and region.origins == ("painted",)
    assert region.share == pytest.approx(900 / (120 * 80))
    assert np.array_equal(np.asarray(region.picture()) == 255, region.levels() == 1)


@pytest.mark.parametrize("place", [(-10, -10), (110, 70), (-10, 30), (50, 70)])
def test_what_leaves_the_picture_is_cut_off(place):
    region = square(*place, 20)
    left, top, right, bottom = region.box
    assert 0 <= left < right <= 120 and 0 <= top < bottom <= 80
    whole = np.zeros((80 + 40, 120 + 40))
    whole[20 + place[1] : 40 + place[1], 20 + place[0] : 40 + place[0]] = 1
    assert np.array_equal(region.levels(), whole[20:-20, 20:-20])


def test_a_region_that_lies_beside_the_picture_is_empty():
    assert square(200, 0, 20).is_empty and Region.of(np.zeros((8, 8)), "x").is_empty


@pytest.mark.parametrize("feather", [None, 1, 5.5, 40])
def test_a_feather_only_takes_away_and_rises_inwards(feather):
    region = circle()
    soft = region.feathered(feather)
    assert (soft.levels() <= region.levels()).all()
    row = soft.levels()[40, :60]
    assert (np.diff(row) >= -1e-6).all() and 0 < row[35] < 1


def test_the_border_of_the_picture_is_no_edge_to_fade_at():
    soft = square(0, 0, 40).feathered(10).levels()
    assert soft[0, 0] == 1 and soft[20, 0] == 1 and soft[20, 39] < 0.1


def test_growing_and_shrinking_move_the_outline_by_so_many_pixels():
    region = circle(radius=20)
    for pixels in (6, -6):
        width = (region.grown(pixels).levels()[40] > 0.5).sum()
        assert width == pytest.approx((region.levels()[40] > 0.5).sum() + 2 * pixels, abs=2)
    assert region.grown(-50).is_empty


def test_growing_keeps_grey_places_and_shrinking_adds_nothing():
    levels = np.full((40, 40), 0.4, np.float32)
    levels[10:20, 10:20] = 1
    region = Region.of(levels, "painted", SIZE, (20, 20))
    assert (region.grown(5).levels() >= region.levels()).all() and (region.grown(-2).levels() <= region.levels()).all()


def test_regions_are_added_taken_away_and_kept_within():
    one, other = square(10, 10, 30, origin="face"), square(25, 25, 30, origin="hair")
    assert np.array_equal(one.plus(other).levels(), np.maximum(one.levels(), other.levels()))
    assert np.array_equal(one.minus(other).levels(), one.levels() * (1 - other.levels()))
    assert np.array_equal(one.within(other).levels(), one.levels() * other.levels())
    assert one.plus(other).origins == ("face", "hair")
    assert one.minus(one).is_empty and one.within(square(60, 40, 10)).is_empty


def test_the_inverse_of_a_region_is_all_else():
    region = circle()
    assert np.allclose(region.inverted().levels(), 1 - region.levels())
    assert np.allclose(region.inverted().inverted().levels(), region.levels())


def test_regions_of_two_pictures_are_not_mixed():
    with pytest.raises(EditError, match="120x80 and 60x40"):
        circle().plus(circle((60, 40), 10))


def test_a_region_of_another_size_is_brought_to_the_picture_s():
    big = circle().at((240, 160))
    assert big.size == (240, 160) and big.share == pytest.approx(circle().share, rel=0.02)


def test_what_lies_apart_are_pieces_from_left_to_right_and_specks_are_none():
    region = square(80, 10, 20).plus(square(5, 5, 12)).plus(square(60, 60, 3))
    pieces = region.pieces(margin=0.25)
    assert [piece.box for piece in pieces] == [(5, 5, 17, 17), (80, 10, 100, 30)]
    (together,) = region.pieces(margin=4)
    assert together.box == (5, 5, 100, 30)


@pytest.mark.parametrize(
    "box, longest", [((50, 30, 62, 41), 512), ((0, 0, 20, 70), 256), ((100, 60, 120, 80), 512), ((5, 5, 115, 75), 512)]
)
def test_a_part_holds_its_region_within_the_picture(box, longest):
    region = Region.of(np.ones((box[3] - box[1], box[2] - box[0])), "x", SIZE, box[:2])
    left, top, right, bottom = region.part(0.25, longest)
    assert 0 <= left <= box[0] and 0 <= top <= box[1] and box[2] <= right <= 120 and box[3] <= bottom <= 80
    assert min(right - left, bottom - top) >= MIN_PART


@pytest.mark.parametrize("shape", [(90, 90), (300, 100), (60, 200), (400, 30)])
def test_a_part_in_a_large_picture_needs_no_padding_and_fills_the_model_s_size(shape):
    region = Region.of(np.ones(shape[::-1]), "x", (3000, 2000), (700, 600))
    edit = Edit(Image.new("RGB", (3000, 2000)), "x", region=Where(NAME, "face", only=True), parts=(region,))
    assert max(edit.frame.size) == 512 and edit.frame.working_size == edit.frame.size
    assert edit.seen.width / edit.seen.height == pytest.approx(edit.frame.size[0] / edit.frame.size[1], rel=0.03)


def test_the_settings_of_a_region_are_told_in_a_line_and_read_from_it():
    for where in (
        Where(), Where(INSTRUCTION, threshold=0.4), Where(NAME, "face", number=2, only=True, margin=0.5), Where(NAME, "hair", grow=-3.5, invert=True, feather=0), Where(INSTRUCTION, scoped=True, keep_colour=0.25),
    ):  # fmt: skip
        assert where_of(where.text) == where and not {",", "\n"} & {*where.text}
    for text in ("nose", "", None, "face 2; loud", "face; feather -4", "face; feather 1.2.3", True):
        assert where_of(text) is None


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"source": "magic"}, "from mask, instruction, name"),
        ({"source": NAME, "name": "nose"}, "lips"),
        ({"source": NAME}, "Known ones"),
        ({"name": "face"}, "leave it out"),
        ({"feather": -1}, "feather"),
        ({"grow": float("nan")}, "grow"),
        ({"margin": 9}, "margin"),
        ({"threshold": 2}, "threshold"),
        ({"keep_colour": 1.5}, "keep colour"),
        ({"number": 1.5}, "whole"),
        ({"number": 1, "invert": True}, "inverted"),
    ],
)
def test_settings_out_of_range_are_refused_in_a_sentence(settings, words):
    with pytest.raises(EditError, match=words):
        Where(**settings)


def asked(where: Where, mask: np.ndarray | None = None, size: tuple[int, int] = SIZE) -> Edit:
    mask = None if mask is None else Image.fromarray((mask * 255).astype(np.uint8))
    return Edit(Image.new("RGB", size), "make it winter", region=where, mask=mask)


def test_a_painted_region_becomes_the_mask_shaped_as_asked():
    edit = located(asked(Where(feather=4), square(20, 20, 40).levels()), {})
    levels = np.asarray(edit.mask)
    assert levels[40, 40] == 255 and 0 < levels[20, 40] < 128 and levels[19].max() == 0
    assert located(edit, {}) is edit, "what is found once is not shaped twice"


def test_a_named_region_is_looked_for_and_one_of_several_is_chosen_by_its_number():
    faces = [square(70, 10, 20, origin="face"), square(10, 10, 30, origin="face")]
    finders = {NAME: lambda edit: faces}
    both = located(asked(Where(NAME, "face", feather=0, only=True)), finders)
    assert [part.box for part in both.parts] == [(10, 10, 40, 40), (70, 10, 90, 30)]
    second = located(asked(Where(NAME, "face", number=2, feather=0)), finders)
    assert np.array_equal(np.asarray(second.mask) > 0, faces[0].levels() > 0)
    with pytest.raises(EditError, match="no face number 3: 2 found"):
        located(asked(Where(NAME, "face", number=3)), finders)


def test_ten_painted_faces_are_ten_parts_and_too_many_are_refused():
    def dots(count: int) -> np.ndarray:
        region = square(0, 10, 12, (40 * count, 80))
        for i in range(1, count):
            region = region.plus(square(40 * i, 10, 12, (40 * count, 80)))
        return region.levels()

    assert len(located(asked(Where(only=True), dots(10), (400, 80)), {}).parts) == 10
    with pytest.raises(EditError, match=f"at most {MAX_PARTS}"):
        located(asked(Where(only=True), dots(17), (680, 80)), {})


@pytest.mark.parametrize(
    "region, where, words",
    [
        (square(10, 10, 5), Where(), "5x5 pixels"),
        (Region.of(np.ones((80, 120)), "x"), Where(only=True), "whole picture"),
        (square(200, 0, 5), Where(only=True), "no painted region"),
        (square(10, 10, 20), Where(grow=-15), "Nothing is left"),
    ],
)
def test_a_region_that_can_t_be_edited_is_refused_in_a_sentence(region, where, words):
    with pytest.raises(EditError, match=words):
        located(asked(where, region.levels()), {})


def test_a_region_that_nothing_here_finds_is_refused():
    with pytest.raises(EditError, match="paint the region"):
        located(asked(Where(INSTRUCTION)), {})
    with pytest.raises(EditError, match="paint over"):
        asked(Where(MASK))


def test_a_region_of_64_megapixels_is_shaped():
    size = 9000, MAX_PIXELS // 9000
    edit = Edit(Image.new("RGB", size), "x", region=Where(NAME, "face", grow=20, only=True))
    (part,) = located(edit, {NAME: lambda edit: [square(4000, 3000, 600, size)]}).parts
    assert part.box[2] - part.box[0] == pytest.approx(640, abs=4) and part.mask.nbytes < 2_000_000


def test_every_region_has_a_name_of_one_word():
    assert all(name.isalpha() for name in NAMES)

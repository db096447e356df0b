"""How a photograph lies in what the network works on: nothing of it is lost, and it comes back at its own size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ip2p.edit import Edit
from ip2p.errors import EditError
from ip2p.images import MAX_SIDE, frame_of
from ip2p.pixels import to_picture
from ip2p.result import finished

ASPECTS = {
    "1:1": (800, 800), "3:2": (1500, 1000), "16:9": (1280, 720), "2:3": (1000, 1500), "3:1": (1500, 500), "12:1": (2400, 200),
    "16:1": (1600, 100), "1:16": (100, 1600), "odd": (1237, 811), "prime": (641, 997), "small": (97, 61), "one pixel more than a step": (257, 256),
}  # fmt: skip
SHAPES = st.tuples(st.integers(16, 9000), st.integers(16, 9000)).filter(lambda size: max(size) <= 16 * min(size))


def bordered(size) -> Image.Image:
    """Grey, with a band of another colour along every border: top red, bottom green, left blue, right white."""
    width, height = size
    band = max(min(size) // 8, 4)
    pixels = np.full((height, width, 3), 128, np.uint8)
    pixels[:band], pixels[-band:] = (255, 0, 0), (0, 255, 0)
    middle = slice(band, height - band)
    pixels[middle, :band], pixels[middle, -band:] = (0, 0, 255), (255, 255, 255)
    return Image.fromarray(pixels)


def colours_of_borders(picture: Image.Image) -> list[tuple]:
    """In the middle of the outermost line: top, bottom, left, right."""
    width, height = picture.size
    places = (width // 2, 0), (width // 2, height - 1), (0, height // 2), (width - 1, height // 2)
    return [picture.getpixel(place) for place in places]


@pytest.mark.parametrize("name", ASPECTS)
@pytest.mark.parametrize("longest_side", (256, 512))
@pytest.mark.parametrize("result", ("working", "own-size", "full"))
def test_every_border_is_in_what_the_network_sees_and_in_the_result(name, longest_side, result):
    photograph = bordered(ASPECTS[name])
    edit = Edit(image=photograph, instruction="make it winter", longest_side=longest_side, result=result, crop=False)
    seen = edit.frame.place(photograph)
    assert seen.size == edit.frame.size and all(side % 64 == 0 for side in seen.size)
    levels = np.asarray(seen, np.float32)  # a network that changes nothing
    given_back = finished(edit, levels, seen, None, lambda: levels)
    assert given_back.size == (edit.frame.working_size if result == "working" else photograph.size)
    expected = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
    found = colours_of_borders(given_back)
    assert np.abs(np.subtract(found, expected)).max() <= 40, found


@pytest.mark.parametrize("name", ASPECTS)
def test_a_place_of_the_photograph_is_the_same_place_of_the_result(name):
    """Ramps of red over the columns and of green over the rows come back as they are."""
    width, height = ASPECTS[name]
    rows, columns = np.mgrid[:height, :width]
    ramps = np.stack([columns * 255 / (width - 1), rows * 255 / (height - 1), np.full_like(rows, 128)], -1)
    photograph = to_picture(ramps)
    edit = Edit(image=photograph, instruction="make it winter", longest_side=256, result="own-size")
    levels = np.asarray(edit.frame.place(photograph), np.float32)
    given_back = np.asarray(finished(edit, levels, photograph, None, lambda: levels), int)
    # Near the borders the enlarged ramp bends by half a pixel of the working size.
    margin = 1 + 255 / min(edit.frame.working_size)
    assert np.abs(given_back - np.asarray(photograph, int)).max() <= margin


def test_round_the_photograph_stands_its_reflection():
    photograph = Image.fromarray(np.random.default_rng(0).integers(0, 256, (150, 256, 3), np.uint8))
    frame = frame_of(photograph, longest_side=256)
    assert (frame.size, frame.inside) == ((256, 192), (0, 16, 256, 166))
    seen = np.asarray(frame.place(photograph))
    assert (seen[16:166] == np.asarray(photograph)).all()
    assert (seen[:16] == np.asarray(photograph)[15::-1]).all() and (seen[166:] == np.asarray(photograph)[:-27:-1]).all()
    assert (np.asarray(frame.cut(Image.fromarray(seen))) == np.asarray(photograph)).all() and (
        frame.cut_levels(seen) == np.asarray(photograph)
    ).all()
    mask = Image.new("L", photograph.size, 255)
    assert np.asarray(frame.place(mask)).all() and frame.place(mask).mode == "L"


@given(SHAPES, st.integers(64, 1024))
def test_the_whole_picture_lies_in_multiples_of_64_within_the_longest_side(size, longest_side):
    image = Image.new("1", size)
    frame = frame_of(image, longest_side=longest_side)
    long = max(longest_side // 64 * 64, 64)
    width, height = frame.size
    left, top, right, bottom = frame.inside
    assert width % 64 == height % 64 == 0 and 0 <= left < right <= width and 0 <= top < bottom <= height and left % 8 == top % 8 == 0
    ratio = max(size) / min(size)
    if ratio <= 3:
        assert max(frame.size) == long
    else:
        assert min(frame.size) <= max(long / ratio**0.5, 64) and max(frame.size) < min(frame.size) * ratio + 65
    # The aspect is the picture's, but for 2 % of squeezing and a pixel of rounding.
    w, h = frame.working_size
    assert abs(w * size[1] - h * size[0]) <= 0.0205 * max(w * size[1], h * size[0]) + max(size)
    # No row of padding more than the multiple of 64 needs.
    assert width - (right - left) < 64 and height - (bottom - top) < 64 and (width == right - left or height == bottom - top)


@given(SHAPES, st.integers(64, 4096), st.booleans(), st.booleans())
def test_a_side_that_follows_the_picture_stays_within_the_limits(size, asked, across, crop):
    image = Image.new("1", size)
    frame = frame_of(image, **{"width" if across else "height": asked}, crop=crop)
    assert all(64 <= side <= MAX_SIDE and side % 8 == 0 for side in frame.size)
    assert frame.size[0 if across else 1] == asked // 8 * 8


def test_a_size_that_is_asked_for_is_taken():
    image = Image.new("L", (300, 200))
    assert frame_of(image, 512, 384).size == frame_of(image, 515, 391, crop=True).size == (512, 384)
    assert frame_of(image, 512, 384).working_size == (512, 341) and frame_of(image, 512, 384, crop=True).working_size == (512, 384)
    assert frame_of(Image.new("L", (1024, 768)), longest_side=512, crop=True).size == (512, 384)
    assert frame_of(image, 768).size == frame_of(image, None, 512).size == (768, 512)
    assert frame_of(image, 768, crop=True).size == frame_of(image, None, 512, crop=True).size == (768, 512)


def test_a_picture_that_is_cropped_fills_the_frame_and_its_middle_comes_back():
    photograph = bordered((1280, 720))
    edit = Edit(image=photograph, instruction="make it winter", longest_side=256, result="own-size", crop=True)
    assert edit.frame.size == edit.frame.working_size == (256, 128)
    levels = np.asarray(edit.frame.place(photograph), np.float32)
    given_back = finished(edit, levels, photograph, None, lambda: levels)
    assert given_back.size == edit.frame.shown(photograph).size == (1280, 640)
    assert (np.asarray(edit.frame.shown(photograph)) == np.asarray(photograph)[40:680]).all()


@pytest.mark.parametrize("size", ((1700, 100), (100, 1700), (5000, 1)))
def test_beyond_16_to_1_it_is_a_sentence(size):
    with pytest.raises(EditError, match=r"beyond 16:1 .* Edit a part of it, or crop it to the middle"):
        frame_of(Image.new("RGB", size))
    assert frame_of(Image.new("RGB", size), crop=True).cropped
    with pytest.raises(EditError, match="beyond 16:1"):
        Edit(image=Image.new("RGB", size), instruction="make it winter", result="full")

"""A mask file means the same to everyone who reads it: white is edited, however white was painted."""

import io

import numpy as np
import pytest
from PIL import Image

from ip2p.errors import EditError
from ip2p.images import mask_of, notes_of, read_mask
from picture_files import saved

PHOTO = np.random.default_rng(3).integers(0, 256, (32, 48, 3), dtype=np.uint8)
PAINTED = np.zeros((32, 48), bool)
PAINTED[:16, :24] = True
WHITE_WHERE_PAINTED = np.where(PAINTED, 255, 0).astype(np.uint8)


def read(image: Image.Image, format: str = "PNG", **options) -> Image.Image:
    mask = read_mask(io.BytesIO(saved(image, format, **options)))
    assert mask.mode == "L"
    return mask


def levels(mask: Image.Image) -> np.ndarray:
    return np.asarray(mask)


def layer(colours: np.ndarray, alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([np.broadcast_to(colours, (32, 48, 3)), alpha]).astype(np.uint8))


PALETTE = Image.fromarray(PAINTED.astype(np.uint8)).convert("P")
PALETTE.putpalette([0, 0, 0, 255, 255, 255])


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(WHITE_WHERE_PAINTED),
        Image.fromarray(WHITE_WHERE_PAINTED).convert("1"),
        Image.fromarray(WHITE_WHERE_PAINTED).convert("RGB"),
        Image.fromarray(WHITE_WHERE_PAINTED).convert("RGBA"),
        Image.fromarray(PAINTED.astype(np.uint8)),
        Image.fromarray(PAINTED.astype(np.uint8)).convert("RGB"),
        Image.fromarray(PAINTED.astype(np.uint16)),
        Image.fromarray(PAINTED.astype(np.uint16) * 65535),
        PALETTE,
        layer((255, 255, 255), WHITE_WHERE_PAINTED),
        layer((0, 0, 0), WHITE_WHERE_PAINTED),
        layer((230, 20, 20), WHITE_WHERE_PAINTED),
        Image.fromarray(np.dstack([np.full((32, 48), 255, np.uint8), WHITE_WHERE_PAINTED]), "LA"),
    ],
    ids=["grey", "1 bit", "RGB", "opaque RGBA", "0 and 1", "0 and 1 in RGB", "0 and 1 in 16 bits", "16 bits", "palette", "white on transparency",
         "black on transparency", "red on transparency", "white on transparency, grey"],
)  # fmt: skip
def test_a_mask_is_what_was_painted(image):
    mask = read(image)
    assert np.array_equal(levels(mask), WHITE_WHERE_PAINTED)
    assert notes_of(mask) == []


def test_a_float_mask_is_read():
    mask = read(Image.fromarray(PAINTED.astype(np.float32) * 0.5), "TIFF")
    assert np.array_equal(levels(mask), np.where(PAINTED, 128, 0))


def test_a_soft_brush_stays_soft():
    alpha = np.where(PAINTED, 100, 0)
    assert np.array_equal(levels(read(layer((255, 255, 255), alpha))), alpha)
    assert np.array_equal(levels(read(Image.fromarray(alpha.astype(np.uint8)))), alpha)


def test_colours_that_rounding_spoiled_under_a_soft_rim_are_one_colour():
    alpha = np.where(PAINTED, 255, 0)
    alpha[16, :24] = 3
    colours = np.where(alpha[..., None] == 3, (255, 170, 85), (255, 255, 255))
    assert np.array_equal(levels(read(layer(colours, alpha))), alpha)


def test_black_strokes_take_away_from_white_ones():
    colours = np.where(PAINTED[..., None], (255, 255, 255), (0, 0, 0))
    alpha = np.full((32, 48), 255)
    alpha[:, 40:] = 0
    assert np.array_equal(levels(read(layer(colours, alpha))), WHITE_WHERE_PAINTED)


def test_a_picture_with_a_hole_is_edited_in_the_hole():
    mask = read(layer(PHOTO, 255 - WHITE_WHERE_PAINTED))
    assert np.array_equal(levels(mask), WHITE_WHERE_PAINTED)
    assert notes_of(mask) == ["the mask is a picture with a hole: the hole is edited"]
    grey = PHOTO[..., :1].repeat(3, 2)
    assert np.array_equal(levels(read(layer(grey, 255 - WHITE_WHERE_PAINTED))), WHITE_WHERE_PAINTED)


@pytest.mark.parametrize(
    "image", [Image.new("L", (8, 8)), Image.new("1", (8, 8)), Image.new("RGBA", (8, 8)), Image.fromarray(np.zeros((8, 8), np.uint16))]
)
def test_a_mask_without_white_edits_nothing_and_says_so(image):
    mask = read(image)
    assert not levels(mask).any()
    assert notes_of(mask) == ["the mask has no white, so nothing is edited"]


def test_a_mask_that_is_almost_black_is_refused():
    with pytest.raises(EditError, match=r"lightest level is 7 of 255.*\.$"):
        read(Image.fromarray(PAINTED.astype(np.uint8) * 7))


def test_a_mask_is_turned_with_its_orientation_and_keeps_its_levels_whatever_its_profile():
    from picture_files import grey_profile

    exif = Image.Exif()
    exif[0x0112] = 6
    mask = read(Image.fromarray(np.where(PAINTED, 255, 100).astype(np.uint8)), exif=exif, icc_profile=grey_profile(1.0))
    assert np.array_equal(levels(mask), np.rot90(np.where(PAINTED, 255, 100), -1))


def test_a_damaged_mask_is_called_a_mask():
    with pytest.raises(EditError, match="The mask can't be read"):
        read_mask(b"hello")


def test_a_mask_that_is_handed_over_opened_follows_the_same_rule():
    assert np.array_equal(levels(mask_of(layer((255, 255, 255), WHITE_WHERE_PAINTED))), WHITE_WHERE_PAINTED)

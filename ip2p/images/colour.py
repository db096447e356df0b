"""Colours as they are meant: profiles converted to sRGB, and levels of any depth to 8 bits."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import product
from typing import Protocol

import numpy as np
from PIL import Image

NOTES = "ip2p_notes"  # in a picture's `info`: what was done to it on reading, in words that complete “photo.jpg: …”
DEPTH = "ip2p_depth"  # in its `info`: bits of a sample in its file, where they are more than 8
ROWS = 256  # converted at once
SPACES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # of a profile: Pillow's mode
GREY = ("1", "L", "LA", "La")
SAME = 2  # levels: a profile that moves no colour by more is sRGB's own


class Levels(Protocol):
    """An array, or what gives some of its rows at a time: (h, w, c)."""

    @property
    def size(self) -> int: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> np.ndarray: ...


def notes_of(image: Image.Image) -> list[str]:
    """What was done to a picture on reading that a person should know, each in words that complete “photo.jpg: …”."""
    return list(image.info.get(NOTES, ()))


def to_srgb(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """By the profile that it carries → RGB or RGBA, or unchanged without one; and notes. LUT profiles too, relative colorimetric.

    A profile that is broken or of another colour space is ignored, with a note. image: upright, 8 bits a sample.
    """
    depth = image.info.get(DEPTH, 8)
    from_depth = f" ({depth} bits)" if depth > 8 else ""
    only_depth = [f"converted from {depth} to 8 bits"] if depth > 8 else []
    if not (profile := image.info.get("icc_profile")):
        return image, only_depth
    grey, alpha = image.mode in GREY, None
    if has_alpha(image):
        image = with_alpha(image)
        alpha = image.getchannel("A")
    try:
        converted, name = by_profile(image, profile, grey)
    except Exception as e:  # whatever littleCMS says of it, or a Pillow without littleCMS
        reason = "can't be read without littleCMS" if isinstance(e, ImportError) else "is broken or of another kind of picture"
        return image, [f"its colour profile {reason} and was ignored", *only_depth]
    if converted is None:
        return image, only_depth
    if alpha is not None:
        converted.putalpha(alpha)
    return converted, [f"converted from {name}{from_depth} to sRGB{' (8 bits)' if from_depth else ''}"]


def by_profile(image: Image.Image, data: bytes, grey: bool) -> tuple[Image.Image | None, str]:
    """grey: whether it was before it got an alpha channel → the picture in sRGB, or None where the profile is sRGB's own; and the
    profile's name. Raises what littleCMS raises, and ValueError for a profile of another kind of picture."""
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
    mode = SPACES[profile.profile.xcolor_space]
    # Grey pictures are often given the profile of the colours they came from.
    if ("CMYK" in (image.mode, mode) and image.mode != mode) or (mode == "L" and not grey):
        raise ValueError(f"a profile for {mode} in a picture of {image.mode}")
    image = image.convert(mode)
    transform = ImageCms.buildTransform(
        profile, ImageCms.createProfile("sRGB"), mode, "RGB", renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC
    )
    if mode != "CMYK":
        test = test_picture(mode)
        moved = np.abs(np.asarray(ImageCms.applyTransform(test, transform), int) - np.asarray(test.convert("RGB"), int))
        if moved.max() <= SAME:
            return None, ""
    name = "".join(c for c in ImageCms.getProfileDescription(profile) if c.isprintable()).strip()
    return ImageCms.applyTransform(image, transform), name[:60] or "its own colour profile"


def test_picture(mode: str) -> Image.Image:
    """All greys, and for RGB also a grid of 9³ colours."""
    greys = [(level,) * 3 for level in range(256)]
    colours = [*greys, *product(range(0, 257, 32), repeat=3)]
    levels = np.array(greys if mode == "L" else colours).clip(0, 255).astype(np.uint8)[None]
    return Image.fromarray(levels).convert(mode)


def has_alpha(image: Image.Image) -> bool:
    """Whether it can be transparent: by a channel, a transparent colour or a palette's."""
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def with_alpha(image: Image.Image) -> Image.Image:
    """→ RGBA, not premultiplied."""
    return (image.convert("LA") if image.mode == "La" else image).convert("RGBA")


def on_background(image: Image.Image, background: str) -> Image.Image:
    """Its transparency laid on `background`, a colour as Pillow names them → RGB."""
    if not has_alpha(image):
        return image.convert("RGB")
    image = with_alpha(image)
    return Image.alpha_composite(Image.new("RGBA", image.size, background), image).convert("RGB")


def grey_levels(image: Image.Image) -> Image.Image:
    """A picture of one channel of integers or floats (modes I, I;16, F) → L. `white_level` says what is white."""
    levels = np.asarray(image)[..., None]
    return Image.fromarray(eight_bits(levels, white_level(levels))[..., 0])


def white_level(levels: Levels) -> float:
    """levels: (h, w, c), integers or floats → the level that is white.

    Floats are in [0, 1], though up to 1 % of them may pass it as resampling leaves them, or else in [0, 255] or up to their
    highest. Integers have the 16 or 32 bits of their type, but grey ones that all fit in 8 or 16 bits have no more.
    """
    high, above_one = 0.0, 0
    for rows in blocks(levels):
        finite = rows[np.isfinite(rows)] if rows.dtype.kind == "f" else rows
        high = max(high, float(finite.max(initial=0)))
        above_one += int(np.count_nonzero(finite > 1))
    if levels.dtype.kind == "f":
        return 1.0 if above_one <= 0.01 * levels.size and high < 2 else max(255.0, high)
    return integer_white(high, levels.dtype, levels.shape[-1] <= 2)


def integer_white(high: float, dtype: np.dtype, grey: bool) -> float:
    whites = [255.0, 65535.0, 2.0**32 - 1]
    if not grey and dtype.itemsize <= 4:
        whites = [whites[dtype.itemsize // 2]]
    return next((white for white in whites if high <= white), max(high, 1.0))


def eight_bits(levels: np.ndarray, white: float) -> np.ndarray:
    """levels: (h, w, c), black at 0 → uint8, `white` at 255; what is not a number is black."""
    out = np.empty(levels.shape, np.uint8)
    for rows, into in zip(blocks(levels), blocks(out)):
        into[:] = scaled(rows, white)
    return out


def scaled(rows: np.ndarray, white: float) -> np.ndarray:
    rows = np.nan_to_num(rows.astype(np.float64 if rows.dtype.itemsize > 2 else np.float32), posinf=0.0, neginf=0.0)
    return (rows * (255 / white) + 0.5).clip(0, 255)


def blocks(levels: Levels) -> Iterator[np.ndarray]:
    """Some rows at a time: a float copy of 64 megapixels would take gigabytes."""
    for top in range(0, len(levels), ROWS):
        yield levels[top : top + ROWS]

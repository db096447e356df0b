"""Sizes the network can work at, and pictures brought to them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from ..errors import EditError

MIN_SIDE, MAX_SIDE = 64, 4096  # of a working size, in pixels
STEP = 64  # the UNet halves the latent three times, and the latent is an eighth of the picture
SQUEEZE = 0.02  # the most by which a picture is squeezed to save a row of padding
PANORAMA, MAX_ASPECT = 3, 16  # up to these aspects a picture is edited whole: at its longest side, and at the area of a square
Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels


def fit_size(width: int, height: int, longest_side: int = 512) -> tuple[int, int]:
    """Working size for a picture: multiples of 64, at most `longest_side`, near its aspect and near its largest area.

    The official code (edit_cli.py) rounds so that the longest side can pass the limit; here it can't, which keeps a
    memory limit a limit. The two agree wherever its result keeps the limit and its aspect is exact.
    """
    sides = range(STEP, max(longest_side // STEP * STEP, STEP) + 1, STEP)
    aspect = width / height
    largest = sides[-1] ** 2 * min(aspect, 1 / aspect)

    def cost(size: tuple[int, int]) -> float:
        w, h = size
        return abs(math.log(w / h / aspect)) + 0.5 * abs(math.log(largest / (w * h)))

    return min(((w, h) for w in sides for h in sides), key=cost)


def allowed_side(side: float) -> int:
    """The multiple of 8 below it, within the limits."""
    return min(max(int(side) // 8 * 8, MIN_SIDE), MAX_SIDE)


@dataclass(frozen=True)
class Frame:
    """How a picture lies in what the network works on.

    size: (width, height) of the latter; inside: the box of it that shows the picture, round which stands its reflection; cropped: the
    picture fills all of it and loses what is over on two sides.
    """

    size: tuple[int, int]
    inside: Box
    cropped: bool = False

    @property
    def working_size(self) -> tuple[int, int]:
        """(width, height) of a result at working size."""
        left, top, right, bottom = self.inside
        return right - left, bottom - top

    def place(self, image: Image.Image) -> Image.Image:
        """The picture, or its mask, as the network is given it, Lanczos."""
        if image.size == self.size:
            return image
        if self.cropped:
            return ImageOps.fit(image, self.size, Image.Resampling.LANCZOS)
        left, top, right, bottom = self.inside
        if image.size != self.working_size:
            image = image.resize(self.working_size, Image.Resampling.LANCZOS)
        pixels = np.asarray(image)
        padding = (top, self.size[1] - bottom), (left, self.size[0] - right), (0, 0)
        return Image.fromarray(np.pad(pixels, padding[: pixels.ndim], mode="symmetric"))

    def cut(self, picture: Image.Image) -> Image.Image:
        """What of a picture of the network's size shows the photograph."""
        return picture if self.working_size == self.size else picture.crop(self.inside)

    def cut_levels(self, levels: np.ndarray) -> np.ndarray:
        """The same of an array, (h, w, …)."""
        left, top, right, bottom = self.inside
        return levels[top:bottom, left:right]

    def shown(self, image: Image.Image) -> Image.Image:
        """What of the photograph, or of its mask, is edited, at its own size."""
        if not self.cropped:
            return image
        aspect = self.size[0] / self.size[1]
        width, height = min(image.width, round(image.height * aspect)), min(image.height, round(image.width / aspect))
        left, top = (image.width - width) // 2, (image.height - height) // 2
        return image if (width, height) == image.size else image.crop((left, top, left + width, top + height))


def frame_of(image: Image.Image, width: int | None = None, height: int | None = None, longest_side: int = 512, crop: bool = False) -> Frame:
    """The size to edit at, and how the picture lies in it.

    width, height: as asked, in multiples of 8; a missing one follows the picture within the limits. With neither, multiples of 64 round
    the picture's aspect, at most `longest_side`; beyond 3:1 at most the area of a square of that side, or the shorter side would show
    nothing. crop: the size is near the picture's aspect and what is over is cut off around its middle, as the paper does it.

    Raises EditError for a picture beyond 16:1 that is not to be cropped.
    """
    if crop:
        size = cropped_size(image, width, height, longest_side)
        return Frame(size, (0, 0, *size), cropped=True)
    aspect = image.width / image.height
    if not 1 / MAX_ASPECT <= aspect <= MAX_ASPECT:
        raise EditError(
            f"The picture is {image.width}x{image.height}: beyond {MAX_ASPECT}:1 it would be a strip a few pixels wide to the network. "
            "Edit a part of it, or crop it to the middle (crop)."
        )
    if width is None and height is None:
        width, height = whole_size(aspect, longest_side)
    elif width is None and height is not None:
        width = padded_side(height * aspect, 8)
    elif height is None and width is not None:
        height = padded_side(width / aspect, 8)
    size = w, h = allowed_side(width or 0), allowed_side(height or 0)
    # As large as it fits, or all of a side that it misses by a few pixels.
    inner_w, inner_h = (
        side if inner >= side * (1 - SQUEEZE) else max(inner, 1) for side, inner in ((w, round(h * aspect)), (h, round(w / aspect)))
    )
    left, top = (w - inner_w) // 2 // 8 * 8, (h - inner_h) // 2 // 8 * 8  # in whole latents
    return Frame(size, (left, top, left + inner_w, top + inner_h))


def whole_size(aspect: float, longest_side: int) -> tuple[int, int]:
    """Multiples of 64 that hold a picture of this aspect (width / height)."""
    longest = max(longest_side // STEP * STEP, STEP)
    ratio = max(aspect, 1 / aspect)
    if ratio <= PANORAMA:
        long, short = longest, padded_side(longest / ratio)
    else:
        short = max(int(longest / ratio**0.5) // STEP * STEP, STEP)
        long = padded_side(short * ratio)
    return (long, short) if aspect >= 1 else (short, long)


def padded_side(side: float, step: int = STEP) -> int:
    """The multiple of `step` that holds it, or the one below where that misses only what is squeezed."""
    side = round(side)
    below = max(side // step * step, step)
    return below if side <= below * (1 + SQUEEZE) else below + step


def cropped_size(image: Image.Image, width: int | None, height: int | None, longest_side: int) -> tuple[int, int]:
    """As asked, in multiples of 8; a missing side follows the picture within the limits; none asked: `fit_size`."""
    if width is None:
        if height is None:
            return fit_size(*image.size, longest_side)
        width = round(height * image.width / image.height)
    if height is None:
        height = round(width * image.height / image.width)
    return allowed_side(width), allowed_side(height)


def fit(image: Image.Image, size: tuple[int, int], whole: bool = False) -> Image.Image:
    """The picture at `size`, Lanczos: cropped around its middle, or `whole`, squeezed."""
    if image.size == size:
        return image
    return image.resize(size, Image.Resampling.LANCZOS) if whole else ImageOps.fit(image, size, Image.Resampling.LANCZOS)


def bytes_of(*images: Image.Image | None) -> Iterator[tuple[int, int]]:
    """(identity, bytes) of each picture that is there."""
    for image in filter(None, images):
        yield id(image), image.width * image.height * len(image.getbands())

"""Sizes the network can work at, and pictures brought to them."""

from __future__ import annotations

import math

from PIL import Image, ImageOps

MIN_SIDE, MAX_SIDE = 64, 4096  # of a working size, in pixels
STEP = 64  # the UNet halves the latent three times, and the latent is an eighth of the picture


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


def working_size(image: Image.Image, width: int | None, height: int | None, longest_side: int = 512) -> tuple[int, int]:
    """The size to edit at: as asked, in multiples of 8; a missing side follows the picture within the limits; none asked: `fit_size`."""
    if width is None:
        if height is None:
            return fit_size(*image.size, longest_side)
        width = round(height * image.width / image.height)
    if height is None:
        height = round(width * image.height / image.width)
    return allowed_side(width), allowed_side(height)


def allowed_side(side: int) -> int:
    """The multiple of 8 below it, within the limits."""
    return min(max(side // 8 * 8, MIN_SIDE), MAX_SIDE)


def fit(image: Image.Image, size: tuple[int, int], whole: bool = False) -> Image.Image:
    """The picture at `size`, Lanczos: cropped around its middle (the paper), or `whole`, squeezed by the few percent that
    the multiples of 64 ask for, so that the result can be given back at the picture's own size with nothing missing."""
    if image.size == size:
        return image
    return image.resize(size, Image.Resampling.LANCZOS) if whole else ImageOps.fit(image, size, Image.Resampling.LANCZOS)

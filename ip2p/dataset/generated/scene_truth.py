"""What generated pictures of synthetic scenes show, read off their pixels: whether both are what their captions say, and where the shape is."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from ...errors import EditError
from ..pairs import Pair
from ..scenes import COLOURS, SHAPES, SIDE, filled, inner, nearest

CAPTION = re.compile(r"an? (?P<colour>{0}) (?P<shape>{1}) on an? (?P<ground>{0}) background".format("|".join(COLOURS), "|".join(SHAPES)))
SMALLEST = 0.01  # share of the picture, of a shape that is there
LIKE_ITSELF = 0.7  # IoU of a shape with the drawn one of its box
IN_PLACE = 0.7  # IoU of both pictures' shapes
MARGIN = 2 / SIDE  # of the picture's side: what is too near to an outline to have a colour


@dataclass(frozen=True)
class Described:
    """colour, shape, ground: names."""

    colour: str
    shape: str
    ground: str

    @classmethod
    def by(cls, caption: str) -> Described:
        """Raises EditError for a caption of anything else."""
        found = CAPTION.fullmatch(caption.strip().lower())
        if not found:
            raise EditError(f"“{caption[:80]}” is no caption of a synthetic scene, as “a red circle on a blue background” is")
        return cls(**found.groupdict())


@dataclass(frozen=True)
class Truth:
    """first, second: whether the picture is what its caption says; overlap: IoU of both shapes, in [0, 1]."""

    first: bool
    second: bool
    overlap: float

    @property
    def placed(self) -> bool:
        return self.overlap >= IN_PLACE

    @property
    def right(self) -> bool:
        return self.first and self.second and self.placed

    def scores(self) -> dict[str, float]:
        """As a pair keeps them."""
        return {"first": float(self.first), "second": float(self.second), "overlap": round(self.overlap, 4), "right": float(self.right)}


def truth_of(pair: Pair) -> Truth:
    """Raises EditError where its captions are not of scenes."""
    pictures = (pair.original_image, pair.original_prompt), (pair.edited_image, pair.edited_prompt)
    (first, one), (second, other) = (seen(np.asarray(picture, np.float32), Described.by(caption)) for picture, caption in pictures)
    return Truth(first, second, overlap_of(one, other))


def seen(pixels: np.ndarray, said: Described) -> tuple[bool, np.ndarray]:
    """pixels: (h, w, 3) in [0, 255] → whether the picture is what was said, and where its shape is: (h, w), the pixels nearer to the shape's
    colour than to the ground's."""
    colour, ground = (np.square(pixels - COLOURS[name]).sum(-1) for name in (said.colour, said.ground))
    shape = colour < ground
    if not SMALLEST < shape.mean() < 1 - SMALLEST:
        return False, shape
    margin = max(round(MARGIN * shape.shape[1]), 1)
    regions = (inner(shape, margin), said.colour), (inner(~shape, margin), said.ground)
    coloured = all(region.any() and nearest(pixels[region].mean(0)) == name for region, name in regions)
    return coloured and shape_of(shape) == said.shape, shape


def shape_of(mask: np.ndarray) -> str:
    """mask: (h, w), True somewhere → the name of the shape that fills its box most nearly as it does, "" where none does."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    centre = (columns[0] + columns[-1]) / 2, (rows[0] + rows[-1]) / 2
    radius = (columns[-1] - columns[0] + rows[-1] - rows[0]) / 4
    height, width = mask.shape
    likeness = {shape: overlap_of(mask, filled(shape, centre, radius, (width, height))) for shape in SHAPES}
    best = max(likeness, key=lambda shape: likeness[shape])
    return best if likeness[best] >= LIKE_ITSELF else ""


def overlap_of(one: np.ndarray, other: np.ndarray) -> float:
    """IoU of two masks of one size."""
    return float((one & other).sum() / max((one | other).sum(), 1))

"""What generated pictures of synthetic scenes show, read off their pixels: whether both are what their captions say, and whether what the
captions leave in its place stayed there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..pairs import Pair
from ..varied.description import Description
from ..varied.looks import overlap_of, seen

IN_PLACE = 0.7  # IoU of both pictures' shapes


@dataclass(frozen=True)
class Truth:
    """first, second: whether the picture is what its caption says; overlap: IoU of both shapes, in [0, 1], or 1 where the edit moves them."""

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
    said = [Description.by(caption) for caption in (pair.original_prompt, pair.edited_prompt)]
    pictures = [np.asarray(picture, np.float32) for picture in (pair.original_image, pair.edited_image)]
    (first, one), (second, other) = (seen(picture, description) for picture, description in zip(pictures, said))
    return Truth(first, second, overlap_of(one, other) if stays(*said) else 1.0)


def stays(before: Description, after: Description) -> bool:
    """Whether the things keep their outlines: what changes are colours and textures alone."""

    def outlines(said: Description) -> list[tuple[str, str]]:
        return [(thing.shape, thing.size) for thing in said.things]

    return before.place == after.place and outlines(before) == outlines(after)

"""Edits of synthetic scenes to be measured, and their judges: what was asked and what had to stay are read off the result's pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from PIL import Image

from ..dataset.scenes import inner, nearest, scene
from ..dataset.varied.description import Description
from ..dataset.varied.looks import coloured, masks_of, overlap_of, place_of, shape_of, size_of, texture_of
from ..dataset.varied.scene_edits import GROUND, PLACE, SHAPE, SIZE, TEXTURE, SceneEdit, scene_edits

PLAIN, VARIED = "plain", "varied"
RECOLOURING = "recolouring"
UNSEEN = 1  # seed of scenes that no training sees
MARGIN = 3  # pixels at an outline that belong to neither region: an autoencoder blurs them
SMALLEST = 16  # pixels of a thing that is there
IN_PLACE = 0.7  # IoU of a thing with itself before


@dataclass(frozen=True)
class Judged:
    """target: what was asked is there; kept: what had to stay did; error: mean absolute difference to the picture before outside what the
    instruction acts on, in [0, 1]."""

    target: bool
    kept: bool
    error: float

    @property
    def both(self) -> bool:
        return self.target and self.kept


@dataclass(frozen=True)
class Case:
    """kind: what it is counted under; judge: of a result of the picture's size."""

    kind: str
    picture: Image.Image
    exact: Image.Image
    instruction: str
    judge: Callable[[Image.Image], Judged]


def cases_of(scenes: str, count: int, seed: int = UNSEEN) -> list[Case]:
    """scenes: “plain” or “varied”. Varied ones are asked for in words that no training has."""
    if scenes == PLAIN:
        return [plain_case(i, seed) for i in range(count)]
    return [varied_case(edit) for edit in islice(scene_edits(seed, held_out=True), count)]


def plain_case(number: int, seed: int) -> Case:
    """A region has the colour of the palette that its mean is nearest to."""
    drawn = scene(number, seed)
    before = drawn.drawn(drawn.colour, drawn.ground)
    own = drawn.colour if drawn.target == "background" else drawn.ground

    def judge(result: Image.Image) -> Judged:
        pixels = levels(result)
        asked, other = (inner(region, MARGIN) for region in (drawn.region, ~drawn.region))
        right, kept = (nearest(pixels[region].mean(0)) == name for region, name in ((asked, drawn.asked), (other, own)))
        return Judged(right, kept, error_in(pixels, before, other))

    return Case(RECOLOURING, before, drawn.drawn(*drawn.edited_colours), drawn.instruction, judge)


def varied_case(edit: SceneEdit) -> Case:
    before = edit.before.picture()
    judges = {SHAPE: judge_colours, GROUND: judge_colours, SIZE: judge_thing, TEXTURE: judge_thing, PLACE: judge_thing}
    changed = edit.before.ground if edit.target is None else edit.before.mask(edit.target) | edit.after.mask(edit.target)
    outside = inner(~changed, MARGIN)

    def judge(result: Image.Image) -> Judged:
        pixels = levels(result)
        target, kept = judges[edit.kind](pixels, edit)
        return Judged(target, kept, error_in(pixels, before, outside))

    kind = RECOLOURING if edit.kind in (SHAPE, GROUND) else edit.kind
    return Case(kind, before, edit.after.picture(), edit.instruction, judge)


def judge_colours(pixels: np.ndarray, edit: SceneEdit) -> tuple[bool, bool]:
    """Whether the region asked for has its new colour, and every other its own, where each of them was."""

    def right(region: int | None) -> bool:
        """region: the number of a thing, None for the ground."""
        said, drawn = edit.after.description, edit.before
        if region is None:
            return coloured(pixels, drawn.ground, said.ground)
        thing = said.things[region]
        return coloured(pixels, drawn.mask(region), thing.colour, thing.texture)

    others = {None, *range(len(edit.before.description.things))} - {edit.target}
    return right(edit.target), all(map(right, others))


def judge_thing(pixels: np.ndarray, edit: SceneEdit) -> tuple[bool, bool]:
    """Of one thing whether its size, place or texture is as asked; and whether its shape, both colours and the other two of these are as
    they were."""
    mask = masks_of(pixels, with_marks(edit.after.description))[0]
    if mask.sum() < SMALLEST or (~mask).sum() < SMALLEST:
        return False, False
    thing, before = edit.after.description.things[0], edit.before
    found = {SIZE: size_of(mask), PLACE: place_of(mask), TEXTURE: texture_of(pixels, mask, thing.colour)}
    asked = {SIZE: thing.size, PLACE: edit.after.description.place, TEXTURE: thing.texture}
    stays = {
        # A thing that grows on one side of the picture comes nearer to its middle, so that its place is looked at in the drawing.
        SIZE: place_of(mask) == place_of(edit.after.mask(0)) and found[TEXTURE] == thing.texture,
        PLACE: found[SIZE] == thing.size and found[TEXTURE] == thing.texture,
        TEXTURE: overlap_of(mask, before.mask(0)) >= IN_PLACE,
    }
    colours = coloured(pixels, mask, thing.colour, found[TEXTURE]) and coloured(pixels, ~mask, edit.after.description.ground)
    return found[edit.kind] == asked[edit.kind], colours and shape_of(mask) == thing.shape and stays[edit.kind]


def with_marks(said: Description) -> Description:
    """The same with a texture, so that marks count as the thing's whether or not there should be any."""
    return replace(said, things=tuple(replace(thing, texture=thing.texture or "striped") for thing in said.things))


def levels(picture: Image.Image) -> np.ndarray:
    """→ (h, w, 3) in [0, 255]."""
    return np.asarray(picture.convert("RGB"), np.float32)


def error_in(pixels: np.ndarray, before: Image.Image, region: np.ndarray) -> float:
    return float(np.abs(pixels - levels(before))[region].mean() / 255) if region.any() else 0.0

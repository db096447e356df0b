"""Where an edit acts, found: the region that it asks for as its mask, or as the parts of the picture that are edited by themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import reduce

from .edit import Edit
from .errors import EditError
from .region import MAX_PARTS, MIN_REGION, PAINTED, Region
from .where import INSTRUCTION, MASK, NAME, Where

Finder = Callable[[Edit], Sequence[Region]]


def located(edit: Edit, finders: Mapping[str, Finder]) -> Edit:
    """The edit with the region that it asks for; itself where it asks for none. finders: by `Where.source` what finds the regions of an
    edit's picture, from left to right; painted ones are its mask.

    Raises EditError where nothing is found, a region is too small to be edited or all of the picture, and what a finder raises.
    """
    where = edit.region
    if where is None or edit.parts:
        return edit
    regions = regions_of(edit, where, finders)
    if where.only:
        if len(regions) > MAX_PARTS:
            raise EditError(
                f"There are {len(regions)} regions to edit one after another, and at most {MAX_PARTS} are: choose one by its number."
            )
        return replace(edit, parts=tuple(regions))
    return replace(edit, parts=tuple(regions), mask=reduce(Region.plus, regions).picture())


def regions_of(edit: Edit, where: Where, finders: Mapping[str, Finder]) -> list[Region]:
    """Shaped as asked; each can be edited."""
    if where.source == MASK:
        found = [Region.of(edit.mask, PAINTED)] if edit.mask else []
    elif where.source in finders:
        found = list(finders[where.source](edit))
    else:
        raise EditError(f"The {where.what} can't be found here: paint the region, or name it.")
    if where.threshold is not None:
        found = [region.above(where.threshold) for region in found]
    found = sorted((region for region in found if not region.is_empty), key=lambda region: region.box)
    if not found:
        raise EditError(f"There is no {where.what} in the picture: paint over what may change, or edit without a region.")
    if where.source != NAME and (where.only or where.number) and not where.invert:
        found = [piece for region in found for piece in region.pieces(where.margin if where.only else 0)]
    if where.number:
        if where.number > len(found):
            raise EditError(f"There is no {where.what} number {where.number}: {len(found)} found, counted from left to right.")
        found = [found[where.number - 1]]
    if where.invert:
        found = [reduce(Region.plus, found).inverted()]
    # What the network found follows the picture's outlines softly by itself.
    soft = where.source == INSTRUCTION and where.threshold is where.feather is None
    return [checked(region.grown(where.grow).feathered(0 if soft else where.feather), where) for region in found]


def checked(region: Region, where: Where) -> Region:
    """Raises EditError for a region that can't be edited."""
    left, top, right, bottom = region.box
    if region.is_empty:
        raise EditError(f"Nothing is left of the {where.what}: let it grow, or feather it less.")
    if min(right - left, bottom - top) < MIN_REGION:
        size = f"{right - left}x{bottom - top}"
        raise EditError(
            f"The {where.what} is {size} pixels, and the network sees {MIN_REGION} as one: let it grow, or choose a larger region."
        )
    if region.is_whole:
        raise EditError(f"The {where.what} is the whole picture: edit without a region.")
    return region

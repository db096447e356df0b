"""What a picture of a varied scene shows, read off its pixels: colours, shapes, sizes, places, textures."""

from __future__ import annotations

import numpy as np

from ..scenes import COLOURS, SHAPES, SIDE, filled, inner, nearest
from .description import LEFT_OF, PLACES, Description, Thing
from .drawer import mark_of

SMALLEST = 0.01  # share of the picture, of a shape that is there
LIKE_ITSELF = 0.7  # IoU of a shape with the drawn one of its box
MARGIN = 2 / SIDE  # of the picture's side: what is too near to an outline to have a colour
SMALL_BELOW, LARGE_ABOVE = 10.75 / SIDE, 16.0 / SIDE  # radii, of the picture's side
OFF_MIDDLE = 6.0 / SIDE  # how far from the middle a thing on one side is at least, of the picture's side
CONTRAST = 0.25  # of a textured thing: standard deviation of its share of the mark's colour, at least
STRIPES = 0.5  # share of a stripe pattern's variance that lies between columns


def seen(pixels: np.ndarray, said: Description) -> tuple[bool, np.ndarray]:
    """pixels: (h, w, 3) in [0, 255] → whether the picture is what was said, and where its things are: (h, w), True on any of them."""
    masks = masks_of(pixels, said)
    things = np.any(masks, axis=0)
    if not said.drawable or not all(mask.mean() > SMALLEST for mask in masks) or things.mean() > 1 - SMALLEST:
        return False, things
    right = coloured(pixels, ~things, said.ground) and all(is_thing(pixels, mask, thing) for mask, thing in zip(masks, said.things))
    return right and placed(masks, said.place), things


def masks_of(pixels: np.ndarray, said: Description) -> list[np.ndarray]:
    """Of every thing the pixels that are nearer to its colour, or to that of its marks, than to any other in the scene: (h, w)."""
    colours: list[tuple[int, tuple[float, ...]]] = [(-1, COLOURS[said.ground])]
    for i, thing in enumerate(said.things):
        colours += [(i, COLOURS[thing.colour])] + ([(i, mark_of(thing.colour))] if thing.texture else [])
    distances = np.stack([np.square(pixels - np.array(colour, np.float32)).sum(-1) for _, colour in colours])
    owner = np.array([i for i, _ in colours])[distances.argmin(0)]
    return [owner == i for i in range(len(said.things))]


def is_thing(pixels: np.ndarray, mask: np.ndarray, thing: Thing) -> bool:
    """Whether what the mask holds is the thing: in its shape, colour and texture, and of its size where one is said."""
    return (
        coloured(pixels, mask, thing.colour, thing.texture)
        and shape_of(mask) == thing.shape
        and (not thing.size or size_of(mask) == thing.size)
        and texture_of(pixels, mask, thing.colour) == thing.texture
    )


def margin_of(mask: np.ndarray) -> int:
    return max(round(MARGIN * mask.shape[1]), 1)


def coloured(pixels: np.ndarray, mask: np.ndarray, colour: str, texture: str = "") -> bool:
    """Whether the region has this colour: on average, and under a texture on average of the pixels that are no marks, most of the region."""
    region = inner(mask, margin_of(mask))
    if texture and region.any():
        base, mark = (np.square(pixels - np.array(c, np.float32)).sum(-1) for c in (COLOURS[colour], mark_of(colour)))
        unmarked = region & (base < mark)
        if unmarked.sum() < region.sum() / 2:
            return False
        region = unmarked
    return bool(region.any()) and nearest(pixels[region].mean(0)) == colour


def box_of(mask: np.ndarray) -> tuple[tuple[float, float], float]:
    """mask: True somewhere → (centre, radius) of its box, in pixels."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    centre = (columns[0] + columns[-1]) / 2, (rows[0] + rows[-1]) / 2
    return centre, (columns[-1] - columns[0] + rows[-1] - rows[0]) / 4


def shape_of(mask: np.ndarray) -> str:
    """mask: (h, w), True somewhere → the name of the shape that fills its box most nearly as it does, "" where none does."""
    height, width = mask.shape
    likeness = {shape: overlap_of(mask, filled(shape, *box_of(mask), (width, height))) for shape in SHAPES}
    best = max(likeness, key=lambda shape: likeness[shape])
    return best if likeness[best] >= LIKE_ITSELF else ""


def size_of(mask: np.ndarray) -> str:
    """“small”, “large” or "" between, by the radius of the mask's box."""
    radius = box_of(mask)[1] / mask.shape[1]
    return "small" if radius < SMALL_BELOW else "large" if radius > LARGE_ABOVE else ""


def place_of(mask: np.ndarray) -> str:
    """The side that a thing is nearest to, "" in the middle."""
    (x, y), _ = box_of(mask)
    side, middle = mask.shape[1], (mask.shape[1] - 1) / 2
    off = dict(zip(PLACES, (middle - x, x - middle, middle - y, y - middle)))
    best = max(off, key=lambda place: off[place])
    return best if off[best] >= OFF_MIDDLE * side else ""


def placed(masks: list[np.ndarray], place: str) -> bool:
    """Whether one thing is where it is said to be, if it is, and whether two stand as is said."""
    if len(masks) == 1:
        return not place or place_of(masks[0]) == place
    (x, y), (other_x, other_y) = (box_of(mask)[0] for mask in masks)
    return x < other_x if place == LEFT_OF else y < other_y


def texture_of(pixels: np.ndarray, mask: np.ndarray, colour: str) -> str:
    """“striped”, “dotted” or "" of what the mask holds. How far a pixel is from the colour to that of its marks is looked at: a stripe is
    the same all along a column, dots are not."""
    region = inner(mask, margin_of(mask))
    base, mark = np.array(COLOURS[colour], np.float32), np.array(mark_of(colour), np.float32)
    share = ((pixels - base) @ (mark - base)) / float(np.square(mark - base).sum())
    inside = share[region]
    if not inside.size or inside.std() < CONTRAST:
        return ""
    columns = region.any(0)
    means = np.array([share[:, x][region[:, x]].mean() for x in np.flatnonzero(columns)])
    weights = region.sum(0)[columns]
    between = float(np.average(np.square(means - inside.mean()), weights=weights) / inside.var())
    return "striped" if between > STRIPES else "dotted"


def overlap_of(one: np.ndarray, other: np.ndarray) -> float:
    """IoU of two masks of one size."""
    return float((one & other).sum() / max((one | other).sum(), 1))

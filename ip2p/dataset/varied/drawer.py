"""Draws what a caption of a synthetic scene says. What it leaves open follows from drawn numbers: the same ones leave everything in its place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..scenes import COLOURS, SIDE, filled
from .description import LEFT_OF, Description, Thing

DRAWS = 8  # numbers in [0, 1) that settle what a caption leaves open
RADII = {"small": (8.0, 9.5), "": (12.0, 14.0), "large": (18.0, 20.0)}  # pixels
TWO_RADII = {"small": (7.0, 8.0), "": (9.0, 11.0), "large": (12.0, 13.0)}  # of two things in one picture
EDGE = 2.0  # pixels between a thing and the picture's edge, at least
LOOSE = 4.0  # pixels that a thing in the middle is off it, at most
APART = (17.0, 47.0)  # pixels: where two things stand
PERIOD, BAR, DOT = 8, 3, 2.5  # pixels: of a texture, of a stripe's width, of a dot's radius
DARKER = 0.4


@dataclass(frozen=True)
class Drawing:
    """A description with the numbers that settle the rest. draws: (8,) in [0, 1)."""

    description: Description
    draws: tuple[float, ...]

    @classmethod
    def of(cls, description: Description, rng: np.random.Generator) -> Drawing:
        return cls(description, tuple(map(float, rng.random(DRAWS))))

    def after(self, description: Description) -> Drawing:
        """The same picture with another description: what both leave open stays."""
        return Drawing(description, self.draws)

    def outline(self, i: int) -> tuple[tuple[float, float], float]:
        """(centre, radius) of thing i, in pixels."""
        two = len(self.description.things) == 2
        low, high = (TWO_RADII if two else RADII)[self.description.things[i].size]
        radius = low + (high - low) * self.draws[3 * i]
        u, v = self.draws[3 * i + 1], self.draws[3 * i + 2]
        middle = SIDE / 2
        loose = [middle + LOOSE * (2 * x - 1) for x in (u, v)]
        place = self.description.place
        if two:
            axis = 0 if place == LEFT_OF else 1
            loose[axis] = APART[i] + 2 * u - 1
            loose[1 - axis] = middle + 2 * LOOSE * (2 * v - 1)
        elif place:
            near = radius + EDGE + 2 * u
            loose[0 if place in ("left", "right") else 1] = near if place in ("left", "top") else SIDE - near
        return (loose[0], loose[1]), radius

    def mask(self, i: int) -> np.ndarray:
        """(64, 64), True on thing i."""
        centre, radius = self.outline(i)
        return filled(self.description.things[i].shape, centre, radius, (SIDE, SIDE))

    @property
    def ground(self) -> np.ndarray:
        """(64, 64), True beside every thing."""
        return ~np.any([self.mask(i) for i in range(len(self.description.things))], axis=0)

    def picture(self) -> Image.Image:
        pixels = np.broadcast_to(np.array(COLOURS[self.description.ground], np.float32), (SIDE, SIDE, 3)).copy()
        for i, thing in enumerate(self.description.things):
            mask = self.mask(i)
            pixels[mask] = painted(thing, self.draws[6:])[mask]
        return Image.fromarray(pixels.astype(np.uint8))


def painted(thing: Thing, phase: tuple[float, ...]) -> np.ndarray:
    """(64, 64, 3) in [0, 255]: the whole plane in the thing's colour and texture. phase: of the texture, in periods."""
    base, mark = np.array(COLOURS[thing.colour], np.float32), np.array(mark_of(thing.colour), np.float32)
    return np.where(marks(thing.texture, phase)[..., None], mark, base)


def mark_of(colour: str) -> tuple[float, ...]:
    """The colour of stripes and dots on a thing of this colour: a darker one, and grey on black."""
    return (130.0,) * 3 if colour == "black" else tuple(DARKER * level for level in COLOURS[colour])


def marks(texture: str, phase: tuple[float, ...]) -> np.ndarray:
    """(64, 64), True on upright stripes, or on dots of which every other row is moved by half a period."""
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    x = x + phase[0] * PERIOD
    if texture == "striped":
        return x % PERIOD < BAR
    if texture == "dotted":
        y = y + phase[1] * PERIOD
        x = x + (y // PERIOD % 2) * PERIOD / 2
        return np.hypot(x % PERIOD - PERIOD / 2, y % PERIOD - PERIOD / 2) < DOT
    return np.zeros((SIDE, SIDE), bool)

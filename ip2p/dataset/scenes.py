"""Synthetic scenes: a coloured shape on a coloured ground, and the instruction that recolours one of the two.

What was asked can be read off the pixels, so a model trained on them is measured without a judge.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from .pairs import Pair

COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (40, 70, 220),
    "yellow": (240, 220, 50),
    "purple": (140, 50, 170),
    "orange": (245, 140, 30),
    "white": (245, 245, 245),
    "black": (20, 20, 20),
}
SHAPES = ("circle", "square", "triangle", "diamond")
PHRASINGS = ("make the {} {}", "turn the {} {}", "change the {} to {}")
SIDE = 64


@dataclass(frozen=True)
class Scene:
    """shape, colour, ground: names. centre, radius: pixels. target: the shape's name or "background". asked: its new colour."""

    shape: str
    colour: str
    ground: str
    centre: tuple[float, float]
    radius: float
    target: str
    asked: str
    phrasing: str

    @property
    def instruction(self) -> str:
        return self.phrasing.format(self.target, self.asked)

    @cached_property
    def inside(self) -> np.ndarray:
        """(64, 64), True on the shape."""
        return filled(self.shape, self.centre, self.radius, (SIDE, SIDE))

    @property
    def region(self) -> np.ndarray:
        """(64, 64), True where the instruction acts."""
        return ~self.inside if self.target == "background" else self.inside

    def drawn(self, colour: str, ground: str) -> Image.Image:
        pixels = np.where(self.inside[..., None], COLOURS[colour], COLOURS[ground])
        return Image.fromarray(pixels.astype(np.uint8))

    @property
    def edited_colours(self) -> tuple[str, str]:
        """(colour, ground) when the instruction is followed."""
        return (self.colour, self.asked) if self.target == "background" else (self.asked, self.ground)

    def caption(self, colour: str, ground: str) -> str:
        return f"a {colour} {self.shape} on a {ground} background"

    def pair(self) -> Pair:
        before, after = (self.colour, self.ground), self.edited_colours
        return Pair(
            original_image=self.drawn(*before),
            edited_image=self.drawn(*after),
            edit_prompts=(self.instruction,),
            original_prompt=self.caption(*before),
            edited_prompt=self.caption(*after),
            mask=Image.fromarray(self.region).convert("L"),
            extra={"target": self.target, "asked": self.asked},
        )


def filled(shape: str, centre: tuple[float, float], radius: float, size: tuple[int, int]) -> np.ndarray:
    """shape: its name; centre, radius, size (width, height): pixels → (height, width), True on the shape."""
    canvas = Image.new("L", size)
    (x, y), r = centre, radius
    outlines = {
        "square": [(x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r)],
        "triangle": [(x, y - r), (x + r, y + r), (x - r, y + r)],
        "diamond": [(x, y - r), (x + r, y), (x, y + r), (x - r, y)],
    }
    draw = ImageDraw.Draw(canvas)
    if shape == "circle":
        draw.ellipse((x - r, y - r, x + r, y + r), fill=255)
    else:
        draw.polygon(outlines[shape], fill=255)
    return np.asarray(canvas) > 0


def nearest(colour: np.ndarray) -> str:
    """colour: (3,) in [0, 255] → its name in the palette."""
    return min(COLOURS, key=lambda name: float(np.square(colour - COLOURS[name]).sum()))


def inner(region: np.ndarray, margin: int) -> np.ndarray:
    """region: (h, w), True inside → the same without the pixels near its outline, which an autoencoder blurs. margin: pixels."""
    return np.asarray(Image.fromarray(region).convert("L").filter(ImageFilter.MinFilter(2 * margin + 1))) > 0


def scene(number: int, seed: int = 0) -> Scene:
    """Scene `number`: colours of shape, ground and request are three different ones."""
    rng = np.random.default_rng([seed, number])
    colour, ground, asked = rng.permutation(list(COLOURS))[:3]
    shape = str(rng.choice(SHAPES))
    radius = float(rng.uniform(12, 20))
    x, y = (float(c) for c in rng.uniform(radius + 3, SIDE - radius - 3, 2))
    target = shape if rng.random() < 0.5 else "background"
    return Scene(shape, str(colour), str(ground), (x, y), radius, target, str(asked), str(rng.choice(PHRASINGS)))


class Scenes:
    """`count` scenes as a pair set."""

    name = "scenes"

    def __init__(self, count: int, seed: int = 0):
        self.count, self.seed = count, seed
        self.fingerprint = f"scenes {count} {seed}"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> Pair:
        return scene(i, self.seed).pair()

    def texts(self, i: int) -> dict[str, str | tuple[str, ...]]:
        described = scene(i, self.seed)
        captions = described.caption(described.colour, described.ground), described.caption(*described.edited_colours)
        return {"edit_prompts": (described.instruction,), "original_prompt": captions[0], "edited_prompt": captions[1]}

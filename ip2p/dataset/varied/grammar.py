"""Descriptions drawn by chance, and the words that a person might put them in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ..scenes import COLOURS, SHAPES
from .description import ABOVE, GROUND_WORDS, LEFT_OF, PLACES, SHAPE_WORDS, SIZE_WORDS, TEXTURE_WORDS, Description, Thing

TWO, SIZED, TEXTURED, PLACED = 0.2, 0.4, 0.3, 0.35  # shares of descriptions
ONE_THING = (
    "a {thing}{place} on a {ground} {word}", "a {thing}{place} on a {ground} {word}", "a {thing}{place}, on a {ground} {word}",
    "a {thing}{place} against a {ground} {word}", "there is a {thing}{place} on a {ground} {word}", "on a {ground} {word}, a {thing}{place}",
    "a {ground} {word} with a {thing}{place}", "a picture of a {thing}{place} on a {ground} {word}", "a {thing}{place} in front of a {ground} {word}",
)  # fmt: skip
TWO_THINGS = {
    LEFT_OF: (
        "a {thing} left of a {other} on a {ground} {word}", "a {other} to the right of a {thing} on a {ground} {word}",
        "a {thing} on the left and a {other} on the right, on a {ground} {word}", "on a {ground} {word}, a {thing} to the left of a {other}",
    ),
    ABOVE: (
        "a {thing} above a {other} on a {ground} {word}", "a {other} below a {thing} on a {ground} {word}",
        "a {thing} at the top and a {other} at the bottom, on a {ground} {word}", "on a {ground} {word}, a {thing} over a {other}",
    ),
}  # fmt: skip
AT = {"left": "on the left", "right": "on the right", "top": "at the top", "bottom": "at the bottom"}


WORDS: tuple[Mapping[str, tuple[str, ...]], ...] = SHAPE_WORDS, SIZE_WORDS, TEXTURE_WORDS


@dataclass(frozen=True)
class Wording:
    """Which words a person uses. template: its number; ground: the word for it; shapes, sizes, textures: words for what is said."""

    template: int
    ground: str
    shapes: dict[str, str]
    sizes: dict[str, str]
    textures: dict[str, str]

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Wording:
        template = int(rng.integers(1000))
        ground = str(rng.choice(GROUND_WORDS, p=(0.6, 0.2, 0.2)))
        return cls(template, ground, *(chosen(words, rng) for words in WORDS))

    def thing(self, thing: Thing) -> str:
        words = (self.sizes.get(thing.size), self.textures.get(thing.texture), thing.colour, self.shapes[thing.shape])
        return " ".join(word for word in words if word)

    def caption(self, said: Description) -> str:
        """“a small striped red disc at the top, on a blue ground”."""
        first, *others = map(self.thing, said.things)
        templates = TWO_THINGS[said.place] if others else ONE_THING
        place = f" {AT[said.place]}" if said.place in AT else ""
        text = templates[self.template % len(templates)]
        text = text.format(thing=first, other=others[0] if others else "", place=place, ground=said.ground, word=self.ground)
        return text.replace("a orange", "an orange")


def chosen(words: Mapping[str, tuple[str, ...]], rng: np.random.Generator) -> dict[str, str]:
    """One word for each thing that can be said, the plainest one in half of the draws."""
    return {said: several[0] if rng.random() < 0.5 else str(rng.choice(several)) for said, several in words.items()}


def described(rng: np.random.Generator) -> Description:
    """All colours differ, and of two things the shapes too."""
    colours = [str(colour) for colour in rng.permutation(list(COLOURS))]
    shapes = [str(shape) for shape in rng.permutation(SHAPES)]
    if rng.random() < TWO:
        things = tuple(Thing(shape, colour) for shape, colour in zip(shapes[:2], colours))
        return Description(things, colours[2], LEFT_OF if rng.random() < 0.5 else ABOVE)
    size = str(rng.choice(list(SIZE_WORDS))) if rng.random() < SIZED else ""
    texture = str(rng.choice(list(TEXTURE_WORDS))) if rng.random() < TEXTURED and size != "small" else ""
    place = str(rng.choice(PLACES)) if rng.random() < PLACED else ""
    return Description((Thing(shapes[0], colours[0], size, texture),), colours[1], place)


def captions(seed: int) -> Iterator[tuple[Description, Wording, str]]:
    """Without end, each caption once."""
    seen: set[str] = set()
    number = 0
    while True:
        rng = np.random.default_rng([seed, number])
        said, wording = described(rng), Wording.drawn(rng)
        number += 1
        if (caption := wording.caption(said)) not in seen:
            seen.add(caption)
            yield said, wording, caption

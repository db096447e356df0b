"""Edits of varied scenes as a person might ask for them: the instruction, and what the scene is afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..pairs import Pair
from ..scenes import COLOURS
from .description import PLACES, SIZE_WORDS, TEXTURE_WORDS, Description
from .drawer import Drawing
from .grammar import Wording, captions

SHAPE, GROUND, SIZE, TEXTURE, PLACE = "colour of a shape", "colour of the ground", "size", "texture", "place"
KINDS = {SHAPE: 0.3, GROUND: 0.26, SIZE: 0.15, TEXTURE: 0.14, PLACE: 0.15}  # how often each is asked for
# {n}: the thing's noun, “circle”, or of two “red circle”; {c}: a colour; {g}: a word for the ground; {s}, {t}, {p}: size, texture, place.
# A new word of the edited caption is a word of the instruction, as `faithful.is_faithful` has it.
PHRASINGS = {
    SHAPE: (
        "make the {n} {c}", "turn the {n} {c}", "change the {n} to {c}", "paint the {n} {c}", "the {n} should be {c}", "colour the {n} {c}",
        "let the {n} be {c}", "{c} for the {n}", "recolour the {n} in {c}", "make it a {c} {n}", "what if the {n} were {c}?", "have a {c} {n}",
    ),
    GROUND: (
        "make the {g} {c}", "turn the {g} {c}", "change the {g} to {c}", "put it on a {c} {g}", "the {g} should be {c}", "a {c} {g}, please",
        "swap the {g} for a {c} one", "paint the {g} {c}", "set it against a {c} {g}", "let the {g} be {c}", "recolour the {g} in {c}",
    ),
    SIZE: ("make the {n} {s}", "make it {s}", "the {n} should be {s}", "change it to a {s} {n}", "I want a {s} {n}", "let the {n} be {s}"),
    TEXTURE: ("make the {n} {t}", "make it {t}", "the {n} should be {t}", "turn it into a {t} {n}", "I want a {t} {n}", "let the {n} be {t}"),
    PLACE: (
        "move the {n} to the {p}", "put it {at}", "put the {n} {at}", "shift the {n} to the {p}", "the {n} belongs {at}", "it should be {at}",
    ),
}  # fmt: skip
HELD_OUT = {  # for measuring alone
    SHAPE: ("I would like the {n} in {c}", "give the {n} a {c} colour", "could the {n} become {c}?"),
    GROUND: ("I would like the {g} in {c}", "give it a {c} {g}", "could the {g} become {c}?"),
    SIZE: ("I would like the {n} to be {s}", "could the {n} become {s}?"),
    TEXTURE: ("I would like the {n} to be {t}", "could the {n} become {t}?"),
    PLACE: ("I would like the {n} {at}", "could the {n} go to the {p}?"),
}
PLAIN = ("make the {n} plain instead of {t}", "remove the {t} pattern from the {n}", "no more {t} pattern, please")


@dataclass(frozen=True)
class SceneEdit:
    """before, after: the same picture but for what the instruction asks. target: the number of the thing, None for the ground."""

    kind: str
    before: Drawing
    after: Drawing
    instruction: str
    captions: tuple[str, str]
    target: int | None

    def row(self, name: str) -> dict[str, str]:
        """As `dataset instructions` writes them."""
        return {"id": name, "input": self.captions[0], "edit": self.instruction, "output": self.captions[1]}

    def pair(self) -> Pair:
        before, after = self.before.picture(), self.after.picture()
        return Pair(before, after, (self.instruction,), *self.captions, extra={"kind": self.kind})


def scene_edits(seed: int, held_out: bool = False) -> Iterator[SceneEdit]:
    """Without end, each of a caption of its own. held_out: in words that no other rows have."""
    for number, (said, wording, caption) in enumerate(captions(seed)):
        rng = np.random.default_rng([seed, number, 1])
        yield edit_of(said, wording, caption, rng, HELD_OUT if held_out else PHRASINGS)


def edit_of(said: Description, wording: Wording, caption: str, rng: np.random.Generator, phrasings: dict[str, tuple[str, ...]]) -> SceneEdit:  # fmt: skip
    alone = len(said.things) == 1
    kinds = {kind: share for kind, share in KINDS.items() if alone or kind in (SHAPE, GROUND)}
    if alone and said.things[0].size == "small":
        del kinds[TEXTURE]
    kind = str(rng.choice(list(kinds), p=np.array(list(kinds.values())) / sum(kinds.values())))
    target = None if kind == GROUND else int(rng.integers(len(said.things)))
    thing = said.things[target or 0]
    noun = wording.shapes[thing.shape] if alone else f"{thing.colour} {wording.shapes[thing.shape]}"
    words = {"n": noun, "g": wording.ground}
    choices = phrasings[kind]
    if kind in (SHAPE, GROUND):
        colour = one_of(rng, set(COLOURS) - {said.ground} - {other.colour for other in said.things})
        after = replace(said, ground=colour) if target is None else changed(said, target, colour=colour)
        words["c"] = colour
    elif kind == SIZE:
        after = changed(said, 0, size=(size := one_of(rng, set(SIZE_WORDS) - {thing.size})))
        words["s"] = wording.sizes[size]
    elif kind == TEXTURE:
        texture = (
            "" if thing.texture and phrasings is PHRASINGS and rng.random() < 0.4 else one_of(rng, set(TEXTURE_WORDS) - {thing.texture})
        )
        after = changed(said, 0, texture=texture)
        words["t"] = wording.textures[texture or thing.texture]
        choices = choices if texture else PLAIN
    else:
        place = one_of(rng, set(PLACES) - {said.place})
        after = replace(said, place=place)
        words |= {"p": place, "at": f"on the {place}" if place in ("left", "right") else f"at the {place}"}
    instruction = choices[int(rng.integers(len(choices)))].format(**words).replace("a orange", "an orange")
    before = Drawing.of(said, rng)
    return SceneEdit(kind, before, before.after(after), instruction, (caption, wording.caption(after)), target)


def one_of(rng: np.random.Generator, names: Iterable[str]) -> str:
    return str(rng.choice(sorted(names)))


def changed(said: Description, target: int, **parts: str) -> Description:
    things = tuple(replace(thing, **parts) if i == target else thing for i, thing in enumerate(said.things))
    return replace(said, things=things)

"""What a caption of a synthetic scene says: read from any of its many wordings, or refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ...errors import EditError
from ..scenes import COLOURS

# What is said: the words for it. The first is the plainest.
SHAPE_WORDS = {"circle": ("circle", "disc"), "square": ("square", "box"), "triangle": ("triangle",), "diamond": ("diamond", "rhombus")}
SIZE_WORDS = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}
TEXTURE_WORDS = {"striped": ("striped", "stripy"), "dotted": ("dotted", "spotted")}
GROUND_WORDS = ("background", "backdrop", "ground")
PLACES = ("left", "right", "top", "bottom")
LEFT_OF, ABOVE = "left of", "above"
RELATIONS = {  # words between two things: the relation, and whether the second one is its first
    "left of": (LEFT_OF, False), "right of": (LEFT_OF, True), "above": (ABOVE, False), "over": (ABOVE, False), "below": (ABOVE, True), "under": (ABOVE, True),
}  # fmt: skip
FILLING = frozenset(
    [
        "a",
        "an",
        "the",
        "on",
        "of",
        "in",
        "at",
        "to",
        "is",
        "there",
        "with",
        "and",
        "side",
        "picture",
        "image",
        "plain",
        "which",
        "against",
        "before",
        "front",
        "that",
        "has",
        "it",
    ]
)


def meaning(words: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    return {word: said for said, several in words.items() for word in several}


SHAPE_OF, SIZE_OF, TEXTURE_OF = meaning(SHAPE_WORDS), meaning(SIZE_WORDS), meaning(TEXTURE_WORDS)
ADJECTIVES = (*COLOURS, *SIZE_OF, *TEXTURE_OF)
THING = re.compile(r"\b((?:(?:{}),? )+)({})\b".format("|".join(ADJECTIVES), "|".join(SHAPE_OF)))
GROUND = re.compile(r"\b({}) (?:{}|picture|image)\b".format("|".join(COLOURS), "|".join(GROUND_WORDS)))
BARE_GROUND = re.compile(r"\b(?:on|against|before) (?:plain )?({})\b".format("|".join(COLOURS)))


@dataclass(frozen=True)
class Thing:
    """Names; "" of size and texture where nothing is said of them, which is of middling size and plain."""

    shape: str
    colour: str
    size: str = ""
    texture: str = ""


@dataclass(frozen=True)
class Description:
    """things: one, at `place` ("": in the middle or anywhere), or two, of which the first is left of or above the second, as place says."""

    things: tuple[Thing, ...]
    ground: str
    place: str = ""

    @property
    def drawable(self) -> bool:
        """Whether everything in it could be seen: no two parts of one colour."""
        colours = [thing.colour for thing in self.things] + [self.ground]
        return len(set(colours)) == len(colours)

    @classmethod
    def by(cls, caption: str) -> Description:
        """Raises EditError for a caption of anything else, or one that says too much or too little."""
        refused = EditError(f"“{caption[:80]}” is no caption of a synthetic scene, as “a red circle on a blue background” is")
        text = " ".join(re.sub(r"[.,;!]", " ", caption.lower()).split())
        found = list(THING.finditer(text))
        things = [thing_of(match) for match in found]
        rest = THING.sub("#", text)
        grounds = list(GROUND.finditer(rest)) or list(BARE_GROUND.finditer(rest))
        if len(grounds) != 1 or len(things) not in (1, 2) or any(thing is None for thing in things):
            raise refused
        rest = rest[: grounds[0].start()] + rest[grounds[0].end() :]
        kept = tuple(thing for thing in things if thing is not None)
        ground = grounds[0][1]
        placed = related(rest) if len(kept) == 2 else alone(rest)
        if placed is None:
            raise refused
        place, turned = placed
        return cls(kept[::-1] if turned else kept, ground, place)


def thing_of(match: re.Match[str]) -> Thing | None:
    """None where it has no colour or says something twice."""
    words = match[1].replace(",", "").split()
    colours, sizes, textures = ([word for word in words if word in known] for known in (COLOURS, SIZE_OF, TEXTURE_OF))
    if len(colours) != 1 or len(sizes) > 1 or len(textures) > 1:
        return None
    return Thing(SHAPE_OF[match[2]], colours[0], SIZE_OF[sizes[0]] if sizes else "", TEXTURE_OF[textures[0]] if textures else "")


def alone(rest: str) -> tuple[str, bool] | None:
    """What is left of a caption of one thing → its place; None where there are other words."""
    words = rest.replace("#", "").split()
    places = [word for word in words if word in PLACES]
    if len(places) > 1 or any(word not in FILLING and word not in PLACES for word in words):
        return None
    return places[0] if places else "", False


def related(rest: str) -> tuple[str, bool] | None:
    """What is left of a caption of two things → how they stand, and whether the first is the second of the relation; None where it
    does not say, or there are other words."""
    first, between, after = rest.split("#")
    if any(word not in FILLING for word in first.split()):
        return None
    found = next((relation for relation in RELATIONS if re.search(rf"\b{relation}\b", between)), None)
    sides = [[word for word in part.split() if word in PLACES] for part in (between, after)]
    relation: tuple[str, bool] | None
    if found:
        left = re.sub(rf"\b{found}\b", "", between).split()
        relation = RELATIONS[found]
    else:
        relation = {("left", "right"): (LEFT_OF, False), ("right", "left"): (LEFT_OF, True), ("top", "bottom"): (ABOVE, False), ("bottom", "top"): (ABOVE, True)}.get(
            (sides[0][0], sides[1][0]) if sides[0] and sides[1] else ("", "")
        )  # fmt: skip
        left = [word for part in (between, after) for word in part.split() if word not in PLACES]
    other = [word for word in (*left, *(after.split() if found else ())) if word not in FILLING]
    return None if other or relation is None else relation

"""Where an edit is asked to act: on what is painted, what the instruction means or what has a name, and how its outline is to be."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields

from .errors import EditError

MASK, INSTRUCTION, NAME = SOURCES = "mask", "instruction", "name"
# Regions that have a name, from the whole picture's to the face's.
NAMES = (
    "subject", "background", "sky", "person", "face", "hair", "skin", "eyes", "brows", "lips", "beard", "glasses", "hat", "neck", "clothes",
)  # fmt: skip
MAX_PIXELS, MAX_NUMBER, MAX_MARGIN = 1000, 99, 4
MARGIN = 0.25
TEXT = {MASK: "painted", INSTRUCTION: "from the instruction"}  # of an infotext
FLAGS = {"inverted": "invert", "only": "only", "scoped": "scoped"}  # in it, and the settings that they are
FIELD = re.compile(r"(threshold|feather|grow|margin|keep colour) (-?[0-9.]{1,12})")


@dataclass(frozen=True)
class Where:
    """Raises EditError when a setting is out of range.

    source: MASK, the edit's mask; INSTRUCTION, what the network says the instruction acts on; NAME, what is called `name`, one of NAMES.
    number: which one of several, counted from left to right; 0 for all of them.
    threshold: from which level on, 0 to 1, something belongs to a region that was found; None for what suits the way it was found.
    feather: over how many pixels of the photograph the edit fades in, inside its outline; None for what suits its size.
    grow: by how many pixels it reaches farther, or with a minus less far. invert: all but it.
    only: the region is cut out with its surroundings, edited at the model's own size and put back. margin: of these surroundings on each
    side, as a share of the region's longer side.
    scoped: outside the region the guidance is scaled down (`guidance.Scope`), in place of holding the latents there to the photograph in
    every step; the pixels outside stay the photograph's own in both ways.
    keep_colour: how much of the photograph's colour, without its detail, stays within the region, from 0 to 1.
    """

    source: str = MASK
    name: str = ""
    number: int = 0
    threshold: float | None = None
    feather: float | None = None
    grow: float = 0.0
    invert: bool = False
    only: bool = False
    margin: float = MARGIN
    scoped: bool = False
    keep_colour: float = 0.0

    def __post_init__(self):
        if self.source not in SOURCES:
            raise EditError(f"A region is from {', '.join(SOURCES)}, not from “{str(self.source)[:80]}”.")
        if self.source == NAME and self.name not in NAMES:
            raise EditError(f"There is no region “{str(self.name)[:80]}”. Known ones: {', '.join(NAMES)}.")
        if self.source != NAME and self.name:
            raise EditError(f"“{str(self.name)[:80]}” is the name of a region: take it from the name, or leave it out.")
        self._check("threshold", 0, 1)
        self._check("feather", 0, MAX_PIXELS)
        self._check("grow", -MAX_PIXELS, MAX_PIXELS)
        self._check("margin", 0, MAX_MARGIN)
        self._check("keep_colour", 0, 1)
        self._check("number", 0, MAX_NUMBER)
        if self.number != int(self.number):
            raise EditError(f"The number of a region must be a whole number, not {self.number}.")
        if self.number and self.invert:
            raise EditError("One of several regions can't be inverted: leave its number out.")

    def _check(self, setting: str, low: float, high: float) -> None:
        value = getattr(self, setting)
        if value is not None and not (math.isfinite(value) and low <= value <= high):
            raise EditError(f"The {setting.replace('_', ' ')} of a region must be between {low} and {high}, not {value}.")

    @property
    def what(self) -> str:
        """What a sentence calls it."""
        return self.name or {MASK: "painted region", INSTRUCTION: "place that the instruction acts on"}[self.source]

    @property
    def text(self) -> str:
        """For an infotext, in one line without a comma: “face 2; grow 4; only”."""
        parts = [(self.name or TEXT[self.source]) + (f" {self.number}" if self.number else "")]
        for setting in ("threshold", "feather", "grow", "margin", "keep_colour"):
            value = getattr(self, setting)
            if value != DEFAULTS[setting]:
                parts.append(f"{setting.replace('_', ' ')} {value:g}")
        parts += [word for word, setting in FLAGS.items() if getattr(self, setting)]
        return "; ".join(parts)


DEFAULTS = {field.name: field.default for field in fields(Where)}


def where_of(text: object) -> Where | None:
    """The settings that `Where.text` tells; None for any other text."""
    first, *rest = str(text or "").split("; ")
    number = re.fullmatch(r"(.*?)(?: ([1-9][0-9]?))?", first)
    name = number[1] if number else ""
    source = next((source for source, text in TEXT.items() if text == name), NAME)
    settings: dict = {"source": source, "name": name if source == NAME else "", "number": int(number[2] or 0) if number else 0}
    try:
        for part in rest:
            if match := FIELD.fullmatch(part):
                settings[match[1].replace(" ", "_")] = float(match[2])
            else:
                settings[FLAGS[part]] = True
        return Where(**settings)
    except (ValueError, KeyError):  # EditError is a ValueError
        return None

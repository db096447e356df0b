"""Choosing a ready instruction step by step: the kind of change, its name, what its words are filled with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import EditError
from .preset import GROUPS, OWN_GROUP, Preset

# What people come for, and the ready instruction that it begins with.
CARDS = {
    "Hair": "hair-colour", "Make-up": "lipstick", "Clothes": "clothes-colour", "Glasses": "glasses", "Beard": "beard", "Sky": "sky",
    "Background": "place", "Season": "change-season",
}  # fmt: skip
NO_WORD = "–"  # in the list of words of which there may be a result for every choice
MOST_WORDS = 3  # words to fill in that there are fields for; the rest keep their defaults


def groups_of(presets: Mapping[str, Preset]) -> list[str]:
    """The kinds of change, our own in their order, the person's own last."""
    return [*GROUPS, *sorted({preset.group for preset in presets.values()} - set(GROUPS) - {OWN_GROUP}), OWN_GROUP]


def names_of(presets: Mapping[str, Preset], group: str) -> list[str]:
    return [preset.name for preset in presets.values() if preset.group == group]


def chosen(presets: Mapping[str, Preset], group: str, name: str) -> Preset | None:
    """The preset of a kind that has this name."""
    return next((preset for preset in presets.values() if (preset.group, preset.name) == (group, name)), None)


def filled(preset: Preset, words: Sequence[str]) -> str:
    """The instruction with the fields' texts in it, in the order of `Preset.words`; an empty one stands for the default. Raises EditError."""
    return preset.instruction_for(**{word: text or None for word, text in zip(preset.words, words)})


def variations_of(preset: Preset | None, word: str, texts: Sequence[str | None]) -> str:
    """Instructions with every choice of a word, one a line. texts: of the fields of the preset's first words. Nothing where no word is
    chosen, or what the fields hold can't be filled in."""
    if preset is None or word == NO_WORD:
        return ""
    try:
        return "\n".join(preset.variations(word, **{name: text or None for name, text in zip(preset.words[:MOST_WORDS], texts)}))
    except EditError:
        return ""


def words_with_choices(preset: Preset) -> list[str]:
    """Those of which there may be a result for every choice, after `NO_WORD`."""
    return [NO_WORD, *(word for word in preset.words if preset.choices.get(word))]

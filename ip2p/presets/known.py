"""Which kinds of change a model was made for, by the instructions that it names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from .preset import Preset

# Words that say how something is asked for, not what.
ASKING = frozenset(("a", "add", "an", "and", "in", "it", "like", "look", "make", "of", "on", "one", "the", "to", "up", "with"))


def groups_known(presets: Mapping[str, Preset], instructions: Sequence[str]) -> set[str]:
    """The groups of which the model names something: the word of a preset's name, or what a preset asks for with one of its choices.

    instructions: those that the model names (`checkpoints.defaults.instructions_for`).
    """
    examples = [words_of(instruction) for instruction in instructions]
    return {preset.group for preset in presets.values() if any(said & example == said for said in said_by(preset) for example in examples)}


def said_by(preset: Preset) -> Iterator[frozenset[str]]:
    """The words of its name one by one, and those of its instruction with each of its choices."""
    for word in words_of(preset.name):
        yield frozenset((word,))
    for field in preset.words:
        for choice in preset.choices.get(field, ()):
            yield words_of(preset.instruction_for(**{field: choice}))


def words_of(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.casefold())) - ASKING

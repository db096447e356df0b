"""What judges a pair: the pictures before and after, their captions, and the instruction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

from PIL import Image

Scores = dict[str, float]


class Judged(Protocol):
    """A pair, as `dataset.pairs.Pair` is one. Pictures are RGB; a caption that is not known is ""."""

    @property
    def original_image(self) -> Image.Image: ...

    @property
    def edited_image(self) -> Image.Image: ...

    @property
    def original_prompt(self) -> str: ...

    @property
    def edited_prompt(self) -> str: ...

    @property
    def edit_prompt(self) -> str: ...


class PairScorer(ABC):
    """name: what it is, for people and for files of thresholds. version: changes with its weights or its question, and so with its scores.
    scores: the names of what it gives; of each, more is better."""

    name: str
    version: str = ""
    scores: tuple[str, ...]

    @abstractmethod
    def score(self, pairs: Sequence[Judged]) -> list[Scores | str]:
        """Of each pair its scores, or the reason why it has none. Raises EditError for what would fail for every pair."""

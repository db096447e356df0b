"""What writes the answers: the one interface of local models and endpoints."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from typing import Protocol

from .triplets import Answer, Ask


class Writer(Protocol):
    """model: its name. version: its weights' fingerprint, or what the endpoint says. prompt: a digest of what it is asked with."""

    model: str
    version: str
    prompt: str

    def write(self, asks: Iterable[Ask], finished: Container[str]) -> Iterator[tuple[Ask, Answer]]:
        """An answer to each whose id is not finished, as they come. Raises EditError when it can't go on."""

    def spent(self, read: int, written: int) -> None:
        """Tells it the tokens of what earlier runs of the folder wrote, before it writes."""

    def note(self) -> str:
        """What a progress bar says beside the rows."""

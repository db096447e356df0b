"""Sets whose rows also say how to go back, as HQ-Edit's do: each row is a pair, and the same pair the other way round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

INVERSE = ("inverse_edit", "inverse-edit", "inverse_edit_instruction")
SWAPPED = (("original_image", "edited_image"), ("original_prompt", "edited_prompt"))
INSTRUCTIONS = ("edit_prompt", "edit_prompts")


class Rows(Protocol):
    """A `pairs.Source`."""

    columns: Sequence[str]
    roots: Sequence[str | Path]

    def __len__(self) -> int: ...

    def row(self, i: int, columns: Sequence[str]) -> dict[str, Any]: ...

    def scan(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]: ...

    def place(self, i: int) -> tuple[str, int]: ...


def inverse_column(columns: Sequence[str]) -> str | None:
    return next((column for column in columns if column.lower() in INVERSE), None)


class BothWays:
    """A source of twice as many rows: 2i is row i, and 2i + 1 the same row backwards.

    inverse: the column that says how to go back. theirs: our column: the source's columns that hold it.
    """

    def __init__(self, source: Rows, inverse: str, theirs: Mapping[str, Sequence[str]]):
        self.source = source
        self.columns: Sequence[str] = [column for column in source.columns if column != inverse]
        self.roots = source.roots
        self.taken_from = backwards(inverse, theirs)

    def __len__(self) -> int:
        return 2 * len(self.source)

    def place(self, i: int) -> tuple[str, int]:
        return self.source.place(i // 2)

    def row(self, i: int, columns: Sequence[str]) -> dict[str, Any]:
        if i % 2 == 0:
            return self.source.row(i // 2, columns)
        return self.turned(self.source.row(i // 2, self.needed(columns)), columns)

    def scan(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        needed = list(dict.fromkeys([*columns, *self.needed(columns)]))
        for row in self.source.scan(needed):
            forwards = {name: value for name, value in row.items() if name in columns or name not in needed}
            yield from (forwards, self.turned(row, columns))

    def needed(self, columns: Sequence[str]) -> list[str]:
        """Of the source, for a row backwards."""
        places = (self.taken_from.get(column, column) for column in columns)
        return list(dict.fromkeys(place for place in places if place is not None))

    def turned(self, row: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
        """What a source adds of its own, as why a row is broken, stays."""
        own = {name: value for name, value in row.items() if name not in self.source.columns}
        places = {column: self.taken_from.get(column, column) for column in columns}
        return own | {column: None if place is None else row[place] for column, place in places.items()}


def backwards(inverse: str, theirs: Mapping[str, Sequence[str]]) -> dict[str, str | None]:
    """Of columns that hold something else backwards, where that is; None for nothing."""
    taken_from: dict[str, str | None] = {}
    for pair in SWAPPED:
        for to, of in (pair, pair[::-1]):
            if to in theirs:
                taken_from[theirs[to][0]] = theirs[of][0] if of in theirs else None
    instructions = [column for ours in INSTRUCTIONS for column in theirs.get(ours, ())]
    return taken_from | dict.fromkeys(instructions) | {instructions[0]: inverse}

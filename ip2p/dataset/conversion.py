"""A pair set as one parquet file or in the original folder layout, its pictures' bytes as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import refuse_existing
from ..progress import bar
from .check import verified
from .folders import LAYOUT_FILES, write_layout
from .pairs import BrokenRow, PairSet, white_is_edited
from .parquet_writer import write_rows
from .saying import Report, sayer


def convert(pairs: PairSet, target: Path, force: bool = False, report: Report = None, source: Path | None = None) -> int:
    """Writes parquet where `target` ends in .parquet, else the original layout; broken rows are named by `report` and left out. Returns the
    number of pairs written. Raises EditError when no row is whole, and as `files.refuse_existing` does; source: where the pairs lie,
    which is never replaced.
    """
    sources = [source] if source else []
    refuse_target(target, force, sources)
    return write_as_named((row for _, row in whole_rows(pairs, report)), target, force, sources)


def is_parquet(target: Path) -> bool:
    return target.suffix.lower() == ".parquet"


def refuse_target(target: Path, force: bool, sources: Sequence[Path]) -> None:
    """Raises EditError as `files.refuse_existing` does."""
    refuse_existing(target, force, sources=sources, ours=() if is_parquet(target) else LAYOUT_FILES)


def write_as_named(rows: Iterable[Mapping[str, Any]], target: Path, force: bool, sources: Sequence[Path]) -> int:
    """Parquet where `target` ends in .parquet, else the original layout. → the number of pairs. Raises EditError."""
    return (write_rows if is_parquet(target) else write_layout)(rows, target, force, sources)


def whole_rows(pairs: PairSet, report: Report = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each row's number, and the row as `PairSet.raw` gives it, its mask white where it is edited; broken ones are named by `report`."""
    shown = bar(len(pairs), "row")
    say = sayer(report, shown)
    try:
        for i, row in verified(pairs):
            shown.update()
            if isinstance(row, BrokenRow):
                say(str(row))
            else:
                yield i, row | {"mask": row["mask"] and white_is_edited(row["mask"])}
    finally:
        shown.close()

"""A pair set as one parquet file or in the original folder layout, its pictures' bytes as they are."""

from __future__ import annotations

from collections.abc import Iterator
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
    to_parquet, sources = target.suffix.lower() == ".parquet", [source] if source else []
    refuse_existing(target, force, sources=sources, ours=() if to_parquet else LAYOUT_FILES)
    return (write_rows if to_parquet else write_layout)(whole_rows(pairs, report), target, force, sources)


def whole_rows(pairs: PairSet, report: Report = None) -> Iterator[dict[str, Any]]:
    """As `PairSet.raw` gives them, their masks white where it is edited."""
    shown = bar(len(pairs), "row")
    say = sayer(report, shown)
    try:
        for _, row in verified(pairs):
            shown.update()
            if isinstance(row, BrokenRow):
                say(str(row))
            else:
                yield row | {"mask": row["mask"] and white_is_edited(row["mask"])}
    finally:
        shown.close()

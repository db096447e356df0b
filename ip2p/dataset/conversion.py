"""A pair set as one parquet file or in the original folder layout, its pictures' bytes as they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..progress import bar
from .check import verified
from .folders import write_layout
from .pairs import BrokenRow, PairSet, white_is_edited
from .parquet_writer import write_rows
from .report import Report, sayer


def convert(pairs: PairSet, target: Path, force: bool = False, report: Report = None) -> int:
    """Writes parquet where `target` ends in .parquet, else the original layout; broken rows are named by `report` and left out. Returns the
    number of pairs written. Raises EditError when `target` exists and not `force`, or no row is whole.
    """
    write = write_rows if target.suffix.lower() == ".parquet" else write_layout
    return write(whole_rows(pairs, report), target, force)


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

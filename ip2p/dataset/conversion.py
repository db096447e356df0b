"""python -m ip2p dataset convert: a pair set into one parquet file or the original folder layout, its pictures' bytes as they are."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from ..files import refuse_existing
from ..progress import bar
from .check import verified
from .pairs import SET_HELP, SPLIT_HELP, BrokenRow, PairSet, open_pairs, white_is_edited


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("source", metavar="SOURCE", help=SET_HELP)
    add("target", type=Path, metavar="TARGET", help="a .parquet file, or a folder for the original layout")
    add("--split", help=SPLIT_HELP)
    add("--force", action="store_true", help="overwrite the target")


def run(args: argparse.Namespace) -> int:
    pairs = open_pairs(args.source, args.split, in_order=True)
    written = convert(pairs, args.target, args.force, Path(args.source))
    broken = len(pairs) - written
    print(f"Wrote {args.target}: {written} pairs{f'; {broken} broken ones were left out' if broken else ''}.")
    return 0


def convert(pairs: PairSet, target: Path, force: bool = False, source: Path | None = None) -> int:
    """Writes parquet where `target` ends in .parquet, else the original layout; broken rows are named on stderr and left out. Returns the
    number of pairs written. Raises EditError when `target` exists and not `force`, or no row is whole.
    """
    from .folders import LAYOUT_FILES, write_layout
    from .tables import write_rows

    write = write_rows if target.suffix.lower() == ".parquet" else write_layout
    sources = [source] if source else []
    refuse_existing(target, force, sources=sources, ours=() if write is write_rows else LAYOUT_FILES)
    return write(whole_rows(pairs), target, force, sources)


def whole_rows(pairs: PairSet) -> Iterator[dict]:
    shown = bar(len(pairs), "row")
    try:
        for _, row in verified(pairs):
            shown.update()
            if isinstance(row, BrokenRow):
                shown.write(str(row), file=sys.stderr)
            else:
                yield row | {"mask": row["mask"] and white_is_edited(row["mask"])}
    finally:
        shown.close()

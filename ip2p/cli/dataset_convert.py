"""python -m ip2p dataset convert: a pair set as one parquet file or the original layout."""

from __future__ import annotations

import argparse
from pathlib import Path

from .pair_set_options import add_set, add_split


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_set(parser, "source")
    add("target", type=Path, metavar="TARGET", help="a .parquet file, or a folder for the original layout")
    add_split(parser)
    add("--force", action="store_true", help="overwrite the target")


def run(args: argparse.Namespace) -> int:
    from ..dataset.conversion import convert
    from ..dataset.open import open_pairs

    pairs = open_pairs(args.source, args.split, in_order=True)
    written = convert(pairs, args.target, args.force, source=Path(args.source))
    broken = len(pairs) - written
    print(f"Wrote {args.target}: {written} pairs{f'; {broken} broken ones were left out' if broken else ''}.")
    return 0

"""python -m ip2p dataset scenes: rows of synthetic scenes for `dataset pairs`, their exact pairs, and what the pairs drawn of them show."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import EditError

ROWS, UNSEEN = 100, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("pairs", nargs="?", metavar="PAIRS", help="pairs that dataset pairs drew of such rows, to be judged by their pixels (default: rows are written)")  # fmt: skip
    add("--output", type=Path, required=True, metavar="FILE", help="rows as .jsonl, or as .parquet with their exact pairs; or the judged pairs, with the scores first, second, overlap and right")  # fmt: skip
    add("--rows", type=int, default=ROWS, metavar="N", help=f"how many rows (default: {ROWS})")
    add("--seed", type=int, default=UNSEEN, help=f"of the scenes; trained models have seen those of 0 (default: {UNSEEN})")
    add("--plot", type=Path, metavar="FILE", help="of the judged pairs: the shares over p, as PNG")
    add("--force", action="store_true", help="overwrite the output")


def run(args: argparse.Namespace) -> int:
    return judged(args) if args.pairs else written(args)


def written(args: argparse.Namespace) -> int:
    from ..dataset.generated.scene_rows import write_scene_rows
    from ..dataset.parquet_writer import write_pairs
    from ..dataset.scenes import Scenes

    if args.rows < 1:
        raise EditError(f"--rows is at least 1, not {args.rows}.")
    if args.plot:
        raise EditError("--plot is of pairs: name them, or leave it out.")
    exact = args.output.suffix.lower() == ".parquet"
    if exact:
        write_pairs(map(Scenes(args.rows, args.seed).__getitem__, range(args.rows)), args.output, args.force)
    else:
        write_scene_rows(args.output, args.rows, args.seed, args.force)
    print(f"Wrote {args.output}: {args.rows} {'exact pairs' if exact else 'rows'} of synthetic scenes.")
    return 0


def judged(args: argparse.Namespace) -> int:
    from ..dataset.generated.scene_rows import judge_pairs, plot_shares, table_of
    from ..dataset.open import open_pairs

    truths = judge_pairs(open_pairs(args.pairs, in_order=True), args.output, args.force, source=Path(args.pairs))
    for line in table_of(truths):
        print(line)
    if args.plot:
        plot_shares(truths, args.plot)
    return 0

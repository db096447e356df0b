"""python -m ip2p dataset scenes: captions, rows and exact pairs of synthetic scenes, and what pairs drawn of them show."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import EditError

ROWS, UNSEEN = 100, 1
CAPTIONS, EXACT = ".txt", ".parquet"  # suffixes of the output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("pairs", nargs="?", metavar="PAIRS", help="pairs that dataset pairs drew of such rows, to be judged by their pixels (default: rows are written)")  # fmt: skip
    add("--output", type=Path, required=True, metavar="FILE", help="rows as .jsonl, as .parquet with their exact pairs, or of --varied as .txt their captions alone; or the judged pairs, with the scores first, second, overlap and right")  # fmt: skip
    add("--rows", type=int, metavar="N", help=f"how many rows (default: {ROWS})")
    add("--seed", type=int, default=UNSEEN, help=f"of the scenes; trained models have seen those of 0 (default: {UNSEEN})")
    add("--varied", action="store_true", help="scenes of every size, place and texture, of one thing or two, in many words (default: one plain thing, whose colour or whose ground's changes)")  # fmt: skip
    add("--unlike", type=Path, metavar="ROWS", help="of --varied: leave out the captions that these rows have")
    add(
        "--exact",
        type=Path,
        metavar="ROWS",
        help="draw the exact pairs of these rows, a .jsonl or .parquet or a folder of dataset instructions",
    )
    add("--plot", type=Path, metavar="FILE", help="of the judged pairs: the shares over p, as PNG")
    add("--force", action="store_true", help="overwrite the output")


def run(args: argparse.Namespace) -> int:
    check(args)
    if args.pairs:
        return judged(args)
    if args.exact:
        return exact(args)
    return varied(args) if args.varied else written(args)


def check(args: argparse.Namespace) -> None:
    """Raises EditError for options that do not go together, before anything is read."""
    if args.rows is not None and args.rows < 1:
        raise EditError(f"--rows is at least 1, not {args.rows}.")
    if args.plot and not args.pairs:
        raise EditError("--plot is of pairs: name them, or leave it out.")
    if args.pairs and (given := next((name for name in ("exact", "varied", "unlike") if getattr(args, name)), None)):
        raise EditError(f"--{given} is of rows that are written: leave it out where PAIRS are judged.")
    if args.exact and (args.varied or args.unlike or args.rows):
        raise EditError("--exact takes the rows as they are: leave --varied, --unlike and --rows out.")
    if args.unlike and not args.varied:
        raise EditError("--unlike goes with --varied.")
    suffix = args.output.suffix.lower()
    if args.exact and suffix != EXACT:
        raise EditError(f"--exact writes a .parquet file, and {args.output.name} is not.")
    if suffix == CAPTIONS and not args.varied:
        raise EditError("Captions alone, as .txt, are of --varied scenes.")


def written(args: argparse.Namespace) -> int:
    from ..dataset.generated.scene_rows import write_scene_rows
    from ..dataset.parquet_writer import write_pairs
    from ..dataset.scenes import Scenes

    count = args.rows or ROWS
    exact = args.output.suffix.lower() == EXACT
    if exact:
        write_pairs(map(Scenes(count, args.seed).__getitem__, range(count)), args.output, args.force)
    else:
        write_scene_rows(args.output, count, args.seed, args.force)
    print(f"Wrote {args.output}: {count} {'exact pairs' if exact else 'rows'} of synthetic scenes.")
    return 0


def varied(args: argparse.Namespace) -> int:
    from itertools import islice

    from ..dataset.generated.scene_rows import unlike, write_lines
    from ..dataset.parquet_writer import write_pairs
    from ..dataset.varied.scene_edits import scene_edits

    count, suffix = args.rows or ROWS, args.output.suffix.lower()
    edits = islice(unlike(scene_edits(args.seed), args.unlike), count)
    if suffix == EXACT:
        write_pairs((edit.pair() for edit in edits), args.output, args.force)
    elif suffix == CAPTIONS:
        write_lines(args.output, (edit.captions[0] for edit in edits), args.force)
    else:
        write_lines(args.output, (edit.row(f"varied-{args.seed}-{i}") for i, edit in enumerate(edits)), args.force)
    print(f"Wrote {args.output}: {count} {({EXACT: 'exact pairs', CAPTIONS: 'captions'}).get(suffix, 'rows')} of varied scenes.")
    return 0


def exact(args: argparse.Namespace) -> int:
    from ..dataset.generated.scene_rows import write_exact_pairs
    from .exits import name_bad

    count, bad = write_exact_pairs(args.exact, args.output, args.seed, args.force)
    name_bad("rows", args.exact, bad)
    print(f"Wrote {args.output}: {count} exact pairs of the scenes that its rows tell of.")
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

"""python -m ip2p dataset calibrate: the thresholds of `dataset filter` for a scorer, from pairs whose truth is known."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import EditError
from ..files import refuse_existing
from . import filter_options
from .exits import note
from .pair_set_options import add_set

if TYPE_CHECKING:
    from ..dataset.filtering.calibration import Calibration

COUNT, RIGHT, BEFORE = 300, 0.9, 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_set(parser, "pairs")
    add("--output", type=Path, required=True, metavar="FILE", help="the thresholds to write, .yaml")
    add("--right", type=float, default=RIGHT, metavar="SHARE", help=f"of right pairs among those kept (default: {RIGHT})")
    add("--before", type=float, default=BEFORE, metavar="SHARE", help=f"of right pairs before the filter, where the set has no score “right” and wrong ones are made (default: {BEFORE})")  # fmt: skip
    add("--count", type=int, default=COUNT, metavar="N", help=f"rows to look at, drawn by chance (default: {COUNT})")
    add("--seed", type=int, default=0, help="draws the rows, the halves and the wrong pairs (default: 0)")
    add("--force", action="store_true", help="overwrite the output")
    filter_options.add_scorers(parser)


def run(args: argparse.Namespace) -> int:
    from ..dataset.filtering.calibration import Asked, calibrated
    from ..dataset.filtering.calibration_lines import lines_of
    from ..dataset.open import open_pairs

    check(args)
    pairs = open_pairs(args.pairs)
    scorers = filter_options.scorers_of(args, args.device)
    if not scorers:
        raise EditError("Name what scores by --scorer: thresholds are found for it.")
    asked = Asked(args.right, args.before, args.count, args.seed)
    found = calibrated(pairs, scorers, asked)
    for line in lines_of(found):
        print(line)
    found.thresholds(scorers, asked, pairs.name).write(args.output, args.force)
    warn(found, args.right)
    print(f"Wrote {args.output}.")
    return 0


def warn(found: Calibration, wanted: float) -> None:
    share = found.together.kept.right
    if share < wanted:
        note(
            f"Of the held-out pairs that are kept {share:.1%} are right, fewer than {wanted:.1%}: ask for more by --right, or add a --scorer."
        )
    if found.unscored:
        note(f"{found.unscored:,} pairs could not be scored.")


def check(args: argparse.Namespace) -> None:
    """Raises EditError for an option that can't be used, before anything is read."""
    filter_options.check(args)
    refuse_existing(args.output, args.force)
    if args.output.suffix.lower() not in (".yaml", ".yml"):
        raise EditError(f"The thresholds are a .yaml file, and {args.output.name} is not.")
    for option, share in (("--right", args.right), ("--before", args.before)):
        if not 0 < share < 1:
            raise EditError(f"{option} is a share between 0 and 1, not {share:g}.")
    if args.count < 4:
        raise EditError(f"--count is at least 4, not {args.count}.")

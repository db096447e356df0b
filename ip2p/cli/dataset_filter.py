"""python -m ip2p dataset filter: scores the pairs of a set, and writes those that are good enough."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from . import filter_options
from .exits import INTERRUPTED, say
from .pair_set_options import add_set


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_set(parser, "pairs")
    add("--output", type=Path, required=True, metavar="SET", help="a .parquet file, or a folder for the original layout")
    filter_options.add_choice(parser)
    add("--scores", type=Path, metavar="DIR", help="where scores are stored, to be used again (default: beside the pairs, PAIRS.scores)")
    add("--retry", action="store_true", help="score those again that could not be scored")
    add("--force", action="store_true", help="overwrite the output")
    filter_options.add_scorers(parser)


def run(args: argparse.Namespace) -> int:
    """What is interrupted goes on with the pairs that are not scored."""
    from ..dataset.filtering.filter_run import Filtering, filtered
    from ..dataset.filtering.score_store import ScoreStore, folder_beside
    from ..dataset.open import open_pairs

    filter_options.check(args)
    store = ScoreStore(args.scores or folder_beside(args.pairs))
    pairs = open_pairs(args.pairs, in_order=True)
    scorers = filter_options.scorers_of(args, args.device)
    selection = filter_options.selection_of(args, scorers)
    try:
        tell(filtered(pairs, scorers, store, Filtering(args.pairs, selection, args.output, args.force, args.retry)), args.output)
    except KeyboardInterrupt:
        return say("Interrupted. The same command goes on from here.", INTERRUPTED)
    return 0


def tell(counts: Mapping[str, int], output: Path) -> None:
    """counts: of pairs by the reason why they are not kept, "" for those that are."""
    kept, total = counts.get("", 0), sum(counts.values())
    print(f"Wrote {output}: {kept:,} of {total:,} pairs.")
    for reason, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if reason:
            print(f"  {count:>9,}  {reason}")

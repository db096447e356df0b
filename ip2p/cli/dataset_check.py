"""python -m ip2p dataset check: every row decoded, the broken ones named."""

from __future__ import annotations

import argparse
import sys

from ..errors import EditError
from .pair_set_options import add_set, add_split

MAX_BROKEN = 0.01


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_set(parser)
    add_split(parser)
    add("--max-broken", type=float, default=MAX_BROKEN, metavar="SHARE", help=f"a larger share is an error (default: {MAX_BROKEN})")
    add("--again", action="store_true", help="also what was checked before")


def run(args: argparse.Namespace) -> int:
    if not 0 <= args.max_broken <= 1:
        raise EditError(f"--max-broken is a share between 0 and 1, not {args.max_broken}.")
    from ..dataset.check import broken_rows, judge
    from ..dataset.open import open_pairs

    pairs = open_pairs(args.set, args.split, in_order=True)
    broken = broken_rows(pairs, sys.stdout, again=args.again)
    print(f"{len(pairs) - len(broken)} of {len(pairs)} rows are whole.")
    judge(pairs, len(broken), args.max_broken)
    return 0

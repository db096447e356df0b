"""python -m ip2p dataset view: a sheet of pairs."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import EditError
from ..files import refuse_existing, written_whole
from .pair_set_options import add_set, add_split

COUNT, MAX_COUNT = 12, 400


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_set(parser)
    add("--output", type=Path, required=True, help="the picture to write, .png or .jpg")
    add("--count", type=int, default=COUNT, help=f"pairs to show (default: {COUNT})")
    add("--seed", type=int, help="choose them by chance, other ones with each seed (default: the first ones)")
    add_split(parser)
    add("--force", action="store_true", help="overwrite the output")


def run(args: argparse.Namespace) -> int:
    if args.output.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise EditError(f"The sheet is a .png or a .jpg, and {args.output.name} is not.")
    if not 1 <= args.count <= MAX_COUNT:
        raise EditError(f"--count is between 1 and {MAX_COUNT}, not {args.count}.")
    refuse_existing(args.output, args.force)
    from ..dataset.open import open_pairs
    from ..dataset.view import cells_of, sheet

    pairs = open_pairs(args.set, args.split, in_order=args.seed is None)
    cells, broken = cells_of(pairs, args.count, args.seed)
    if not cells:
        raise EditError(f"{pairs.name} has no row that can be shown.")
    with written_whole(args.output, args.force) as beside:
        sheet(cells).save(beside, "PNG" if args.output.suffix.lower() == ".png" else "JPEG", quality=92)
    print(f"{args.output}: {len(cells)} of {len(pairs)} pairs{f'; {broken} broken ones were passed over' if broken else ''}.")
    return 0

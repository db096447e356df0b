"""python -m ip2p dataset status: how far a run of `dataset instructions` or `dataset pairs` is, and what it made."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="what dataset instructions or dataset pairs writes to, finished or not")


def run(args: argparse.Namespace) -> int:
    from ..dataset.generated.pair_run import is_pair_run

    for line in lines_of_pairs(args.folder) if is_pair_run(args.folder) else lines_of_instructions(args.folder):
        print(line)
    return 0


def lines_of_pairs(folder: Path) -> list[str]:
    from ..dataset.generated.pair_status import told

    return told(folder)


def lines_of_instructions(folder: Path) -> list[str]:
    from ..dataset.instructions.status import told

    return told(folder)

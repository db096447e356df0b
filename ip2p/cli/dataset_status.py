"""python -m ip2p dataset status: how far a run of `dataset instructions` is, and what it made."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="what dataset instructions writes to, finished or not")


def run(args: argparse.Namespace) -> int:
    from ..dataset.instructions.status import told

    for line in told(args.folder):
        print(line)
    return 0

"""python -m ip2p train CONFIG key=value …"""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path

from .exits import INTERRUPTED, say

CONFIGS = Path(__file__).parents[1] / "configs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = ", ".join(str(path.relative_to(CONFIGS).with_suffix("")) for path in sorted(CONFIGS.rglob("*.yaml")))
    parser.add_argument("config", type=Path, help=f"a yaml file, or the name of one that comes with the package: {names}")
    parser.add_argument(
        "changes", nargs="*", metavar="key=value", help="settings in place of the file's, for instance seed=1 stages.edit.steps=100"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Trains, or goes on where the same command stopped."""
    from ..training.config import load

    path = args.config if args.config.is_file() else CONFIGS / f"{args.config}.yaml"
    config = load(path if path.is_file() else args.config, args.changes)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    from ..training.train import finish, train

    try:
        finish(config, train(config))
    except KeyboardInterrupt:
        return say("Interrupted. The same command goes on from the last saved state.", INTERRUPTED) if main_process() else INTERRUPTED
    return 0


def main_process() -> bool:
    return os.environ.get("RANK", "0") == "0"

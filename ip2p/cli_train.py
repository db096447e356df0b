"""python -m ip2p train CONFIG key=value …"""

from __future__ import annotations

import argparse
from pathlib import Path

from .edit import EditError

CONFIGS = Path(__file__).with_name("configs")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = ", ".join(path.stem for path in sorted(CONFIGS.glob("*.yaml")))
    parser.add_argument("config", type=Path, help=f"a yaml file, or the name of one that comes with the package: {names}")
    parser.add_argument(
        "changes", nargs="*", metavar="key=value", help="settings in place of the file's, for instance seed=1 stages.edit.steps=100"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Trains, or goes on where the same command stopped."""
    from .training.config import load

    path = args.config if args.config.is_file() else CONFIGS / f"{args.config}.yaml"
    config = load(path if path.is_file() else args.config, args.changes)
    from .training.run import finish, train

    try:
        finish(config, train(config))
    except KeyboardInterrupt:
        raise EditError("Stopped; the state is saved: the same command goes on from there.") from None
    return 0

"""python -m ip2p app: serves the page."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..checkpoints.packaged import CHOICES, FAST

OWN = Path("~/.instruct-edit")
THIS_MACHINE = (None, "127.0.0.1", "localhost", "::1")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", help=f"{CHOICES} (default: {FAST.name})")
    parser.add_argument("--host", help="address to listen at (default: this machine only)")
    parser.add_argument("--port", type=int, help="port to listen at (default: the first free one from 7860)")
    parser.add_argument("--share", action="store_true", help="also serve a public link through Gradio's servers (default: off)")
    parser.add_argument(
        "--presets",
        type=Path,
        metavar="FOLDER",
        help=f"where ready instructions of your own are kept (default: {OWN}; none where other machines reach the page, whose visitors share them)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serves the page until interrupted."""
    from ..app import CSS, build

    alone = args.host in THIS_MACHINE and not args.share
    own = args.presets or (OWN if alone else None)
    build(args.model or FAST.name, own and own.expanduser()).launch(server_name=args.host, server_port=args.port, share=args.share, css=CSS)
    return 0

"""python -m ip2p app: serves the page."""

from __future__ import annotations

import argparse

from ..checkpoints import small


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", help=f"{small.CHOICES} (default: {small.NAME})")
    parser.add_argument("--host", help="address to listen at (default: this machine only)")
    parser.add_argument("--port", type=int, help="port to listen at (default: the first free one from 7860)")
    parser.add_argument("--share", action="store_true", help="also serve a public link through Gradio's servers (default: off)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serves the page until interrupted."""
    from ..app import CSS, build

    build(args.model or small.NAME).launch(server_name=args.host, server_port=args.port, share=args.share, css=CSS)
    return 0

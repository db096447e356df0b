"""What the verbs ask for a pair set by."""

from __future__ import annotations

import argparse

SET = "a parquet file or a folder of them, the original layout, a CSV, or a name on the Hugging Face hub"
SPLIT = "one of its splits (default: all of it)"


def add_set(parser: argparse.ArgumentParser, name: str = "set") -> None:
    parser.add_argument(name, metavar=name.upper(), help=SET)


def add_split(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--split", help=SPLIT)

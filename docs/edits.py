"""Draws edits by the small checkpoint: python docs/edits.py PICTURE --row PHOTO INSTRUCTION … --row PHOTO INSTRUCTION …

A row is a photograph and its edits, each at the photograph's own size with its own detail; one seed for all.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from PIL import Image

from ip2p.checkpoints import small
from ip2p.contact_sheet import contact_sheet
from ip2p.edit import FULL, Edit
from ip2p.editor import Editor
from ip2p.images import read_image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", type=Path, help="a PNG, JPEG or WebP to write")
    parser.add_argument("--row", nargs="+", action="append", required=True, help="a photograph and what is said to it")
    parser.add_argument("--width", type=int, default=1200, help="to which each picture is shrunk, in pixels (default: 1200)")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    editor = Editor.load(small.NAME)
    rows = [row(editor, read_image(Path(photo)).convert("RGB"), said, args) for photo, *said in args.row]
    drawing = Image.new("RGB", (max(one.width for one in rows), sum(one.height for one in rows)), "white")
    for index, one in enumerate(rows):
        drawing.paste(one, ((drawing.width - one.width) // 2, sum(above.height for above in rows[:index])))
    drawing.save(args.picture, optimize=True, quality=80, method=6)


def row(editor: Editor, photo: Image.Image, said: Sequence[str], args: argparse.Namespace) -> Image.Image:
    edits = [Edit(image=photo, instruction=text, seed=args.seed, result=FULL, **small.DEFAULTS.settings) for text in said]
    shown = [photo, *(editor.edit(edit)[0].image for edit in edits)]
    for picture in shown:
        picture.thumbnail((args.width, args.width), Image.Resampling.LANCZOS)
    return contact_sheet(shown, [""], ["the photograph", *said])


if __name__ == "__main__":
    main()

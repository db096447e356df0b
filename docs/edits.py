"""Draws edits by the small checkpoint: python docs/edits.py PICTURE --row PHOTO INSTRUCTION … --row PHOTO INSTRUCTION …

A row is a photograph and its edits, each at the photograph's own size with its own detail; one seed for all. With --column a row is one of
the edits by each way of sampling, as the network makes it at 256 pixels.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from PIL import Image

from ip2p.checkpoints.packaged import SMALL
from ip2p.contact_sheet import contact_sheet
from ip2p.edit import FULL, WORKING, Edit
from ip2p.editor import Editor
from ip2p.evaluation.modes import settings_in
from ip2p.evaluation.options import PROCEDURAL_SIZE
from ip2p.images import read_image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", type=Path, help="a PNG, JPEG or WebP to write")
    parser.add_argument("--row", nargs="+", action="append", required=True, help="a photograph and what is said to it")
    parser.add_argument(
        "--width",
        type=int,
        default=1200,
        help="to which each picture is shrunk, in pixels (default: 1200)",
    )
    parser.add_argument("--quality", type=int, default=80, help="of the picture, from 0 to 100 (default: 80)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--column", nargs=2, action="append", metavar=("LABEL", "MODE"), help="a way of sampling, as evaluate's --mode")
    args = parser.parse_args()
    drawn = columns if args.column else row
    rows = [drawn(read_image(Path(photo)).convert("RGB"), said, args) for photo, *said in args.row]
    drawing = Image.new("RGB", (max(one.width for one in rows), sum(one.height for one in rows)), "white")
    for index, one in enumerate(rows):
        drawing.paste(one, ((drawing.width - one.width) // 2, sum(above.height for above in rows[:index])))
    drawing.save(args.picture, optimize=True, quality=args.quality, method=6)


@cache
def editor_of(model: str) -> Editor:
    return Editor.load(model)


def columns(photo: Image.Image, said: Sequence[str], args: argparse.Namespace) -> Image.Image:
    shown: list[list[Image.Image]] = []
    for _, mode in args.column:
        settings = settings_in(mode)
        editor = editor_of(settings.pop("model", SMALL.name))
        usual = {**SMALL.defaults.settings, "longest_side": PROCEDURAL_SIZE, "seed": args.seed, "result": WORKING, "crop": False}
        shown.append([one.image for one in editor.edit([Edit(image=photo, instruction=text, **usual | settings) for text in said])])
    small_photo = photo.resize(shown[0][0].size, Image.Resampling.LANCZOS)
    cells = [picture.copy() for results in zip(*shown) for picture in (small_photo, *results)]
    for picture in cells:
        picture.thumbnail((args.width, args.width), Image.Resampling.LANCZOS)
    return contact_sheet(cells, said, ["the photograph", *(label for label, _ in args.column)])


def row(photo: Image.Image, said: Sequence[str], args: argparse.Namespace) -> Image.Image:
    editor = editor_of(SMALL.name)
    edits = [Edit(image=photo, instruction=text, seed=args.seed, result=FULL, **SMALL.defaults.settings) for text in said]
    shown = [photo, *(editor.edit(edit)[0].image for edit in edits)]
    for picture in shown:
        picture.thumbnail((args.width, args.width), Image.Resampling.LANCZOS)
    return contact_sheet(shown, [""], ["the photograph", *said])


if __name__ == "__main__":
    main()

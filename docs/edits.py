"""Draws edits by the small checkpoint: python docs/edits.py PICTURE.png PHOTO … --say INSTRUCTION …

Photographs down, instructions across, the untouched photograph first; one seed for all.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from PIL import ImageOps

from ip2p.checkpoints import small
from ip2p.contact_sheet import contact_sheet
from ip2p.edit import Edit
from ip2p.editor import Editor
from ip2p.images import read_image

CELL = (192, 128)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", type=Path)
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--say", nargs="+", required=True)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    editor, cells = Editor.load(small.NAME), []
    for path in args.photos:
        photo = read_image(path)
        edits = [Edit(image=photo, instruction=said, seed=args.seed, **vars(small.DEFAULTS)) for said in args.say]
        shown = [photo, *(result.image for result in editor.edit(edits))]
        cells += [ImageOps.pad(picture, CELL, color="white") for picture in shown]
    contact_sheet(cells, [""] * len(args.photos), ["before", *args.say]).save(args.picture, optimize=True)


if __name__ == "__main__":
    main()

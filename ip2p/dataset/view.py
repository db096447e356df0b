"""python -m ip2p dataset view: a sheet of pairs, each with its instruction between the picture before and the one after."""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from ..contact_sheet import GAP, font_of
from ..edit import EditError
from ..files import refuse_existing, written_whole
from ..progress import bar
from .pairs import BrokenRow, Pair, PairSet, open_pairs

COUNT, MAX_COUNT = 12, 400
SIDE = 224
TEXT, SMALL = 15, 11  # sizes of letters
GREY = "#666666"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("set", metavar="SET", help="a parquet file or a folder of them, the original layout, a CSV, or a name on the Hugging Face hub")
    add("--output", type=Path, required=True, help="the picture to write, .png or .jpg")
    add("--count", type=int, default=COUNT, help=f"pairs to show, {COUNT} when left out")
    add("--seed", type=int, help="choose them by chance, each seed others; the first ones when left out")
    add("--split", help="one of its splits; all of it when left out")
    add("--force", action="store_true", help="overwrite the output")


def run(args: argparse.Namespace) -> int:
    if args.output.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise EditError(f"The sheet is a .png or a .jpg, and {args.output.name} is none.")
    if not 1 <= args.count <= MAX_COUNT:
        raise EditError(f"--count is between 1 and {MAX_COUNT}, not {args.count}.")
    refuse_existing(args.output, args.force)
    pairs = open_pairs(args.set, args.split, in_order=args.seed is None)
    cells, broken = chosen(pairs, args.count, args.seed)
    if not cells:
        raise EditError(f"{pairs.name} has no row that can be shown.")
    with written_whole(args.output, args.force) as beside:
        sheet(cells).save(beside, "PNG" if args.output.suffix.lower() == ".png" else "JPEG", quality=92)
    print(f"{args.output}: {len(cells)} of {len(pairs)} pairs{f'; {broken} broken ones were passed over' if broken else ''}.")
    return 0


def chosen(pairs: PairSet, count: int, seed: int | None) -> tuple[list[Image.Image], int]:
    """Cells of the first `count` pairs, or of ones by chance in the set's order; broken ones are named and others taken. And their number."""
    rows = range(len(pairs)) if seed is None else random.Random(seed).sample(range(len(pairs)), len(pairs))
    cells, broken = {}, 0
    shown = bar(min(count, len(pairs)), "pair")
    try:
        for i in rows:
            if len(cells) == count:
                break
            try:
                cells[i] = cell(pairs[i], i)
                shown.update()
            except BrokenRow as e:
                shown.write(str(e), file=sys.stderr)
                broken += 1
    finally:
        shown.close()
    return [cells[i] for i in sorted(cells)], broken


def cell(pair: Pair, row: int) -> Image.Image:
    """A pair in a line: before, what is said of it, after; both pictures within SIDE x SIDE."""
    before, after = (ImageOps.contain(picture, (SIDE, SIDE)) for picture in (pair.original_image, pair.edited_image))
    drawn = Image.new("RGB", (3 * SIDE + 2 * GAP, SIDE), "white")
    for x, picture in ((0, before), (2 * (SIDE + GAP), after)):
        drawn.paste(picture, (x + (SIDE - picture.width) // 2, (SIDE - picture.height) // 2))
    if pair.mask is not None:
        outline = ImageOps.contain(pair.mask, (SIDE, SIDE))
        drawn.paste(tinted(before, outline), ((SIDE - before.width) // 2, (SIDE - before.height) // 2))
    draw_texts(ImageDraw.Draw(drawn), pair, row, SIDE + 2 * GAP)
    return drawn


def tinted(picture: Image.Image, mask: Image.Image) -> Image.Image:
    """What is edited under a thin veil of red."""
    veil = Image.blend(picture, Image.new("RGB", picture.size, "red"), 0.35)
    return Image.composite(veil, picture, mask.resize(picture.size))


def draw_texts(draw: ImageDraw.ImageDraw, pair: Pair, row: int, left: int) -> None:
    """The phrasings, the captions and the figures, one below the other; what does not fit is cut with an ellipsis."""
    width, bottom = SIDE - 2 * GAP, SIDE - 2
    figures = [f"row {row}"] + ([f"seed {pair.seed}"] if pair.seed is not None else [])
    figures += [f"{name} {value:.3g}" for name, value in pair.scores.items()]
    last = wrapped(", ".join(figures), width, SMALL, 3)
    captions = " → ".join(filter(None, (pair.original_prompt, pair.edited_prompt)))
    y = 2
    room = bottom - len(last) * (SMALL + 4)
    for text, size, colour in [(text, TEXT if i == 0 else SMALL + 1, "black") for i, text in enumerate(pair.edit_prompts)] + [
        (captions, SMALL, GREY)
    ]:
        lines = wrapped(text, width, size, max((room - y) // (size + 4), 0)) if text else []
        for line in lines:
            draw.text((left, y), line, colour, font_of(size))
            y += size + 4
        y += 6 if lines else 0
    for number, line in enumerate(last):
        draw.text((left, room + number * (SMALL + 4)), line, GREY, font_of(SMALL))


def wrapped(text: str, width: int, size: int, most: int) -> list[str]:
    """The text in at most `most` lines of `width` pixels; a word longer than a line is broken, and what is cut off ends in “…”."""
    font, lines = font_of(size), [""]
    for word in text.split():
        for piece in pieces(word, width, font):
            longer = f"{lines[-1]} {piece}".strip()
            if font.getlength(longer) <= width:
                lines[-1] = longer
            else:
                lines.append(piece)
        if len(lines) > most:
            break
    if len(lines) <= most:
        return lines
    lines = lines[:most]
    while lines and lines[-1] and font.getlength(lines[-1] + "…") > width:
        lines[-1] = lines[-1][:-1]
    return [*lines[:-1], lines[-1] + "…"] if lines else []


def pieces(word: str, width: int, font) -> list[str]:
    found = [""]
    for letter in word:
        if found[-1] and font.getlength(found[-1] + letter) > width:
            found.append("")
        found[-1] += letter
    return found


def sheet(cells: Sequence[Image.Image]) -> Image.Image:
    """The cells in as many columns as make it about as wide as high."""
    width, height = cells[0].size
    columns = max(1, min(len(cells), round(math.sqrt(len(cells) * height / width))))
    rows = math.ceil(len(cells) / columns)
    drawn = Image.new("RGB", (columns * (width + 3 * GAP) - GAP, rows * (height + GAP) + GAP), "white")
    for i, picture in enumerate(cells):
        x, y = divmod(i, rows)
        drawn.paste(picture, (GAP + x * (width + 3 * GAP), GAP + y * (height + GAP)))
    return drawn

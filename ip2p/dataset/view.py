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
from ..errors import EditError
from ..files import refuse_existing, written_whole
from ..progress import bar
from .pairs import LAYOUT, SET_HELP, SPLIT_HELP, BrokenRow, Pair, PairSet, open_pairs

COUNT, MAX_COUNT = 12, 400
SIDE = 224
TEXT, SMALL = 15, 11  # sizes of letters
LEADING = 4
GREY, PALE = "#666666", "#d8d8d8"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("set", metavar="SET", help=SET_HELP)
    add("--output", type=Path, required=True, help="the picture to write, .png or .jpg")
    add("--count", type=int, default=COUNT, help=f"pairs to show, {COUNT} when left out")
    add("--seed", type=int, help="choose them by chance, each seed others; the first ones when left out")
    add("--split", help=SPLIT_HELP)
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
    if pair.mask is not None:
        before = veiled(before, pair.mask)
    lines = lines_of(pair, row)
    height = max(before.height, after.height, sum(size + LEADING for _, size, _ in lines))
    drawn = Image.new("RGB", (3 * SIDE + 2 * GAP, height), "white")
    drawn.paste(before, (SIDE - before.width, 0))
    drawn.paste(after, (2 * (SIDE + GAP), 0))
    draw, y = ImageDraw.Draw(drawn), 0
    for line, size, colour in lines:
        draw.text((SIDE + 2 * GAP, y), line, colour, font_of(size))
        y += size + LEADING
    return drawn


def veiled(picture: Image.Image, mask: Image.Image) -> Image.Image:
    """What is edited under a thin red veil."""
    veil = Image.blend(picture, Image.new("RGB", picture.size, "red"), 0.35)
    return Image.composite(veil, picture, mask.resize(picture.size))


def lines_of(pair: Pair, row: int) -> list[tuple[str, int, str]]:
    """Lines, sizes and colours of the instruction, its other phrasings, the captions and the figures."""
    others = pair.edit_prompts[1:]
    captions = [f"{when}: {text}" for when, text in (("before", pair.original_prompt), ("after", pair.edited_prompt)) if text]
    figures = {"row": row, "seed": pair.seed, **pair.scores, **{name: value for name, value in pair.extra.items() if name != LAYOUT}}
    told = [
        f"{name} = {value:.3g}" if isinstance(value, float) else f"{name} = {value}" for name, value in figures.items() if value is not None
    ]
    blocks = [(pair.edit_prompt, TEXT, "black", 8), *((text, TEXT - 2, "black", 3) for text in others[:3])]
    blocks += [(f"and {len(others) - 3} more", SMALL, GREY, 1)] if len(others) > 3 else []
    blocks += [(text, SMALL, GREY, 4) for text in captions] + [(", ".join(told), SMALL, GREY, 5)]
    lines = []
    for text, size, colour, most in blocks:
        if text.strip():
            lines += [(line, size, colour) for line in wrapped(text, SIDE - 2 * GAP, size, most)] + [("", 2, colour)]
    return lines


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
            lines = lines[:most]
            while font.getlength(lines[-1] + "…") > width:
                lines[-1] = lines[-1][:-1]
            lines[-1] += "…"
            break
    return lines


def pieces(word: str, width: int, font) -> list[str]:
    """The word, or parts of it that fit within `width`."""
    found = [""]
    for letter in word:
        if found[-1] and font.getlength(found[-1] + letter) > width:
            found.append("")
        found[-1] += letter
    return found


def sheet(cells: Sequence[Image.Image]) -> Image.Image:
    """The cells below one another, in as many columns as make it about as wide as high, with a line between them."""
    width, step = cells[0].width, cells[0].width + 4 * GAP
    total = sum(cell.height + 2 * GAP for cell in cells)
    columns = max(1, round(math.sqrt(total / step)))
    places, x, y, bottom = [], 0, 0, 0
    for cell in cells:
        if y >= total / columns and x + 1 < columns:
            x, y = x + 1, 0
        places.append((2 * GAP + x * step, GAP + y))
        y += cell.height + 2 * GAP
        bottom = max(bottom, y)
    drawn = Image.new("RGB", ((x + 1) * step, bottom), "white")
    draw = ImageDraw.Draw(drawn)
    for cell, (left, top) in zip(cells, places):
        drawn.paste(cell, (left, top))
        if top > GAP:
            draw.line((left, top - GAP, left + width, top - GAP), PALE)
    return drawn

"""A sheet of pairs, each with its instruction between the picture before and the one after, and the pixels that changed."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from ..contact_sheet import GAP, font_of
from ..images.heat import DARKENED, HOT
from ..progress import bar
from .pairs import LAYOUT, BrokenRow, Pair, PairSet
from .saying import Report, sayer

MAX_TEXT = 2000  # characters of a text that are looked at: many more than are shown
SIDE = 224
TEXT, SMALL = 15, 11  # sizes of letters
LEADING = 4
GREY, PALE = "#666666", "#d8d8d8"
CHANGED = (8, 64)  # levels of a pixel's colour: from which a change is shown, and at which in full


def cells_of(pairs: PairSet, count: int, seed: int | None, report: Report = None) -> tuple[list[Image.Image], int]:
    """Cells of the first `count` pairs, or with a seed of ones drawn by chance, in the set's order; and how many broken ones were passed
    over, which `report` names."""
    rows: Sequence[int] = range(len(pairs)) if seed is None else random.Random(seed).sample(range(len(pairs)), len(pairs))
    cells: dict[int, Image.Image] = {}
    broken = 0
    shown = bar(min(count, len(pairs)), "pair")
    say = sayer(report, shown)
    try:
        for i in rows:
            if len(cells) == count:
                break
            try:
                cells[i] = cell(pairs[i], i)
                shown.update()
            except BrokenRow as e:
                say(str(e))
                broken += 1
    finally:
        shown.close()
    return [cells[i] for i in sorted(cells)], broken


def cell(pair: Pair, row: int) -> Image.Image:
    """A pair in a row: before, its texts, after, and what changed; the pictures within SIDE x SIDE."""
    before, after = (ImageOps.contain(picture, (SIDE, SIDE)) for picture in (pair.original_image, pair.edited_image))
    difference = changed(before, after)
    if pair.mask is not None:
        before = veiled(before, pair.mask)
    lines = lines_of(pair, row)
    height = max(before.height, after.height, sum(size + LEADING for _, size, _ in lines))
    drawn = Image.new("RGB", (4 * SIDE + 3 * GAP, height), "white")
    drawn.paste(before, (SIDE - before.width, 0))
    drawn.paste(after, (2 * (SIDE + GAP), 0))
    drawn.paste(difference, (3 * (SIDE + GAP), 0))
    draw, y = ImageDraw.Draw(drawn), 0
    for line, size, colour in lines:
        draw.text((SIDE + 2 * GAP, y), line, colour, font_of(size))
        y += size + LEADING
    return drawn


def changed(before: Image.Image, after: Image.Image) -> Image.Image:
    """The picture before in dark grey, and yellow where a pixel changed."""
    a, b = (np.asarray(picture.convert("RGB"), np.float32) for picture in (before, after.resize(before.size)))
    low, high = CHANGED
    share = ((np.abs(a - b).max(-1, keepdims=True) - low) / (high - low)).clip(0, 1)
    grey = np.asarray(before.convert("L"), np.float32)[..., None] * DARKENED
    return Image.fromarray((grey * (1 - share) + np.array(HOT, np.float32) * share).astype(np.uint8))


def veiled(picture: Image.Image, mask: Image.Image) -> Image.Image:
    """What is edited under a thin red veil."""
    veil = Image.blend(picture, Image.new("RGB", picture.size, "red"), 0.35)
    return Image.composite(veil, picture, mask.resize(picture.size))


def lines_of(pair: Pair, row: int) -> list[tuple[str, int, str]]:
    """Lines, sizes and colours of the instruction, its other phrasings, the captions and the figures."""
    others = pair.edit_prompts[1:]
    captions = [f"{when}: {text}" for when, text in (("before", pair.original_prompt), ("after", pair.edited_prompt)) if text]
    figures = {"row": row, "seed": pair.seed, **pair.scores, **{name: value for name, value in pair.extra.items() if name != LAYOUT}}
    values = [
        f"{name} = {value:.3g}" if isinstance(value, float) else f"{name} = {value}" for name, value in figures.items() if value is not None
    ]
    blocks = [(pair.edit_prompt, TEXT, "black", 8), *((text, TEXT - 2, "black", 3) for text in others[:3])]
    blocks += [(f"and {len(others) - 3} more", SMALL, GREY, 1)] if len(others) > 3 else []
    blocks += [(text, SMALL, GREY, 4) for text in captions] + [(", ".join(values), SMALL, GREY, 5)]
    lines: list[tuple[str, int, str]] = []
    for text, size, colour, most in blocks:
        if text.strip():
            lines += [(line, size, colour) for line in wrapped(text, SIDE - 2 * GAP, size, most)] + [("", 2, colour)]
    return lines


def wrapped(text: str, width: int, size: int, most: int) -> list[str]:
    """The text in at most `most` lines of `width` pixels; a word longer than a line is broken, and what is cut off ends in “…”."""
    font, lines = font_of(size), [""]
    for word in text[:MAX_TEXT].split():
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


def pieces(word: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """The word, or parts of it that fit within `width`."""
    parts = [""]
    for letter in word:
        if parts[-1] and font.getlength(parts[-1] + letter) > width:
            parts.append("")
        parts[-1] += letter
    return parts


def sheet(cells: Sequence[Image.Image]) -> Image.Image:
    """The cells below one another, in as many columns as make it about as wide as high, with a line between them."""
    width, step = cells[0].width, cells[0].width + 4 * GAP
    total = sum(cell.height + 2 * GAP for cell in cells)
    columns = max(1, round(math.sqrt(total / step)))
    places: list[tuple[int, int]] = []
    x = y = bottom = 0
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

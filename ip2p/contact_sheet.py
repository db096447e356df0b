"""A contact sheet drawn with Pillow: small pictures in a grid, the scales written beside and above them."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

GAP = 8


def contact_sheet(cells: Sequence[Image.Image | None], rows: Sequence[str], columns: Sequence[str]) -> Image.Image:
    """cells: row by row, each in the middle of a place as large as the largest; None stays white. rows, columns: their labels, left
    of and above the cells."""
    width, height = (max(cell.size[axis] for cell in cells if cell) for axis in (0, 1))
    size = max(min(width, height) // 16, 10)
    font = font_of(size)
    left = round(max(font.getlength(label) for label in rows)) + 2 * GAP
    top = size + 2 * GAP
    step_x = max(width, *(round(font.getlength(label)) for label in columns)) + GAP
    step_y = max(height, size) + GAP
    sheet = Image.new("RGB", (left + len(columns) * step_x, top + len(rows) * step_y), "white")
    draw = ImageDraw.Draw(sheet)
    for x, label in enumerate(columns):
        draw.text((left + x * step_x + (step_x - GAP - font.getlength(label)) / 2, GAP), label, "black", font)
    for y, label in enumerate(rows):
        draw.text((GAP, top + y * step_y + (height - size) / 2), label, "black", font)
    for i, cell in enumerate(cells):
        y, x = divmod(i, len(columns))
        if cell:
            sheet.paste(cell, (left + x * step_x + (width - cell.width) // 2, top + y * step_y + (height - cell.height) // 2))
    return sheet


def font_of(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Pillow's own font; before Pillow 10.1 it has one size."""
    try:
        return ImageFont.load_default(size)
    except TypeError:
        return ImageFont.load_default()

"""The pictures of a run side by side: in the page, and as one contact sheet."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from PIL import Image

from ..contact_sheet import GAP, contact_sheet
from ..files import written_whole
from .procedural import Photo
from .sweep import Bench, Task, key_of

THUMBNAIL = 224  # px of a picture's longest side
LONGEST_TITLE = 40  # characters, of a row of the contact sheet
MOST_ROWS = 65_500 // (THUMBNAIL + GAP) - 1  # that fit into a JPEG with the columns' titles above them

# A row's title, and by column what is written under the picture, and the picture.
Row = tuple[str, dict[str, tuple[str, Image.Image]]]


def kept_pictures(lines: Sequence[Mapping], tasks: Sequence[Task], folder: Path) -> list[tuple[Task, Image.Image]]:
    """The tasks whose results were kept, with them."""
    names = {key_of(line): line["picture"] for line in lines if line["picture"]}
    results = []
    for task in tasks:
        name = names.get(task.key) if task.keep else None
        if name and (folder / name).is_file():
            with Image.open(folder / name) as image:
                results.append((task, image.convert("RGB")))
    return results


def by_pair(results: Sequence[tuple[Task, Image.Image]], bench: Bench) -> list[Row]:
    """A row for every pair: the input, the target, and the result of every setting."""
    rows: dict[int, Row] = {}
    several = len({task.setting.maker for task, _ in results}) > 1
    for task, image in results:
        if task.row not in rows:
            row = bench.row(task.row)
            rows[task.row] = task.instruction, {"input": ("input", thumbnail(row.before)), "target": ("target", thumbnail(row.target))}
        label = task.setting.full_label if several else task.setting.label
        rows[task.row][1][label] = label, thumbnail(image)
    return list(rows.values())


def by_photo(results: Sequence[tuple[Task, Image.Image]], photos: Sequence[Photo], bench: Bench) -> list[Row]:
    """For every photograph a row of its targets, and one for every setting, the kinds across."""
    rows: list[Row] = []
    shown = {task.row for task, _ in results}
    for photo in photos:
        if shown.isdisjoint(photo.rows.values()):  # whose pictures then need not be read
            continue
        by_setting: dict[str, dict] = {}
        kinds = {row: kind for kind, row in photo.rows.items() if bench.readable(row)}
        for task, image in results:
            if task.row in kinds:
                by_setting.setdefault(task.setting.full_label, {})[kinds[task.row]] = task.instruction, thumbnail(image)
        if by_setting:
            targets = {kind: (kind, thumbnail(bench.row(row).target)) for row, kind in kinds.items()}
            first = thumbnail(bench.row(next(iter(kinds))).before)
            rows.append((f"{photo.name}: targets", {"photograph": ("photograph", first), **targets}))
            rows += by_setting.items()
    return rows


def columns_of(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(column for _, pictures in rows for column in pictures))


def html(rows: Sequence[Row]) -> str:
    """A table, the pictures in it."""
    columns, lines = columns_of(rows), []
    for title, pictures in rows:
        cells = [f"<th>{escape(title)}</th>"]
        for column in columns:
            text, image = pictures.get(column, ("", None))
            cells.append(
                f'<td><img alt="{escape(text)}" src="{embedded(image)}"><small>{escape(text)}</small></td>' if image else "<td></td>"
            )
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f'<div class="scroll"><table class="sheet"><tbody>{"".join(lines)}</tbody></table></div>'


def thumbnail(image: Image.Image) -> Image.Image:
    image = image.copy()
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    return image


def embedded(image: Image.Image) -> str:
    """As a data URL."""
    data = io.BytesIO()
    image.save(data, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()


def write(path: Path, rows: Sequence[Row]) -> None:
    """One JPEG of the pictures, as many rows as it can hold."""
    rows = rows[:MOST_ROWS]
    columns = columns_of(rows)
    cells = [pictures[column][1] if column in pictures else None for _, pictures in rows for column in columns]
    with written_whole(path, force=True) as beside:
        contact_sheet(cells, [title[:LONGEST_TITLE] for title, _ in rows], columns).save(beside, "JPEG", quality=88)

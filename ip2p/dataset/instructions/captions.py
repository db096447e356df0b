"""Captions read from a text, a CSV, JSON lines or parquet, one after the other, so that memory does not grow with them."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import EditError
from ...files import why
from ..checked_files import parse_json
from .triplets import Caption

COLUMNS = ("caption", "input", "text", "prompt", "original_prompt", "title")  # a column of captions, whatever its case
URLS, LICENCES = ("url", "image_url", "link"), ("licence", "license")
SUFFIXES = (".txt", ".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
LONGEST = 1000  # characters
LONGEST_LIST = 20  # columns named in a sentence
BATCH = 1000

Bad = tuple[str, str]  # where a caption is, and why it can't be used


def read_captions(file: Path, column: str | None = None) -> Iterator[Caption | Bad]:
    """column: the one that has the captions; None for the first of COLUMNS that is there.

    Raises EditError when the file can't be read, has no such column, or not one caption that can be used.
    """
    if not file.is_file():
        raise EditError(f"There is no file of captions {file}.")
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise EditError(f"Captions are read from {', '.join(SUFFIXES)}, and {file.name} is none of these.")
    if suffix == ".txt":
        found: Iterator[Caption] | Iterator[Caption | Bad] = lines_of(file)
    elif suffix == ".parquet":
        found = rows_of_parquet(file, column)
    else:
        found = rows_of_table(file, csv_rows(file) if suffix in (".csv", ".tsv") else json_rows(file), column)
    return checked(file, found)


def checked(file: Path, found: Iterator[Caption] | Iterator[Caption | Bad]) -> Iterator[Caption | Bad]:
    """Each in one line, or why it can't be used."""
    first: Bad | None = None
    usable = False
    try:
        for caption in found:
            item = caption if isinstance(caption, tuple) else usable_caption(caption)
            if isinstance(item, Caption):
                usable = True
            else:
                first = first or item
            yield item
    except (OSError, csv.Error) as e:
        raise EditError(f"{file} can't be read: {why(e)}.") from e
    if not usable:
        raise EditError(f"{file} has no caption that can be used{f': {first[0]} {first[1]}' if first else ''}.")


def usable_caption(caption: Caption) -> Caption | Bad:
    text = " ".join(caption.text.split())
    if any("\ud800" <= sign <= "\udfff" for sign in text):
        return caption.place, "is not UTF-8"
    if not text:
        return caption.place, "is empty"
    if len(text) > LONGEST:
        return caption.place, f"has {len(text):,} characters, more than {LONGEST:,}"
    if "##" in text or "%%" in text or "\0" in text:
        return caption.place, "holds ##, %% or NUL, which separate the parts of an answer"
    return Caption(text, caption.url, caption.licence, caption.place)


def lines_of(file: Path) -> Iterator[Caption]:
    with open(file, encoding="utf-8-sig", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, 1):
            yield Caption(line, place=f"line {number}")


def csv_rows(file: Path) -> Iterator[tuple[str, Any]]:
    with open(file, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        first = text.readline()
        text.seek(0)
        rows = csv.reader(text, delimiter=max(",;\t", key=first.count))
        columns = next(rows, [])
        for row in rows:
            if row:
                yield f"line {rows.line_num}", dict(itertools.zip_longest(columns, row[: len(columns)], fillvalue=""))


def json_rows(file: Path) -> Iterator[tuple[str, Any]]:
    with open(file, encoding="utf-8-sig", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                yield f"line {number}", parse_json(line)
            except ValueError:
                yield f"line {number}", None


def rows_of_table(file: Path, rows: Iterator[tuple[str, Any]], column: str | None) -> Iterator[Caption | Bad]:
    """The columns are those of the first row that can be read."""
    names: tuple[str, str | None, str | None] | None = None
    for place, row in rows:
        if not isinstance(row, dict):
            yield place, "is not an object in braces"
            continue
        if names is None:
            names = columns_among(file, list(row), column)
        caption, url, licence = (text_of(row.get(name)) if name else "" for name in names)
        yield Caption(caption, url, licence, place)


def rows_of_parquet(file: Path, column: str | None) -> Iterator[Caption]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file, memory_map=True) as parquet:
            names = columns_among(file, parquet.schema_arrow.names, column)
            number = 0
            for batch in parquet.iter_batches(BATCH, columns=[name for name in names if name], use_threads=False):
                for row in batch.to_pylist():
                    number += 1
                    caption, url, licence = (text_of(row.get(name)) if name else "" for name in names)
                    yield Caption(caption, url, licence, f"row {number}")
    except (pa.ArrowException, UnicodeDecodeError) as e:
        raise EditError(f"{file} can't be read: {why(e)}.") from e


def columns_among(file: Path, columns: list[str], wanted: str | None) -> tuple[str, str | None, str | None]:
    """Those of captions, urls and licences. Raises EditError when there is none of captions."""
    by_name = {name.strip().lower(): name for name in reversed(columns)}

    def first(names: tuple[str, ...]) -> str | None:
        return next((by_name[name] for name in names if name in by_name), None)

    captions = first(COLUMNS) if wanted is None else wanted if wanted in columns else None
    if captions is None:
        listed = ", ".join(columns[:LONGEST_LIST]) + (", …" if len(columns) > LONGEST_LIST else "")
        missing = f"has no column {wanted}" if wanted else "has no column of captions"
        raise EditError(f"{file} {missing}: it has {listed}. Name the column by --column.")
    return captions, first(URLS), first(LICENCES)


def text_of(value: object) -> str:
    return value if isinstance(value, str) else ""

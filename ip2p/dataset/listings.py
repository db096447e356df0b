"""Pair sets of pictures before and after that a CSV or JSON lines name, Hugging Face's folders of pictures (metadata.csv, .jsonl) too."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..errors import EditError
from ..files import why
from .checked_files import parse_json, read_text
from .conversations import as_pair
from .pairs import BROKEN, EXTRA, NO_TEXT, PICTURES, PairSet, columns_of, is_plain, listed, scores_of, seed_of
from .tables import IMAGE, indexed

MAX_COLUMNS = 1000
TEXTS = ("original_prompt", "edited_prompt")
JSON_COLUMNS = {
    **dict.fromkeys(PICTURES, IMAGE),
    **dict.fromkeys((*TEXTS, "scores", EXTRA), pa.string()),
    "edit_prompts": pa.list_(pa.string()),
    "seed": pa.int64(),
}


def column_name(name: str) -> str:
    """Without “_file_name”, as Hugging Face's folders of pictures call a column of paths, or “_path”."""
    return re.sub("(_file_name|_path)$", "", name.strip())


def csv_pairs(file: Path) -> PairSet:
    """A CSV whose columns name the pictures before and after, beside it or below, and say the instruction; its other columns are kept.

    Raises EditError when it can't be read or has no such columns.
    """
    file = file.absolute()
    pictures, columns = csv_columns(file)
    types = {name: IMAGE if name in pictures else pa.string() for name in columns}
    return indexed(file, fingerprint_of(csv_rows(file), pictures), types, csv_rows(file), file.parent)


def fingerprint_of(rows: Iterator[dict[str, Any]], pictures: list[str]) -> str:
    """Of the rows, and of the sizes and times of change of their pictures' files."""
    digest = hashlib.sha256()
    for row in rows:
        files = [row[picture]["path"] for picture in pictures if row.get(picture)]
        digest.update(f"{row} {[stat_of(file) for file in files]}\n".encode(errors="backslashreplace"))
    return digest.hexdigest()[:32]


def stat_of(file: str) -> tuple[int, int] | None:
    try:
        about = os.stat(file)
    except (OSError, ValueError):  # a name with NUL in it is a ValueError
        return None
    return about.st_size, about.st_mtime_ns


def csv_columns(file: Path) -> tuple[list[str], list[str]]:
    """Which of its columns name pictures, and all of them. Raises EditError when it has none."""
    with csv_reader(file) as (_, columns):
        theirs = columns_of(columns, file.name)
    return [theirs[ours][0] for ours in PICTURES if ours in theirs], columns


def csv_rows(file: Path) -> Iterator[dict[str, Any]]:
    pictures, _ = csv_columns(file)
    with csv_reader(file) as (rows, columns):
        for values in rows:
            row: dict[str, Any] = dict(itertools.zip_longest(columns, values[: len(columns)], fillvalue=""))
            yield row | {name: {"path": str(file.parent / row[name])} if row[name] else None for name in pictures}


@contextmanager
def csv_reader(file: Path) -> Iterator[tuple[Iterator[list[str]], list[str]]]:
    """Its rows and its columns' names; commas, semicolons or tabs are between them, by its first line. Raises EditError."""
    try:
        with open(file, encoding="utf-8-sig", newline="") as text:
            first = text.readline()
            text.seek(0)
            rows = csv.reader(text, delimiter=max(",;\t", key=first.count))
            yield (row for row in rows if row), [column_name(name) for name in next(rows, [])]
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise EditError(f"{file} can't be read: {why(e)}.") from e


def jsonl_pairs(file: Path) -> PairSet:
    """JSON lines, one object a pair, or one list of such in a .json, with names as in a CSV. Raises EditError when it can't be read or has
    no such names."""
    file = file.absolute()
    columns, texts = jsonl_columns(file)
    theirs = columns_of(columns, file.name)
    types = JSON_COLUMNS | dict.fromkeys(texts, pa.string())

    def rows() -> Iterator[dict[str, Any]]:
        return jsonl_rows(file, theirs, texts)

    return indexed(file, fingerprint_of(rows(), list(PICTURES)), types, rows(), file.parent)


def json_objects(file: Path) -> Iterator[dict[str, Any]]:
    """The object on each line, or each of one list in a .json, or {BROKEN: reason}."""
    if file.suffix.lower() == ".json":
        yield from (object_of(values, f"entry {number}") for number, values in enumerate(json_list(file), 1))
        return
    try:
        with open(file, encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    values = parse_json(line)
                except ValueError as e:
                    yield {BROKEN: f"line {number} can't be read: {why(e)}"}
                    continue
                yield object_of(values, f"line {number}")
    except (OSError, UnicodeDecodeError) as e:
        raise EditError(f"{file} can't be read: {why(e)}.") from e


def json_list(file: Path) -> list[Any]:
    """Raises EditError when it is none."""
    try:
        values = parse_json(read_text(file))
    except EditError as e:
        raise EditError(f"{file} {e}.") from e
    except ValueError as e:
        raise EditError(f"{file} can't be read: {why(e)}.") from e
    if not isinstance(values, list):
        raise EditError(f"{file} can't be read: it holds no list in brackets.")
    return values


def object_of(values: object, place: str) -> dict[str, Any]:
    if isinstance(values, dict):
        return as_pair({column_name(name): value for name, value in values.items()})
    return {BROKEN: f"{place} is not an object in braces"}


def jsonl_columns(file: Path) -> tuple[list[str], list[str]]:
    """All names, and which of the columns that are none of ours hold texts alone. Raises EditError."""
    kinds: dict[str, set[type]] = {}
    for row in json_objects(file):
        for name, value in row.items():
            if name != BROKEN and value is not None:
                kinds.setdefault(name, set()).add(type(value))
        if len(kinds) > MAX_COLUMNS:
            raise EditError(f"{file} can't be read: it has more than {MAX_COLUMNS} names.")
    columns = list(kinds)
    ours = {name for names in columns_of(columns, file.name).values() for name in names} | set(JSON_COLUMNS)
    return columns, [name for name in columns if kinds[name] == {str} and name not in ours and not NO_TEXT.search(name)]


def jsonl_rows(file: Path, theirs: Mapping[str, list[str]], texts: list[str]) -> Iterator[dict[str, Any]]:
    taken = {name for names in theirs.values() for name in names} | set(texts) | {BROKEN}
    for line in json_objects(file):
        if BROKEN in line:
            yield {BROKEN: line[BROKEN]}
            continue

        def value(ours: str, line: Mapping[str, Any] = line) -> Any:
            return line.get(theirs[ours][0]) if ours in theirs else None

        paths = {picture: value(picture) for picture in PICTURES}
        phrasings = [text for ours in ("edit_prompt", "edit_prompts") for name in theirs.get(ours, ()) for text in listed(line.get(name))]
        scores = scores_of(value("scores"))
        extra = {name: column for name, column in line.items() if name not in taken and is_plain(column)}
        yield {
            **{picture: {"path": str(file.parent / path)} for picture, path in paths.items() if isinstance(path, str) and path},
            **{name: value(name) for name in TEXTS if isinstance(value(name), str)},
            **{name: line.get(name) for name in texts},
            "edit_prompts": phrasings,
            "seed": seed_of(value("seed")),
            "scores": json.dumps(scores) if scores else None,
            EXTRA: json.dumps(extra) if extra else None,
        }

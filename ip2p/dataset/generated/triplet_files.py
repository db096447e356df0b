"""Rows of instructions read from JSON lines or parquet, one after the other, so that memory does not grow with them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import EditError
from ...files import why
from ..instructions.captions import LONGEST, Bad, json_rows, text_of
from ..instructions.triplets import ID_DIGITS, plain, split_of
from ..pairs import BROKEN, NO_TEXT

TEXTS = ("input", "edit", "output")
SUFFIXES = (".jsonl", ".ndjson", ".parquet")
BATCH = 1000
ROWS = "rows.jsonl"  # in a folder of `dataset instructions`


@dataclass(frozen=True)
class Triplet:
    """A caption, what to change, and the caption of the picture changed. writer: the model that wrote it, "" where unknown, as url and
    licence."""

    id: str
    input: str
    edit: str
    output: str
    split: str
    url: str = ""
    licence: str = ""
    writer: str = ""


def read_triplets(file: Path, held_out: float) -> Iterator[Triplet | Bad]:
    """file: of rows {id, input, edit, output}, or the folder that `dataset instructions` writes; a row without an id gets one of its texts.
    held_out: the share of captions kept from training, where rows name no split. → each row, or where it is and why it can't be used.

    Raises EditError when the file can't be read or has not one row that can be used.
    """
    file = file / ROWS if file.is_dir() else file
    if not file.is_file():
        raise EditError(f"There is no file of rows {file}.")
    if file.suffix.lower() not in SUFFIXES:
        raise EditError(f"Rows are read from {', '.join(SUFFIXES)}, and {file.name} is none of these.")
    rows = parquet_rows(file) if file.suffix.lower() == ".parquet" else json_rows(file)
    first: Bad | None = None
    seen: set[str] = set()
    usable = False
    try:
        for place, values in rows:
            row = triplet_of(values, held_out)
            if isinstance(row, Triplet) and row.id in seen:
                row = "has the id of a row before it"
            if isinstance(row, Triplet):
                usable = True
                seen.add(row.id)
                yield row
            else:
                first = first or (place, row)
                yield place, row
    except OSError as e:
        raise EditError(f"{file} can't be read: {why(e)}.") from e
    if not usable:
        raise EditError(f"{file} has no row that can be used{f': {first[0]} {first[1]}' if first else ''}.")


def triplet_of(values: object, held_out: float) -> Triplet | str:
    """Or why there is none."""
    if not isinstance(values, Mapping):
        return "is not an object in braces"
    if BROKEN in values:
        return str(values[BROKEN])
    texts = {name: " ".join(text_of(values.get(name)).split()) for name in TEXTS}
    for which, text in texts.items():
        if not text:
            return f"has no text {which}"
        if len(text) > LONGEST:
            return f"has {len(text):,} characters of {which}, more than {LONGEST:,}"
    others = {name: text_of(values.get(name)) for name in ("url", "licence", "split")} | {"writer": text_of(values.get("model"))}
    given = values.get("id")
    name = str(given) if isinstance(given, (str, int)) and str(given).strip() else id_of(texts.values())
    if any(NO_TEXT.search(text) for text in (*texts.values(), *others.values(), name)):
        return "holds NUL or bytes that are not UTF-8"
    if plain(texts["input"]) == plain(texts["output"]):
        return "has an edited caption that is the caption"
    return Triplet(name, **texts | others | {"split": others["split"] or split_of(texts["input"], held_out)})


def id_of(texts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode(errors="backslashreplace")).hexdigest()[:ID_DIGITS]


def parquet_rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow as pa

    from ..tables import parquet_file, python_rows

    wanted = {"id", *TEXTS, "url", "licence", "split", "model"}
    try:
        with parquet_file(file) as parquet:
            number = 0
            for batch in parquet.iter_batches(BATCH, columns=[c for c in parquet.schema_arrow.names if c in wanted], use_threads=False):
                for row in python_rows(pa.Table.from_batches([batch])):
                    number += 1
                    yield f"row {number}", row
    except pa.ArrowException as e:
        raise EditError(f"{file} can't be read: {why(e)}.") from e

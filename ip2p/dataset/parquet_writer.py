"""Pair sets written as one parquet file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import EditError
from ..files import remove, why, written_whole
from .pairs import PICTURES, Pair, row_of
from .tables import IMAGE

GROUP_BYTES = 8 << 20  # of a row group: what is read for one row
GROUP_ROWS = 256
BASE = {
    "original_image": IMAGE,
    "edit_prompt": pa.string(),
    "edited_image": IMAGE,
    "original_prompt": pa.string(),
    "edited_prompt": pa.string(),
}
OPTIONAL = {"seed": pa.int64(), "mask": IMAGE, "edit_prompts": pa.list_(pa.string())}


def write_pairs(pairs: Iterable[Pair], path: Path, force: bool = False) -> int:
    """Writes one parquet file, row group by row group, beside and renamed; returns the number of rows.

    A picture that was read from a set keeps its file's bytes; a new one becomes a PNG. Raises EditError when `path` exists and not `force`.
    """
    return write_rows((row_of(pair) for pair in pairs), path, force)


def write_rows(rows: Iterable[Mapping[str, Any]], path: Path, force: bool = False, sources: Sequence[Path] = ()) -> int:
    """rows: as `PairSet.raw` gives them. One parquet file in row groups of a few MB; returns the number of rows.

    Raises EditError when `path` exists and not `force`, there are no rows, or a column holds values of different kinds."""
    count = 0
    with written_whole(Path(path), force, sources=sources) as beside:
        writer = Writer(beside)
        try:
            for group in grouped(map(columns_from, rows)):
                writer.write(group)
                count += len(group)
        finally:
            writer.close()
        if not count:
            raise EditError(f"There are no rows to write to {path}.")
    return count


def columns_from(row: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of parquet; what is empty is left out."""
    first, *more = row["edit_prompts"]
    columns: dict[str, Any] = {name: {"bytes": row[name], "path": None} for name in PICTURES if row.get(name)}
    columns |= {"edit_prompt": first, "original_prompt": row["original_prompt"], "edited_prompt": row["edited_prompt"]}
    columns |= {"seed": row["seed"], "scores": dict(row["scores"]) or None, "edit_prompts": [first, *more] if more else None}
    return columns | dict(row["extra"])


def grouped(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """As many rows as make a row group."""
    group: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        group.append(row)
        size += sum(len(row[name]["bytes"]) for name in PICTURES if name in row)
        if size >= GROUP_BYTES or len(group) >= GROUP_ROWS:
            yield group
            group, size = [], 0
    if group:
        yield group


class Writer:
    """Row groups into a file. A column that comes later makes it write what is there once more, with that column."""

    def __init__(self, path: Path):
        self.path, self.schema = path, pa.schema(BASE)
        self.writer: pq.ParquetWriter | None = None

    def write(self, rows: list[dict[str, Any]]) -> None:
        schema = self.with_columns_of(rows)
        if self.writer is None:
            self.begin(schema)
        elif schema != self.schema:
            self.begin_again(schema)
        self.write_group(rows)

    def write_group(self, rows: list[dict[str, Any]]) -> None:
        assert self.writer is not None
        self.writer.write_table(pa.Table.from_pylist(rows, schema=self.writer.schema))

    def with_columns_of(self, rows: list[dict[str, Any]]) -> pa.Schema:
        """The schema that has all their columns. Raises EditError when a column holds texts in one row and numbers in another."""
        names = dict.fromkeys(name for row in rows for name, value in row.items() if value is not None)
        try:
            more = [(name, OPTIONAL.get(name) or pa.array([row.get(name) for row in rows]).type) for name in names if name not in BASE]
            return pa.unify_schemas([self.schema, pa.schema(more)], promote_options="permissive")
        except (pa.ArrowException, OverflowError) as e:
            raise EditError(f"A column holds values of different kinds: {why(e)}.") from e

    def begin(self, schema: pa.Schema) -> None:
        from datasets import Features, Image

        features = Features.from_arrow_schema(schema) | {name: Image() for name in PICTURES if name in schema.names}
        texts = [name for name in schema.names if name not in PICTURES]
        self.schema = schema
        self.writer = pq.ParquetWriter(
            self.path,
            schema.with_metadata(Features(features).arrow_schema.metadata),
            compression={name: "NONE" if name in PICTURES else "ZSTD" for name in schema.names},
            use_dictionary=texts,
            write_statistics=texts,
        )

    def begin_again(self, schema: pa.Schema) -> None:
        """Writes what is there once more, under a wider schema."""
        self.close()
        narrow = self.path.with_name(f"{self.path.name}.narrow")
        os.replace(self.path, narrow)
        try:
            self.begin(schema)
            with pq.ParquetFile(narrow) as file:
                for group in range(file.num_row_groups):
                    self.write_group(file.read_row_group(group).to_pylist())
        finally:
            remove(narrow)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()

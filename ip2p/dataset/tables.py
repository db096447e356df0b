"""Rows of parquet files, read where they lie, and of Arrow tables in the cache of Hugging Face `datasets`; writing parquet."""

from __future__ import annotations

import bisect
import hashlib
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..edit import EditError
from ..files import why, written_whole
from .pairs import PICTURES, PairSet

GROUP_BYTES = 8 << 20  # of a row group: what reading one row costs
GROUP_ROWS = 256
LARGE_GROUP = 48 << 20
IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


class ParquetRows:
    """Rows of parquet files; holds one row group of the pictures and one of the texts. Every process opens the files for itself."""

    def __init__(self, files: Sequence[Path]):
        self.files = [Path(file).absolute() for file in files]
        self.starts: list[int] = []  # first row of each row group, and the end
        self.groups: list[tuple[int, int, int]] = []  # file, row group in it, first row of the file
        total = 0
        for number, file in enumerate(self.files):
            with opened(file) as parquet:
                if number == 0:
                    self.columns = parquet.schema_arrow.names
                elif set(parquet.schema_arrow.names) != set(self.columns):
                    raise EditError(f"{file} has other columns than {self.files[0].name}.")
                first = total
                for group in range(parquet.num_row_groups):
                    self.starts.append(total)
                    self.groups.append((number, group, first))
                    total += parquet.metadata.row_group(group).num_rows
        self.starts.append(total)
        self._clear()

    def _clear(self) -> None:
        self._process, self._lock = os.getpid(), threading.Lock()
        self._open: tuple[int, pq.ParquetFile] | None = None
        self._held: dict[bool, tuple] = {}

    def __getstate__(self) -> dict:
        return {name: value for name, value in vars(self).items() if name[0] != "_"}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        self._clear()

    def __len__(self) -> int:
        return self.starts[-1]

    def place(self, i: int) -> tuple[str, int]:
        file, _, first = self.groups[bisect.bisect_right(self.starts, i) - 1]
        return self.files[file].name, i - first

    def largest_group(self) -> int:
        """Bytes."""
        sizes = []
        for file in self.files:
            with opened(file) as parquet:
                sizes += [parquet.metadata.row_group(g).total_byte_size for g in range(parquet.num_row_groups)]
        return max(sizes, default=0)

    def row(self, i: int, columns: Sequence[str]) -> dict:
        at = bisect.bisect_right(self.starts, i) - 1
        if self._process != os.getpid():
            self._clear()
        key, pictures = (at, tuple(columns)), any(pa.types.is_struct(self._type(c)) or pa.types.is_binary(self._type(c)) for c in columns)
        with self._lock:
            if self._held.get(pictures, (None,))[0] != key:
                self._held.pop(pictures, None)
                self._held[pictures] = key, self._read(at, columns)
            table = self._held[pictures][1]
        return table.slice(i - self.starts[at], 1).to_pylist()[0]

    def _type(self, column: str) -> pa.DataType:
        if not hasattr(self, "_types"):
            with opened(self.files[0]) as parquet:
                self._types = {field.name: field.type for field in parquet.schema_arrow}
        return self._types[column]

    def _read(self, at: int, columns: Sequence[str]) -> pa.Table:
        file, group, _ = self.groups[at]
        if not self._open or self._open[0] != file:
            self._open = None
            self._open = file, opened(self.files[file])
        try:
            return self._open[1].read_row_group(group, columns=list(columns), use_threads=False)
        except (pa.ArrowException, OSError) as e:
            raise EditError(f"{self.files[file]} can't be read: {why(e)}.") from e


def opened(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file, memory_map=True)
    except (pa.ArrowException, OSError) as e:
        raise EditError(f"{file} can't be read: {why(e)}.") from e


def parquet(files: Sequence[Path], name: str, split: str | None, in_order: bool) -> PairSet:
    return PairSet(name, ParquetRows(files), stamp(files))


def stamp(files: Iterable[Path]) -> str:
    """Of the files' names, sizes and times of change."""
    digest = hashlib.sha256()
    for file in files:
        about = os.stat(file)
        digest.update(f"{Path(file).name} {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:32]


def write_rows(rows: Iterable[Mapping], path: Path, force: bool = False) -> int:
    """rows: as `PairSet.raw` gives them. One parquet file in row groups of a few MB; returns the number of rows."""
    count = 0
    with written_whole(Path(path), force) as beside:
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


def columns_from(row: Mapping) -> dict:
    """The columns of parquet; what is empty is left out."""
    first, *more = row["edit_prompts"]
    columns = {name: {"bytes": row[name], "path": None} for name in PICTURES if row.get(name)}
    columns |= {"edit_prompt": first, "original_prompt": row["original_prompt"], "edited_prompt": row["edited_prompt"]}
    columns |= {"seed": row["seed"], "scores": dict(row["scores"]) or None, "edit_prompts": [first, *more] if more else None}
    return columns | dict(row["extra"])


def grouped(rows: Iterable[dict]) -> Iterable[list[dict]]:
    group, size = [], 0
    for row in rows:
        group.append(row)
        size += sum(len(row[name]["bytes"]) for name in PICTURES if name in row)
        if size >= GROUP_BYTES or len(group) >= GROUP_ROWS:
            yield group
            group, size = [], 0
    if group:
        yield group


BASE = {
    "original_image": IMAGE,
    "edit_prompt": pa.string(),
    "edited_image": IMAGE,
    "original_prompt": pa.string(),
    "edited_prompt": pa.string(),
}
OPTIONAL = {"seed": pa.int64(), "mask": IMAGE, "edit_prompts": pa.list_(pa.string())}


class Writer:
    """Row groups into a file; a column that only later rows have makes it write what is there once more, with the column."""

    def __init__(self, path: Path):
        self.path, self.schema, self.writer = path, pa.schema(BASE), None

    def write(self, rows: list[dict]) -> None:
        schema = self.with_columns_of(rows)
        if self.writer is None or schema != self.schema:
            self.begin(schema)
        self.writer.write_table(pa.Table.from_pylist(rows, schema=self.writer.schema))

    def with_columns_of(self, rows: list[dict]) -> pa.Schema:
        """Raises EditError when a column holds texts in one row and numbers in another."""
        names = dict.fromkeys(name for row in rows for name, value in row.items() if value is not None)
        try:
            more = [(name, OPTIONAL.get(name) or pa.array([row.get(name) for row in rows]).type) for name in names if name not in BASE]
            return pa.unify_schemas([self.schema, pa.schema(more)], promote_options="permissive")
        except pa.ArrowException as e:
            raise EditError(f"A column holds values of different kinds: {why(e)}.") from e

    def begin(self, schema: pa.Schema) -> None:
        from datasets import Features, Image

        self.close()
        features = Features.from_arrow_schema(schema)
        features |= {name: Image() for name in PICTURES if name in schema.names}
        texts = [name for name in schema.names if name not in PICTURES]
        old = self.path.with_name(self.path.name + ".old")
        if self.writer is not None:
            os.replace(self.path, old)
        self.schema = schema
        self.writer = pq.ParquetWriter(
            self.path,
            schema.with_metadata(Features(features).arrow_schema.metadata),
            compression={name: "NONE" if name in PICTURES else "ZSTD" for name in schema.names},
            use_dictionary=texts,
            write_statistics=texts,
        )
        if old.exists():
            try:
                with pq.ParquetFile(old) as file:
                    for group in range(file.num_row_groups):
                        self.writer.write_table(pa.Table.from_pylist(file.read_row_group(group).to_pylist(), schema=self.writer.schema))
            finally:
                old.unlink()

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()

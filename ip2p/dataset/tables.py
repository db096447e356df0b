"""Rows of parquet files, read where they lie, and of Arrow tables in the cache of Hugging Face `datasets`; writing parquet."""

from __future__ import annotations

import bisect
import glob
import hashlib
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import EditError
from ..files import remove, why, written_whole
from .pairs import PICTURES, SPLITS, PairSet, split_name

GROUP_BYTES = 8 << 20  # of the row groups written here: what is read for one row
GROUP_ROWS = 256
LARGE_GROUP = 48 << 20  # of which reading one for every row is too slow
IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


class ParquetRows:
    """Rows of parquet files, read where they lie; holds one row group with pictures and one without. Every process opens the files
    for itself. Raises EditError when they can't be read or have different columns.
    """

    def __init__(self, files: Sequence[Path]):
        self.files = [Path(file).absolute() for file in files]
        self.starts: list[int] = []  # first row of each row group, and the end
        self.groups: list[tuple[int, int, int]] = []  # file, row group in it, first row of the file
        self.largest = self.bytes = total = 0
        for number, file in enumerate(self.files):
            with parquet_file(file) as parquet:
                columns = parquet.schema_arrow.names
                if number == 0:
                    self.columns = columns
                elif set(columns) != set(self.columns):
                    raise EditError(f"{file} has other columns than {self.files[0].name}: they are no one pair set.")
                first = total
                for index in range(parquet.num_row_groups):
                    group = parquet.metadata.row_group(index)
                    self.starts.append(total)
                    self.groups.append((number, index, first))
                    self.largest = max(self.largest, group.total_byte_size)
                    self.bytes += group.total_byte_size
                    total += group.num_rows
        self.starts.append(total)
        self._close()

    def _close(self) -> None:
        self._process, self._lock = os.getpid(), threading.Lock()
        self._open: tuple[int, pq.ParquetFile] | None = None
        self._held: dict[tuple[str, ...], tuple[int, pa.Table]] = {}

    def __getstate__(self) -> dict:
        return {name: value for name, value in vars(self).items() if name[0] != "_"}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        self._close()

    def __len__(self) -> int:
        return self.starts[-1]

    def place(self, i: int) -> tuple[str, int]:
        file, _, first = self.groups[self._group(i)]
        return str(self.files[file]), i - first

    def row(self, i: int, columns: Sequence[str]) -> dict:
        at, key = self._group(i), tuple(columns)
        if self._process != os.getpid():
            self._close()
        with self._lock:
            held, table = self._held.get(key, (None, None))
            if held != at:
                self._held.pop(key, None)  # before the next is read, so that there are never two
                table = self._read(at, columns)
                self._held[key] = at, table
        return table.slice(i - self.starts[at], 1).to_pylist()[0]

    def scan(self, columns: Sequence[str]) -> Iterator[dict]:
        """All rows in their order."""
        for at in range(len(self.groups)):
            yield from self._read(at, columns).to_pylist()

    def _group(self, i: int) -> int:
        return bisect.bisect_right(self.starts, i) - 1

    def _read(self, at: int, columns: Sequence[str]) -> pa.Table:
        file, group, _ = self.groups[at]
        if not self._open or self._open[0] != file:
            self._open = file, parquet_file(self.files[file])
        try:
            return self._open[1].read_row_group(group, columns=list(columns), use_threads=False)
        except (pa.ArrowException, OSError) as e:
            raise EditError(f"{self.files[file]} can't be read: {why(e)}.") from e


class ArrowRows:
    """Rows of a data set of Hugging Face's `datasets`, memory-mapped from its cache. place: of a row, its file and its number there."""

    def __init__(self, dataset, place: Callable[[int], tuple[str, int]]):
        self.dataset, self.place, self.columns = dataset, place, dataset.column_names
        self._views = {}

    def __len__(self) -> int:
        return len(self.dataset)

    def row(self, i: int, columns: Sequence[str]) -> dict:
        return self._view(columns)[i].to_pylist()[0]

    def scan(self, columns: Sequence[str]) -> Iterator[dict]:
        for table in self._view(columns).iter(1000):
            yield from table.to_pylist()

    def _view(self, columns: Sequence[str]):
        """These columns as they are stored: pictures are not decoded."""
        key = tuple(columns)
        if key not in self._views:
            self._views[key] = self.dataset.select_columns(list(columns)).with_format("arrow")
        return self._views[key]


def parquet_file(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file, memory_map=True)
    except (pa.ArrowException, OSError) as e:
        raise EditError(f"{file} can't be read: {why(e)}.") from e


def parquet_pairs(files: Sequence[Path], name: str, in_order: bool = False) -> PairSet:
    """Parquet is read where it lies while its row groups are small, as those written here are. A row of a large one can't be reached
    without reading the group: for rows in any order `datasets` then lays an uncompressed copy into its cache, which it says.
    """
    rows = ParquetRows(files)
    if not in_order and rows.largest > LARGE_GROUP:
        return PairSet(name, ArrowRows(cached(rows), rows.place), stamp(files))
    return PairSet(name, rows, stamp(files))


def cached(rows: ParquetRows):
    """The files as a `datasets.Dataset` in its cache, copied at the first time. Raises EditError when the disk has no room for it."""
    from datasets import load_dataset_builder

    with failures(f"{rows.files[0].parent}"):
        builder = load_dataset_builder("parquet", data_files=[glob.escape(str(file)) for file in rows.files])
        if not Path(builder.cache_dir).exists():
            place, size = cache_folder(), f"{rows.bytes / 1e9:.1f} GB"
            if shutil.disk_usage(place).free < rows.bytes * 1.05:
                raise EditError(
                    f"{rows.files[0].parent} has large row groups, so that it is read from a copy of {size} in {place}, and there is no room: "
                    "name another folder in HF_DATASETS_CACHE, or make one with small row groups of it by python -m ip2p dataset convert."
                )
            print(f"Its row groups are large: a copy of {size} is made in {place}, once.", file=sys.stderr)
            builder.download_and_prepare()
        return builder.as_dataset(split="train")


def hub_pairs(name: str, split: str | None) -> PairSet:
    """A data set's name on the hub, or a folder as the hub has them; its code is not run. Raises EditError where it can't be had."""
    from datasets import concatenate_datasets, load_dataset_builder

    with failures(name, f"There is no file or folder {name}, and the data set of that name can't be had from the Hugging Face hub"):
        builder = load_dataset_builder(name)
        builder.download_and_prepare()
        parts = {part: builder.as_dataset(split=part) for part in builder.info.splits}
    named = {split_name(part): part for part in parts}
    by_order = None
    if split and split_name(split) in named:
        parts = {split: parts[named[split_name(split)]]}
    elif split and set(named) != {"train"}:
        raise EditError(f"{name} has no split {split}: it has {', '.join(parts)}.")
    else:
        by_order = split
    dataset = concatenate_datasets(list(parts.values()))
    pairs = PairSet(name, ArrowRows(dataset, RowOf(name)), dataset._fingerprint)
    return pairs.split(by_order) if by_order else pairs


@dataclass(frozen=True)
class RowOf:
    """Where a row is in a set that is one file or folder, or has a name."""

    name: str

    def __call__(self, i: int) -> tuple[str, int]:
        return self.name, i


@contextmanager
def failures(name: str, sentence: str | None = None) -> Iterator[None]:
    """What `datasets` raises, as EditError."""
    from datasets.exceptions import DatasetsError

    try:
        yield
    except EditError:
        raise
    except (DatasetsError, OSError, ValueError, RuntimeError, pa.ArrowException) as e:
        raise EditError(f"{sentence or f'{name} can’t be read'}: {why(e)}.") from e


def files_of_split(folder: Path, files: Sequence[Path], split: str | None) -> tuple[list[Path], str | None]:
    """The files whose name, or whose folder's name, begins with a split, as the hub has them: “data/train-00000-of-00002.parquet”; and
    the split that is still to be made. Raises EditError when files name splits and none this one.
    """
    named: dict[str, list[Path]] = {}
    for file in files:
        words = [*file.relative_to(folder).parent.parts, file.stem]
        found = [split_name(first) for word in words if split_name(first := re.split(r"[-_.]", word)[0]) in SPLITS]
        named.setdefault(found[-1] if found else "", []).append(file)
    if split is None or not (set(named) - {"", "train"}):
        return list(files), split
    if split_name(split) not in named:
        raise EditError(f"{folder} has no split {split}: it has {', '.join(sorted(filter(None, named)))}.")
    return named[split_name(split)], None


def cache_folder() -> Path:
    """Where `datasets` has its cache: HF_DATASETS_CACHE, or under HF_HOME."""
    from datasets import config

    place = Path(config.HF_DATASETS_CACHE).expanduser()
    place.mkdir(parents=True, exist_ok=True)
    return place


def stamp(files: Iterable[Path]) -> str:
    """Of the files' names, sizes and times of change. Raises EditError when one is not there."""
    digest = hashlib.sha256()
    for file in files:
        try:
            about = os.stat(file)
        except OSError as e:
            raise EditError(f"{file} can't be read: {why(e)}.") from e
        digest.update(f"{Path(file).name} {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:32]


def write_rows(rows: Iterable[Mapping], path: Path, force: bool = False, sources: Sequence[Path] = ()) -> int:
    """rows: as `PairSet.raw` gives them. One parquet file in row groups of a few MB; returns the number of rows."""
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
    """Row groups into a file. A column that comes later makes it write what is there once more, with that column."""

    def __init__(self, path: Path):
        self.path, self.schema, self.writer = path, pa.schema(BASE), None

    def write(self, rows: list[dict]) -> None:
        schema = self.with_columns_of(rows)
        if self.writer is None:
            self.begin(schema)
        elif schema != self.schema:
            self.begin_again(schema)
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
        self.close()
        narrow = self.path.with_name(self.path.name + ".narrow")
        os.replace(self.path, narrow)
        try:
            self.begin(schema)
            with pq.ParquetFile(narrow) as file:
                for group in range(file.num_row_groups):
                    rows = file.read_row_group(group).to_pylist()
                    self.writer.write_table(pa.Table.from_pylist(rows, schema=self.writer.schema))
        finally:
            remove(narrow)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()

"""Rows of parquet files, read where they lie, and of Arrow tables in the cache of Hugging Face `datasets`."""

from __future__ import annotations

import bisect
import glob
import hashlib
import itertools
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import EditError
from ..files import why, written_whole
from ..progress import bar
from .pairs import BROKEN, SPLITS, PairSet, split_name

if TYPE_CHECKING:
    from datasets import Dataset

LARGE_GROUP = 48 << 20  # of which reading one for every row is too slow
INDEX_VERSION = 2  # of what is written into an index
BATCH = 1000  # rows of an index that are written at once
IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


class ParquetRows:
    """Rows of parquet files, read where they lie; holds one row group with pictures and one without. Every process opens the files
    for itself. Raises EditError when they can't be read or have different columns.
    """

    def __init__(self, files: Sequence[Path], root: Path | None = None):
        self.files = [Path(file).absolute() for file in files]
        self.roots: Sequence[str | Path] = [str((root or self.files[0].parent).absolute())]
        self.columns: Sequence[str] = ()
        self.starts: list[int] = []  # first row of each row group, and the end
        self.groups: list[tuple[int, int, int]] = []  # file, row group in it, first row of the file
        self.largest = self.bytes = total = 0  # bytes of the largest row group, of all, and rows so far
        for number, file in enumerate(self.files):
            with parquet_file(file) as parquet:
                columns = parquet.schema_arrow.names
                if number == 0:
                    self.columns = columns
                elif set(columns) != set(self.columns):
                    raise EditError(f"{file} has other columns than {self.files[0].name}: they are not one pair set.")
                if parquet.metadata.num_rows > file.stat().st_size:
                    raise EditError(f"{file} can't be read: it says that it has more rows than bytes.")
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

    def row(self, i: int, columns: Sequence[str]) -> dict[str, Any]:
        at, key = self._group(i), tuple(columns)
        if self._process != os.getpid():
            self._close()
        with self._lock:
            if key not in self._held or self._held[key][0] != at:
                self._held.pop(key, None)  # before the next is read, so that there are never two
                self._held[key] = at, self._read(at, columns)
            table = self._held[key][1]
        return python_rows(table.slice(i - self.starts[at], 1))[0]

    def scan(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """All rows in their order."""
        for at in range(len(self.groups)):
            yield from python_rows(self._read(at, columns))

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
    """Rows of a data set of Hugging Face's `datasets`, memory-mapped from its cache. place: of a row, its file and its number there.
    roots: the folders that pictures' paths may lead into."""

    def __init__(self, dataset: Dataset, place: Callable[[int], tuple[str, int]], roots: Sequence[str | Path]):
        self.dataset, self.place, self.columns = dataset, place, dataset.column_names
        self.roots: Sequence[str | Path] = [str(Path(root).absolute()) for root in roots]
        self._views: dict[tuple[str, ...], Dataset] = {}

    def __len__(self) -> int:
        return len(self.dataset)

    def row(self, i: int, columns: Sequence[str]) -> dict[str, Any]:
        return python_rows(self._view(columns)[i])[0]

    def scan(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        for table in self._view(columns).iter(1000):
            yield from python_rows(table)

    def _view(self, columns: Sequence[str]) -> Dataset:
        """These columns as they are stored: pictures are not decoded."""
        key = tuple(columns)
        if key not in self._views:
            self._views[key] = self.dataset.select_columns(list(columns)).with_format("arrow")
        return self._views[key]


@dataclass(frozen=True)
class RowOf:
    """Where a row is in a set that is one file or folder, or has a name."""

    name: str

    def __call__(self, i: int) -> tuple[str, int]:
        return self.name, i


def python_rows(table: pa.Table) -> list[dict[str, Any]]:
    """A value that Python can't have, as a text that is not UTF-8 or a time before the year 1, is None, and BROKEN says so."""
    try:
        return table.to_pylist()
    except (ValueError, OverflowError, KeyError, TypeError, pa.ArrowException, ImportError):
        return [python_row(table.slice(i, 1)) for i in range(len(table))]


def python_row(table: pa.Table) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(table.column_names)
    for name in table.column_names:
        try:
            row[name] = table.column(name)[0].as_py()
        except (ValueError, OverflowError, KeyError, TypeError, pa.ArrowException, ImportError) as e:
            row[BROKEN] = f"the column {name} can't be read: {why(e)}"
    return row


def parquet_file(file: Path) -> pq.ParquetFile:
    """Raises EditError when it can't be read."""
    try:
        return pq.ParquetFile(file, memory_map=True)
    except (pa.ArrowException, OSError) as e:
        raise EditError(f"{file} can't be read: {why(e)}.") from e


def parquet_pairs(files: Sequence[Path], name: str, in_order: bool = False, root: Path | None = None) -> PairSet:
    """root: the set's folder, that of the first file when left out. Parquet is read where it lies while its row groups are small, as those written here are. A row of a large one can't be reached
    without reading the group: for rows in any order `datasets` then lays an uncompressed copy into its cache, which it says.
    """
    rows = ParquetRows(files, root)
    if not in_order and rows.largest > LARGE_GROUP:
        return PairSet(name, ArrowRows(cached(rows), rows.place, rows.roots), stamp(files))
    return PairSet(name, rows, stamp(files))


def cached(rows: ParquetRows) -> Dataset:
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
        words = [re.split(r"[-_.]", word)[0] for word in (*file.relative_to(folder).parent.parts, file.stem)]
        splits = [split_name(word) for word in words if split_name(word) in SPLITS]
        named.setdefault(splits[-1] if splits else "", []).append(file)
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


def indexed(place: Path, fingerprint: str, columns: Mapping[str, pa.DataType], rows: Iterable[dict[str, Any]], root: Path) -> PairSet:
    """The rows as an Arrow file in the cache of `datasets`, written the first time, so that memory does not grow with the set.

    place: the file or folder they are read from. columns: theirs; root: the folder their pictures lie in.
    """
    from datasets import Dataset

    key = hashlib.sha256(f"{place} {fingerprint} {INDEX_VERSION}".encode(errors="backslashreplace")).hexdigest()[:32]
    file = cache_folder() / "ip2p" / f"{key}.arrow"
    if not file.exists():
        schema = pa.schema(dict(columns) | {BROKEN: pa.string()})
        iterator = iter(rows)
        with written_whole(file, force=True) as beside, pa.OSFile(str(beside), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            shown = bar(0, "row")
            while batch := list(itertools.islice(iterator, BATCH)):
                writer.write_batch(record_batch(batch, schema))
                shown.update(len(batch))
            shown.close()
    return PairSet(place.name, ArrowRows(Dataset.from_file(str(file)), RowOf(str(place)), [root]), fingerprint)


def record_batch(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    """A row that Arrow can't hold becomes a broken one."""
    try:
        return pa.RecordBatch.from_pylist(rows, schema=schema)
    except (ValueError, OverflowError, TypeError, pa.ArrowException) as e:
        if len(rows) == 1:
            return pa.RecordBatch.from_pylist([{BROKEN: why(e).encode(errors="replace").decode()}], schema=schema)
        return pa.concat_batches([record_batch([row], schema) for row in rows])

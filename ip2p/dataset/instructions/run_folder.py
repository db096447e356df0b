"""The folder of one run: what it was asked for, every answer as it came, and at the end its rows and its report.

Answers are lines that are appended. Whatever moment a run is killed at, all but the last line are whole, and the last is cut off by the
next run, which asks again only for what is not there.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from ...errors import EditError
from ...files import take_lock, why, written_whole
from ..runs import line_of, refuse_other
from .rules import Rules

SETTINGS, ANSWERS, ROWS, PARQUET, REJECTED, PAGE = (
    "run.json",
    "answers.jsonl",
    "rows.jsonl",
    "rows.parquet",
    "rejected.jsonl",
    "report.html",
)
REQUEST, LOCK = "request.json", ".lock"
GROUP = 5000  # rows of a row group
ENDING = 1 << 20  # bytes: more than a line has


class RunFolder:
    """To be used in a `with` block, within which no other process writes to the folder. finished: ids that need not be asked for again;
    tokens: read and written so far."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]):
        """settings: what has to be the same for the answers to belong together, as JSON has it. Raises EditError where the folder is
        another run's, or none, or in use."""
        self.folder, self.finished, self.tokens = folder, set[str](), (0, 0)
        if folder.exists() and not (folder / SETTINGS).is_file() and not is_begun(folder):
            raise EditError(f"{folder} exists already and is no run of instructions: choose another name.")
        if (folder / SETTINGS).is_file():
            refuse_other(folder, read_settings(folder), settings)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.lock = open(folder / LOCK, "ab")  # noqa: SIM115 - held until the run ends
            self.take()
            if not (folder / SETTINGS).is_file():
                with written_whole(folder / SETTINGS) as beside:
                    beside.write_text(json.dumps(settings, indent=2, ensure_ascii=False), encoding="utf8")
            cut_torn_line(folder / ANSWERS)
            for record in answers_of(folder):
                self.count(record)
            self.answers = open(folder / ANSWERS, "ab", buffering=0)  # noqa: SIM115 - the same
        except OSError as e:
            raise EditError(f"{folder} could not be written: {why(e)}.") from e

    def take(self) -> None:
        try:
            take_lock(self.lock)
        except BlockingIOError:
            self.lock.close()
            raise EditError(f"Another process is writing to {self.folder}: wait for it, or choose another name.") from None

    def remember(self, total: int, rules: Rules) -> None:
        """What `status` needs: the rows wanted and how they are filtered, which may be others when a run goes on."""
        content = {"rows": total, "rules": asdict(rules) | {"words": sorted(rules.words)}}
        with written_whole(self.folder / REQUEST, force=True) as beside:
            beside.write_text(json.dumps(content, ensure_ascii=False), encoding="utf8")

    def append(self, record: Mapping[str, Any]) -> None:
        """Raises EditError for a full disk."""
        try:
            line = line_of(record).encode()
            if self.answers.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as e:
            raise EditError(f"{self.folder} could not be written: {why(e)}.") from e
        self.count(record)

    def count(self, record: Mapping[str, Any]) -> None:
        """What failed is not finished: the next run asks for it again."""
        if not record["problem"]:
            self.finished.add(record["id"])
        self.tokens = self.tokens[0] + record["tokens_in"], self.tokens[1] + record["tokens_out"]

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.answers.close()
        self.lock.close()


def is_begun(folder: Path) -> bool:
    """Whether nothing is in it but what a run has there before its settings."""
    return folder.is_dir() and all(path.name == LOCK or path.name.startswith(".ip2p-") for path in folder.iterdir())


def read_settings(folder: Path) -> dict[str, Any]:
    """Raises EditError where the folder is no run's."""
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf8"))
    except FileNotFoundError:
        raise EditError(f"{folder} is no folder that dataset instructions writes: it has no {SETTINGS}.") from None
    except (OSError, ValueError) as e:
        raise EditError(f"{folder / SETTINGS} can't be read: {why(e)}.") from e
    return settings if isinstance(settings, dict) else {}


def read_request(folder: Path) -> tuple[int, Rules]:
    """What was remembered. Raises EditError where it can't be read."""
    try:
        content = json.loads((folder / REQUEST).read_text(encoding="utf8"))
        rules = content["rules"]
        return content["rows"], Rules(
            tuple(rules["instruction_words"]), tuple(rules["output_words"]), frozenset(rules["words"]), rules["faithful"]
        )
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise EditError(f"{folder / REQUEST} can't be read: {why(e)}.") from e


@contextmanager
def merged(sources: Sequence[Path], folder: Path) -> Iterator[RunFolder]:
    """A folder with the answers of all of them, each id once. Raises EditError where they do not belong together."""
    settings = [read_settings(source) for source in sources]
    common = {name: settings[0].get(name) for name in ("seed", "held_out")}
    for source, others in zip(sources, settings):
        if source.resolve() == folder.resolve():
            raise EditError(f"{folder} is one of the folders to merge: choose another name.")
        for name, value in common.items():
            if others.get(name) != value:
                raise EditError(f"{source} and {sources[0]} do not belong together: their {name} is {others.get(name)} and {value}.")
    with RunFolder(folder, common | {"merged": sorted(source.name for source in sources)}) as into:
        for record in itertools.chain.from_iterable(map(answers_of, sources)):
            if record["id"] not in into.finished:
                into.append(record)
        yield into


def answers_of(folder: Path) -> Iterator[dict[str, Any]]:
    """Without a last line that is not whole. Raises EditError for another that can't be read."""
    file = folder / ANSWERS
    if not file.exists():
        return
    try:
        with open(file, "rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    return
                try:
                    yield json.loads(line)
                except ValueError as e:
                    raise EditError(f"Line {number} of {file} can't be read ({why(e)}): delete it, and it is made again.") from e
    except OSError as e:
        raise EditError(f"{file} can't be read: {why(e)}.") from e


def cut_torn_line(file: Path) -> None:
    if not file.exists():
        return
    with open(file, "rb+") as lines:
        size = lines.seek(0, os.SEEK_END)
        lines.seek(max(0, size - ENDING))
        ending = lines.read()
        torn = len(ending) - (ending.rfind(b"\n") + 1)
        if torn:
            lines.truncate(size - torn)


def read_lines(file: Path) -> Iterator[dict[str, Any]]:
    with open(file, encoding="utf8") as lines:
        yield from map(json.loads, lines)


def write_parquet(file: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """All columns are texts."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.string()) for name in columns])
    rows = iter(rows)
    with written_whole(file, force=True) as beside, pq.ParquetWriter(beside, schema, compression="ZSTD") as writer:
        while group := list(itertools.islice(rows, GROUP)):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))

"""The folder of one run: shards of pairs in parquet, and of each finished one what it holds. Several processes may write to it at once.

A shard holds the pairs of a few rows, the same ones whoever draws them. It is written beside and renamed, and counts as finished once its
record is there, which comes last: whatever moment a run is killed at, the next one draws the shards that have none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import EditError
from ...files import remove, take_lock, why, written_whole
from ...runners import Attempts
from ..open import open_pairs
from ..parquet_writer import write_rows
from ..runs import line_of, read_object, refuse_other

SETTINGS, CARD, SET_ASIDE = "run.json", "README.md", "set_aside.jsonl"
SHARDS, RECORDS = "shards", "finished"


@dataclass
class LeftOut:
    """Of a shard's rows: those set aside, and by the id of each other row how many of its pairs the safety checker flagged."""

    set_aside: list[dict[str, Any]] = field(default_factory=list)
    flagged: dict[str, int] = field(default_factory=dict)

    def count_flagged(self, row: str, count: int) -> None:
        if count:
            self.flagged[row] = count


class PairRun:
    def __init__(self, folder: Path, settings: Mapping[str, Any]):
        """settings: what has to be the same for the pairs to belong together, as JSON has it. Raises EditError where the folder is
        another run's or none, or can't be written."""
        self.folder, self.settings = folder, dict(settings)
        if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not self.is_run())):
            raise EditError(f"{folder} exists already and is no run of pairs: choose another name.")
        try:
            for part in (folder, folder / SHARDS, folder / RECORDS):
                part.mkdir(parents=True, exist_ok=True)
            if not (folder / SETTINGS).is_file():
                with written_whole(folder / SETTINGS, force=True) as beside:
                    beside.write_text(json.dumps(self.settings, indent=2, ensure_ascii=False) + "\n", encoding="utf8")
        except OSError as e:
            raise EditError(f"{folder} could not be written: {why(e)}.") from e
        refuse_other(folder, read_object(folder / SETTINGS), self.settings)

    def is_run(self) -> bool:
        """Also of one that was killed before its settings were written."""
        return (self.folder / SETTINGS).is_file() or not any(path.is_file() and path.name[:1] != "." for path in self.folder.rglob("*"))

    def shard(self, number: int) -> Path:
        return self.folder / SHARDS / f"{number:05d}.parquet"

    def record(self, number: int) -> dict[str, Any] | None:
        """Of a finished shard: ids of its rows, how many pairs, and the rows set aside; None while it is not finished."""
        return record_in(self.folder, number)

    def is_free(self, number: int) -> bool:
        """Whether a shard that is not finished is drawn by no process."""
        with self.taken(number) as mine:
            return mine

    @contextmanager
    def taken(self, number: int) -> Iterator[bool]:
        """Within the block no other process draws the shard; False where one does, or it is finished."""
        file = self.folder / RECORDS / f".ip2p-{number:05d}.lock"
        with open(file, "ab") as lock:
            try:
                take_lock(lock)
                mine = self.record(number) is None
            except BlockingIOError:
                mine = False
            yield mine

    def write(self, number: int, rows: Iterable[Mapping[str, Any]], ids: Iterable[str], left_out: LeftOut) -> None:
        """rows: as `PairSet.raw` gives them; left_out: is filled while they are read. Raises EditError for a full disk."""
        rows = iter(rows)
        first = next(rows, None)
        pairs = 0
        if first is not None:
            pairs = write_rows(chained(first, rows), self.shard(number), force=True)
        else:
            remove(self.shard(number))
        with written_whole(self.folder / RECORDS / f"{number:05d}.json", force=True) as beside:
            content: dict[str, Any] = {"ids": list(ids), "pairs": pairs, "set_aside": left_out.set_aside}
            content |= {"flagged": left_out.flagged} if left_out.flagged else {}
            beside.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf8")
        remove(self.reopened(number))

    def take_up_again(self) -> None:
        """The rows that were set aside are wanted again: shards that have such rows are no longer finished."""
        for file in (self.folder / RECORDS).glob("*[0-9].json"):
            if read_object(file)["set_aside"]:
                os.replace(file, self.reopened(int(file.stem)))

    def reopened(self, number: int) -> Path:
        """The record of a shard that was taken up again."""
        return self.folder / RECORDS / f"{number:05d}.again"

    def flagged(self, number: int) -> dict[str, int]:
        """Of a shard that was taken up again: by the ids of the rows that are drawn already, how many of their pairs were flagged."""
        file = self.reopened(number)
        return read_object(file).get("flagged", {}) if file.is_file() else {}

    def kept(self, number: int) -> dict[str, Callable[[], Iterator[dict[str, Any]]]]:
        """Of a shard that was taken up again: by their ids the rows that are drawn already, and how to read the pairs of each."""
        if not self.reopened(number).is_file() or not self.shard(number).is_file():
            return {}
        pairs = open_pairs(self.shard(number), in_order=True)
        places: dict[str, list[int]] = {}
        for i in range(len(pairs)):
            places.setdefault(str(pairs.texts(i)["id"]), []).append(i)
        return {row: partial(map, pairs.raw, some) for row, some in places.items()}

    def finish(self, shards: int, bad: Iterable[Mapping[str, Any]], card: str) -> None:
        """Once every shard is finished: writes what was set aside and the card."""
        with written_whole(self.folder / SET_ASIDE, force=True) as beside, open(beside, "w", encoding="utf8", newline="\n") as file:
            file.writelines(map(line_of, bad))
            for number in range(shards):
                file.writelines(map(line_of, (self.record(number) or {}).get("set_aside", ())))
        with written_whole(self.folder / CARD, force=True) as beside:
            beside.write_text(card, encoding="utf8")
        for lock in (self.folder / RECORDS).glob(".ip2p-*.lock"):
            remove(lock)
        Attempts(self.folder).close()


def is_pair_run(folder: Path) -> bool:
    return (folder / RECORDS).is_dir() and (folder / SETTINGS).is_file()


def record_in(folder: Path, number: int) -> dict[str, Any] | None:
    file = folder / RECORDS / f"{number:05d}.json"
    return read_object(file) if file.is_file() else None


def chained(first: Mapping[str, Any], rest: Iterator[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    yield first
    yield from rest

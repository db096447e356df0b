"""Scores of a set's pairs on disk, beside the set: a folder for every scorer, a parquet file for every part of the set.

A part is some rows of one of the set's files, and its name changes when that file does. It is written beside and renamed, so that whatever
moment scoring is killed at, the next run goes on after the last part, with the same bytes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ...errors import EditError
from ...files import written_whole
from ...scorers.pair_scorer import PairScorer, Scores
from ..open import SCORES
from ..pairs import PairSet
from ..tables import parquet_file, stamp

ROWS = 256  # of a part
REASON = "reason"


@dataclass(frozen=True)
class Part:
    """name: of its files. rows: of the pair set."""

    name: str
    rows: range


def folder_beside(source: str | Path) -> Path:
    """Raises EditError for a set that has no place on this machine."""
    path = Path(source)
    if not path.exists():
        raise EditError(f"{source} has no folder of its own here for its scores: name one by --scores DIR.")
    return path.with_name(path.name + SCORES)


def parts_of(pairs: PairSet) -> Iterator[Part]:
    """All rows, in their order."""
    start = 0
    stamps: dict[str, str] = {}
    numbers: dict[str, int] = {}
    files = [pairs.source.place(row)[0] for row in pairs.rows]
    for i in range(1, len(files) + 1):
        if i == len(files) or files[i] != files[start] or i - start == ROWS:
            file = files[start]
            if file not in stamps:
                # Only parquet holds its pictures itself; of others the whole set's fingerprint changes with them.
                stamps[file] = (
                    stamp([Path(file)]) if Path(file).suffix.lower() == ".parquet" and Path(file).is_file() else pairs.fingerprint
                )
            number = numbers[file] = numbers.get(file, -1) + 1
            yield Part(f"{stamps[file][:16]}-{number:05d}", range(start, i))
            start = i


def identity(scorer: PairScorer) -> str:
    """Changes with what it scores by."""
    return f"{scorer.name} {scorer.version}".strip()


class ScoreStore:
    def __init__(self, folder: Path):
        self.folder = folder

    def file(self, part: Part, scorer: PairScorer) -> Path:
        digest = hashlib.sha256(f"{identity(scorer)} {scorer.scores}".encode()).hexdigest()[:12]
        name = re.sub(r"\W+", "-", scorer.name.lower()).strip("-")[:40]
        return self.folder / f"{name}-{digest}" / f"{part.name}.parquet"

    def read(self, part: Part, scorer: PairScorer) -> list[Scores | str] | None:
        """Of each row its scores, or why it has none; None where the part is not scored. Raises EditError for a file that is not whole."""
        file = self.file(part, scorer)
        if not file.is_file():
            return None
        with parquet_file(file) as parquet:
            try:
                rows = parquet.read(use_threads=False).to_pylist()
            except (pa.ArrowException, OSError) as e:
                raise EditError(f"{file} can't be read: remove it, and its part is scored again.") from e
        if len(rows) != len(part.rows) or any(REASON not in row for row in rows):
            raise EditError(f"{file} is not of these pairs: remove it, and its part is scored again.")
        return [row[REASON] or {name: row[name] for name in scorer.scores if row.get(name) is not None} for row in rows]

    def write(self, part: Part, scorer: PairScorer, found: Sequence[Scores | str]) -> None:
        """Raises EditError for a full disk."""
        scores = [{} if isinstance(one, str) else one for one in found]
        columns = {name: pa.array([one.get(name) for one in scores], pa.float64()) for name in scorer.scores}
        columns[REASON] = pa.array([one if isinstance(one, str) else None for one in found], pa.string())
        with written_whole(self.file(part, scorer), force=True) as beside:
            pq.write_table(pa.table(columns), beside)

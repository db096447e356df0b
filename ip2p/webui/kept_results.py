"""What the results of the last edits of each browser window were made of, in memory: any of them can be finished otherwise later.

Bounded in number and in bytes. The oldest jobs go first; a restart of the WebUI forgets all of them, and its page says so.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from threading import RLock
from typing import TYPE_CHECKING

from ..images import bytes_of
from .history_store import MAX_WINDOWS, WINDOW_ID

if TYPE_CHECKING:
    from PIL import Image

    from ..edit import Edit
    from .finishing import Made

MAX_JOBS = 2  # of one window: two tabs of a browser share its id
MAX_BYTES = 512_000_000  # of all
JOB_FIELD, RESULTS_FIELD, SHOWN_FIELD, BEFORE_FIELD = (
    "instruct_edit_job",
    "instruct_edit_results",
    "instruct_edit_shown",
    "instruct_edit_before",
)  # in the host's description of a job, which the page keeps

_lock = RLock()  # Gradio answers several events at once


@dataclass(frozen=True)
class Exactly:
    """The edit that makes one result exactly. painted: the mask that was painted for it; checkpoint: the title of the one that made it."""

    edit: Edit
    painted: Image.Image | None
    checkpoint: str


@dataclass
class Kept:
    """One result. exactly: what makes it exactly, where it was made fast; file: the one that shows it as it was finished last, where that
    was not the edit itself."""

    made: Made
    seed: int
    exactly: Exactly | None = None
    file: Path | None = None

    def temporary_file(self, file: Path) -> Path:
        """`file`, in place of the one before, which is deleted."""
        self.forget_file()
        self.file = file
        return file

    @property
    def parts(self) -> Iterator[tuple[int, int]]:
        """(identity, bytes) of everything it holds; results of one job share some."""
        yield from self.made.parts
        if self.exactly:
            yield from bytes_of(self.exactly.edit.image, self.exactly.edit.mask, self.exactly.painted)

    def forget_file(self) -> None:
        if self.file is not None:
            self.file.unlink(missing_ok=True)


@dataclass(frozen=True)
class Job:
    """results: by place in the gallery."""

    owner: tuple[str | None, str]  # user and window
    results: Mapping[int, Kept]

    @property
    def parts(self) -> dict[int, int]:
        """By identity the bytes of what it holds."""
        return dict(part for result in self.results.values() for part in result.parts)


class KeptResults:
    """The jobs, oldest first."""

    def __init__(self, max_bytes: int = MAX_BYTES):
        self.max_bytes = max_bytes
        self.jobs: OrderedDict[str, Job] = OrderedDict()

    def add(self, user: str | None, window: str, results: Mapping[int, Kept]) -> str | None:
        """Keeps a job's results and drops what is too old; the job's id, or None where nothing was kept."""
        if not results or not isinstance(window, str) or not WINDOW_ID.fullmatch(window):
            return None
        key, job = token_hex(16), Job((user, window), results)
        with _lock:
            self.jobs[key] = job
            own = [k for k, kept in self.jobs.items() if kept.owner == job.owner]
            for old in own[:-MAX_JOBS]:
                self._drop(old)
            windows = list(dict.fromkeys(kept.owner[1] for kept in reversed(self.jobs.values()) if kept.owner[0] == user))
            for old in [k for k, kept in self.jobs.items() if kept.owner[0] == user and kept.owner[1] in windows[MAX_WINDOWS:]]:
                self._drop(old)
            while self.jobs and size_of(self.jobs.values()) > self.max_bytes:
                self._drop(next(iter(self.jobs)))
            return key if key in self.jobs else None

    def result(self, user: str | None, window: str, key: str, place: int) -> Kept | None:
        """None for what is not, or not any longer, kept for this window of this user."""
        with _lock:
            job = self.jobs.get(key) if isinstance(key, str) else None
            return job.results.get(place) if job and job.owner == (user, window) else None

    def newest(self, user: str | None, window: str) -> str | None:
        """The id of the window's last job."""
        with _lock:
            return next((key for key, job in reversed(self.jobs.items()) if job.owner == (user, window)), None)

    def _drop(self, key: str) -> None:
        for result in self.jobs.pop(key).results.values():
            result.forget_file()


def size_of(jobs: Iterable[Job]) -> int:
    parts: dict[int, int] = {}
    for job in jobs:
        parts.update(job.parts)
    return sum(parts.values())


def with_job(info: str, key: str | None, results: Sequence[int], shown: int, before: str) -> str:
    """The host's description of a job, as JSON, with the id under which its results are kept, their places in the gallery, where a grid and
    pictures of where the edit acts are too, the place of the one to show first, and what the page shows the edited picture by."""
    of_job = {JOB_FIELD: key} if key else {}
    return json.dumps({**json.loads(info), **of_job, RESULTS_FIELD: list(results), SHOWN_FIELD: shown, BEFORE_FIELD: before})


kept = KeptResults()

"""Which items have been begun and not ended: how a row that takes its process down is found out, whoever takes it up next.

A process that is gone tells nothing, so each leaves a small file before it begins an item and removes it afterwards. Only deaths within
the run that goes on count: where the whole run was ended, its items are not to blame.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import EditError
from ..files import remove, written_whole
from .stage import EndsTheProcess

MOST = 3  # processes that one item may take with it
FOLDER = ".ip2p-begun"


class TookItsProcess(EditError):
    """The reason for which an item is set aside."""


@dataclass(frozen=True)
class Attempts:
    """folder: of one command's output, which all its workers see. run: the name of this run of the command, which its workers share."""

    folder: Path
    run: str = field(default_factory=lambda: uuid.uuid4().hex)

    @contextmanager
    def of(self, item: str) -> Iterator[None]:
        """For the block that works on the item. Raises TookItsProcess where three processes have ended within it already, until it is
        forgotten."""
        file = self.file(item)
        begun_by, deaths = read(file)
        deaths += begun_by == self.run
        if deaths >= MOST:
            write(file, None, deaths)
            raise TookItsProcess(f"it took its process with it {deaths} times")
        write(file, self.run, deaths)
        ended = True
        try:
            yield
        except EndsTheProcess:
            ended = False
            raise
        finally:
            if ended:
                remove(file)

    def forget(self, items: Iterable[str]) -> None:
        """Once it is written down elsewhere what has become of them."""
        for item in items:
            remove(self.file(item))

    def close(self) -> None:
        """Once the work is finished."""
        remove(self.folder / FOLDER)

    def file(self, item: str) -> Path:
        return self.folder / FOLDER / f"{hashlib.sha256(item.encode()).hexdigest()[:32]}.json"


def read(file: Path) -> tuple[str | None, int]:
    """→ (the run that has begun it, processes that ended before). Of a file that is not there, or that something else wrote: none."""
    try:
        content = json.loads(file.read_text(encoding="utf8"))
        return content["begun_by"], int(content["deaths"])
    except (OSError, ValueError, TypeError, KeyError):
        return None, 0


def write(file: Path, begun_by: str | None, deaths: int) -> None:
    with written_whole(file, force=True) as beside:
        beside.write_text(json.dumps({"begun_by": begun_by, "deaths": deaths}), encoding="utf8")

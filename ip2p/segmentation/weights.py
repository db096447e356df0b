"""Weights of networks that are fetched on first use: looked for where a host keeps its own, told with their licence, checked by their hash."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..checkpoints.fetch import Progress, fetch
from ..errors import EditError


@dataclass(frozen=True)
class Weights:
    """One file. size: in bytes; licence: a sentence for whoever fetches it."""

    file: str
    url: str
    sha256: str
    size: int
    licence: str


@dataclass
class Places:
    """Where weights lie. kept: the folder they are fetched to; others: folders of a host that may have them, under the same names;
    progress: gets how far a download is; say: gets a sentence before one."""

    kept: Path | None = None
    others: tuple[Path, ...] = ()
    progress: Progress = lambda done, total: None
    say: Callable[[str], None] = lambda sentence: print(sentence, file=sys.stderr)

    def found(self, weights: Weights) -> Path | None:
        """The file, or None where it is still to be fetched."""
        folders = [*self.others, *filter(None, [self.kept])]
        return next((folder / weights.file for folder in folders if (folder / weights.file).is_file()), None)

    def of(self, weights: Weights) -> Path:
        """The file, fetched if need be. Raises EditError as `fetch` does, and where there is no folder for it."""
        if file := self.found(weights):
            return file
        if self.kept is None:
            raise EditError(f"{weights.file} is not here, and there is no folder to fetch it to.")
        self.say(f"Fetching {weights.url} ({weights.size / 1e6:.0f} MB). {weights.licence}")
        return fetch(self.kept / weights.file, weights.url, weights.sha256, self.progress)


PLACES = Places()  # the WebUI's half names its folders here

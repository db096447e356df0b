"""The pairs of each photograph, kept beside an unfinished pair set: an interrupted run goes on after the last photograph."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .. import __version__
from ..checkpoints.recognise import sha256
from ..errors import EditError
from ..files import digest_of_name, remove, written_whole
from .pairs import PICTURES
from .plan import Plan


def folder_beside(output: Path) -> Path:
    return output.with_name(f".ip2p-{digest_of_name(output)}-kept")


class KeptPairs:
    """A folder beside `output`, with a file for every photograph whose pairs are made, named by all that they depend on."""

    def __init__(self, output: Path, plan: Plan):
        self.folder = folder_beside(output)
        self.licences = plan.licences
        settings = asdict(plan) | {"kinds": list(plan.kinds), "hold_out": sorted(plan.hold_out), "licences": None}
        self.settings = json.dumps([__version__, settings], sort_keys=True)

    def file_of(self, photo: Path, name: str) -> Path:
        licence = "" if self.licences is None else self.licences.get(Path(name).name)
        parts = self.settings, name, licence, sha256(photo)
        return self.folder / f"{hashlib.sha256(json.dumps(parts).encode(errors='surrogateescape')).hexdigest()[:32]}.json"

    def read(self, file: Path) -> list[dict[str, Any]] | None:
        """The rows as `pairs.row_of` gives them; None where they are to be made."""
        try:
            content = json.loads(file.read_text(encoding="utf8"))
            pictures = [base64.b85decode(picture) for picture in content["pictures"]]
            return [row | {name: None if row[name] is None else pictures[row[name]] for name in PICTURES} for row in content["rows"]]
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            return None

    def write(self, file: Path, rows: Iterable[dict[str, Any]]) -> None:
        """A photograph's own picture, which all its rows have, once."""
        places: dict[bytes, int] = {}
        numbered = [
            row | {name: None if row[name] is None else places.setdefault(row[name], len(places)) for name in PICTURES} for row in rows
        ]
        content = {"pictures": [base64.b85encode(picture).decode() for picture in places], "rows": numbered}
        # What can't be kept is made again after an interruption; a disk that is full ends the pair set itself.
        with suppress(EditError), written_whole(file, force=True) as beside:
            beside.write_text(json.dumps(content), encoding="utf8")

    def remove(self) -> None:
        remove(self.folder)

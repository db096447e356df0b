"""What is known of each step in an output folder: which are finished, which go on, and which were made otherwise and are made anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import EditError
from ..files import remove, written_whole
from .recipe import Step

FOLDER = "records"
FINISHED, GOES_ON, ANEW, TO_DO = "finished", "goes on", "made anew", "to do"


class Records:
    """A small file for every step that was begun, beside the steps' folders."""

    def __init__(self, output: Path):
        self.output = output

    def file_of(self, step: Step) -> Path:
        return self.output / FOLDER / f"{step.name}.json"

    def read(self, step: Step) -> dict[str, Any]:
        """Empty where there is none."""
        try:
            content = json.loads(self.file_of(step).read_text(encoding="utf8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def write(self, step: Step, **content: Any) -> None:
        """Raises EditError."""
        with written_whole(self.file_of(step), force=True) as beside:
            beside.write_text(json.dumps({"digest": step.digest, "command": step.shown, **content}, indent=1), encoding="utf8")

    def state(self, step: Step) -> str:
        """Raises EditError for a folder of the step's name that no step made."""
        said = self.read(step)
        if not said:
            if (self.output / step.name).exists():
                raise EditError(f"{self.output / step.name} is none of this command's: choose another output folder.")
            return TO_DO
        if said.get("digest") != step.digest:
            return ANEW
        there = (self.output / step.result).exists()
        # What is written by renaming is whole as soon as it is there, so that a kill between it and the record costs nothing.
        return FINISHED if there and (said.get("finished") or renamed(step)) else GOES_ON

    def begin(self, step: Step) -> None:
        """Removes what other settings made. Raises EditError."""
        if self.state(step) == ANEW:
            remove(self.output / step.name)
        if not self.read(step) or self.read(step).get("digest") != step.digest:
            self.write(step, finished=False, seconds=0.0)

    def spend(self, step: Step, seconds: float, finished: bool) -> None:
        """Adds to what the step took, over all its starts."""
        self.write(step, finished=finished, seconds=round(self.read(step).get("seconds", 0.0) + seconds, 1))

    def seconds(self, step: Step) -> float:
        return float(self.read(step).get("seconds", 0.0))


def renamed(step: Step) -> bool:
    """Whether its result comes to be in one moment, and its command has nothing to do after it."""
    return "--finetune" in step.command or step.command[:2] in (("dataset", "scenes"), ("dataset", "filter"), ("dataset", "calibrate"))

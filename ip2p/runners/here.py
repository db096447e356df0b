"""Units worked on one after the other in this process. One that takes the process down ends the run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from .stage import Progress, Result, Stage, Unit, Worker


@dataclass(frozen=True)
class Here:
    """device: as torch names it; None: CUDA where there is one."""

    device: str | None = None

    def run(self, stage: Stage[Unit, Result], units: Iterable[Unit], progress: Progress) -> Iterator[Result]:
        """As `Runner.run`."""
        worker: Worker[Unit, Result] | None = None
        for number, unit in enumerate(units):
            if worker is None:
                worker = stage.open(self.device)
            yield worker(unit, partial(progress, number))

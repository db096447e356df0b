"""Drawing pairs as a stage of work: what any process needs to draw a shard into the folder of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ...runners import Attempts, Report
from .inspection import Inspection, Inspector
from .make_pairs import Shard, Wanted, pairs_of_rows
from .pair_run import LeftOut, PairRun
from .text_to_image import TextToImage


@dataclass(frozen=True)
class DrawPairs:
    """wanted: as it is for the run. folder, settings: of the run. model, dtype: as `TextToImage.load` takes them. attempts: at its rows.
    threads: of each process on the CPU, on whose number the roundings depend. inspection: of what is drawn."""

    wanted: Wanted
    folder: Path
    settings: Mapping[str, Any]
    model: str
    dtype: str
    attempts: Attempts
    threads: int
    inspection: Inspection = field(default_factory=Inspection)

    def open(self, device: str | None) -> Drawer:
        """Raises EditError as `TextToImage.load`, `PairRun` and `Inspection.open` do."""
        torch.set_num_threads(self.threads)
        model, run = TextToImage.load(self.model, device, self.dtype), PairRun(self.folder, self.settings)
        return Drawer(self.wanted, model, run, self.attempts, self.inspection.open(device))


@dataclass(frozen=True)
class Drawer:
    """A model that draws into a run."""

    wanted: Wanted
    model: TextToImage
    run: PairRun
    attempts: Attempts
    inspector: Inspector

    def __call__(self, shard: Shard, report: Report) -> None:
        """Leaves the shard to another process that draws it. Raises EditError for a full disk and for too little memory."""
        with self.run.taken(shard.number) as mine:
            if not mine:
                return
            ids = [row.id for row in shard.rows]
            left_out = LeftOut(flagged=self.run.flagged(shard.number))
            kept = self.run.kept(shard.number)
            pairs = pairs_of_rows(self.wanted, shard.rows, self.model, kept, self.attempts, self.inspector, left_out, report)
            self.run.write(shard.number, pairs, ids, left_out)
            self.attempts.forget(ids)

"""A chain of edits in the host (`ip2p/chain.py`): a job for every line."""

from __future__ import annotations

from dataclasses import dataclass, field

from modules import shared
from modules.processing import Processed

from ..chain import lines_of, next_edit
from ..edit import Edit
from .processing import Result, run_edit


@dataclass
class ChainRun:
    """What a chain made. processed: the host's description of all lines as one job; lines: of every line its results."""

    processed: Processed
    lines: list[list[Result]] = field(default_factory=list)

    @property
    def results(self) -> list[Result]:
        """Those of every line, in order."""
        return [result for line in self.lines for result in line]

    def add(self, processed: Processed, results: list[Result]) -> None:
        self.lines.append(results)
        if len(self.lines) > 1:
            for name in ("images", "infotexts", "all_seeds", "all_prompts", "all_negative_prompts", "all_subseeds"):
                getattr(self.processed, name).extend(getattr(processed, name))
            self.processed.comments += processed.comments


def run_chain(edit: Edit, **options) -> ChainRun:
    """Runs an edit line by line; result k of a line starts from result k of the line before. An interrupted line is the last.

    options: as for `run_edit`. Raises EditError as that does.
    """
    lines = lines_of(edit)
    shared.state.job_count = edit.count * len(lines)
    run = None
    for line in lines:
        starts = [next_edit(line, result.image, result.seed) for result in run.lines[-1]] if run else []
        processed, results = run_edit(line, starts, **options)
        run = run or ChainRun(processed)
        run.add(processed, results)
        if shared.state.interrupted or shared.state.stopping_generation or not results:
            break
    return run


def heat_infotext(result: Result) -> str:
    """Of the picture of where the instruction acted on a result."""
    return f"{result.infotext}, Instruct edit shows: where the instruction acts"

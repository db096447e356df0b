"""A chain of edits in the host (`ip2p/chain.py`): a job for every line, and for every region that is edited by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import cycle

from modules import shared
from modules.processing import Processed

from ..chain import lines_of, next_edit, steps_of, varied
from ..edit import Edit
from ..images import notes_of
from ..located import located
from .finders import FINDERS
from .processing import Result, check_room, results_of_line, run_edit


@dataclass
class ChainRun:
    """What a chain made. edit: the one it ran, its region found; processed: the host's description of all lines as one job; lines: of every
    line its results; asked: how many results were asked for."""

    edit: Edit
    processed: Processed
    asked: int
    lines: list[list[Result]] = field(default_factory=list)

    @property
    def results(self) -> list[Result]:
        """Those of every line, in order."""
        return [result for line in self.lines for result in line]

    @property
    def interrupted(self) -> bool:
        """Whether a result is half done or missing."""
        return len(self.results) < self.asked or any(result.cut_short for result in self.results)

    def one_by_one(self) -> Iterator[tuple[Result, Edit]]:
        """Every result with the edit that makes it alone, of the picture that its line was given."""
        for number, (line, results) in enumerate(zip(lines_of(self.edit), self.lines)):
            for result, one in zip(results, cycle(varied(line))):
                seeded = replace(one, seed=result.seed, count=1, batch_size=1)
                yield result, next_edit(seeded, result.picture, result.seed) if number else seeded

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
    lines_of(edit)  # refuses what can't be a chain before anything is looked for
    check_room(edit)
    mask, edit = edit.mask, located(edit, FINDERS)
    lines = [steps_of(line) for line in lines_of(edit)]
    results = (len(edit.variations) or edit.count) * sum(map(len, lines))
    shared.state.job_count = max(shared.state.job_count, results)  # of many pictures it is known
    run = None
    for steps in lines:
        processed, results = run_line(steps, run.lines[-1] if run else [], options)
        run = run or ChainRun(edit, processed, results_of_line(edit) * len(lines))
        run.add(processed, results)
        if is_over() or not results:
            break
    for what, picture in (("picture", edit.image), ("mask", mask)):
        for note in notes_of(picture) if picture else ():
            run.processed.comments += f"The {what}: {note}.\n"
    if run.interrupted:
        whole = sum(not result.cut_short for result in run.results)
        run.processed.comments += f"The edit was interrupted: {whole} of {run.asked} results are finished.\n"
    return run


def run_line(steps: list[Edit], before: list[Result], options: dict) -> tuple[Processed, list[Result]]:
    """One line, part by part: only what is made of the last part is saved. before: the results of the line before.

    An interrupted part is the last.
    """
    first: list[Result] = []
    for step in steps:
        lines = varied(step)
        starts = [next_edit(line, result.image, result.seed) for line, result in zip(cycle(lines), before)]
        if step.variations:
            starts, step = starts or lines, replace(lines[0], count=len(lines))
        processed, before = run_edit(step, starts, **{**options, "save": options.get("save", False) and step.part == steps[-1].part})
        first = first or before
        if is_over() or not before:
            break
    return processed, [replace(result, picture=start.picture) for result, start in zip(before, first)]


def is_over() -> bool:
    return shared.state.interrupted or shared.state.stopping_generation


def heat_infotext(result: Result) -> str:
    """Of the picture of where the instruction acted on a result."""
    return f"{result.infotext}, Instruct edit shows: where the instruction acts"

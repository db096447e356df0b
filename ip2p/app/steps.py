"""The chain of edits on the page: its steps, going back, and going on from a result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import gradio as gr

from ..chain import lines_of
from ..edit import Edit
from ..errors import EditError
from ..images import infotext_in
from .painted import Exact, Painted
from .said import said
from .uploads import NO_LONGER, uploaded


class Step(NamedTuple):
    """One step, all of it files and texts. picture, result: of what was edited and what was made of it; before, after: of small pictures of
    both; painted: where it might change."""

    picture: str
    before: str
    result: str
    after: str
    instruction: str
    painted: Painted = Painted()


def steps_of(edit: Edit, picture: str, before: str, results: Sequence[tuple[str, str]], painted: Painted) -> list[Step]:
    """picture, before: the files of what was edited and of its small picture; results: of each line of the edit's instruction, or of each
    of its variations, the files of result and small picture, the last ones missing where it was stopped."""
    if edit.variations:
        return [Step(picture, before, *made, instruction, painted) for made, instruction in zip(results, edit.variations)]
    starts = [(picture, before), *results]
    return [Step(*start, *made, line.instruction, painted) for start, made, line in zip(starts, results, lines_of(edit))]


def use_result(chain: Sequence[Step], exact: Exact) -> Iterator[tuple]:
    """→ the file of the last result, to be the next picture; the mask file, which goes with it. What is painted stays. Raises EditError."""
    if not chain:
        raise EditError("There is no result yet: edit a picture first.")
    picture = uploaded(chain[-1].result, NO_LONGER)
    yield picture, exact and (picture, exact[1]), said()


def choose(chain: Sequence[Step], variants: Sequence[Step], event: gr.SelectData) -> Iterator[tuple]:
    """The variation that was pressed becomes the last result → its small pictures to compare, the chain and its results to show, the
    infotext, the whole result. Raises EditError."""
    if not chain or not isinstance(event.index, int) or not 0 <= event.index < len(variants):
        raise EditError("There is no such variation: edit the picture again.")
    step = variants[event.index]
    result, chain = uploaded(step.result, NO_LONGER), [*chain[:-1], step]
    yield (step.before, step.after), chain, strip(chain), infotext_in(Path(result)) or "", result, said()


def shown_variants(variants: Sequence[Step], selected: int = 0) -> dict:
    """What the gallery of variations shows; nothing of a result that has none. Raises EditError."""
    return gr.update(value=strip(variants), selected_index=selected if variants else None, visible=bool(variants))


def step_back(chain: Sequence[Step]) -> Iterator[tuple]:
    """Takes the last step off → the picture it started from, what was painted on it and the mask file, its instruction; the chain without
    it and its results to show; of the step before the small pictures to compare, infotext and result; no variations. Raises EditError."""
    if not chain:
        raise EditError("There is no step to take back.")
    *rest, last = chain
    result = uploaded(rest[-1].result, NO_LONGER) if rest else None
    compared = (rest[-1].before, rest[-1].after) if rest else None
    infotext = (infotext_in(Path(result)) if result else None) or ""
    picture, exact = uploaded(last.picture, NO_LONGER), (last.picture, last.painted.file)
    yield picture, last.painted.text, exact, last.instruction, rest, strip(rest), compared, infotext, result, [], shown_variants(()), said()


def strip(chain: Sequence[Step]) -> list[tuple[str, str]]:
    """Small pictures of the chain's results with their instructions. Raises EditError."""
    return [(uploaded(step.after, NO_LONGER), step.instruction) for step in chain]

"""Synthetic scenes through `dataset pairs`: the rows it takes, their exact pairs, and what its pairs show over p, judged by their pixels."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import EditError
from ...files import refuse_existing, written_whole
from ...progress import bar
from ..instructions.captions import Bad
from ..pairs import Pair, PairSet
from ..parquet_writer import write_pairs, write_rows
from ..saying import Report, sayer
from ..scenes import Scenes
from ..varied.description import Description
from ..varied.drawer import Drawing
from ..varied.scene_edits import SceneEdit
from .draws import P_NAME
from .scene_truth import truth_of
from .triplet_files import Triplet, read_triplets

SHARES = {"first": "first picture right", "placed": "shape in its place", "second": "second picture right", "right": "all three"}


def write_scene_rows(file: Path, count: int, seed: int, force: bool) -> None:
    """Raises EditError when there is a file and not `force`."""
    scenes = Scenes(count, seed)

    def rows() -> Iterator[dict[str, str]]:
        for i in range(count):
            texts: dict[str, Any] = scenes.texts(i)
            yield {"id": f"scene-{seed}-{i}", "input": texts["original_prompt"], "edit": texts["edit_prompts"][0], "output": texts["edited_prompt"]}  # fmt: skip

    write_lines(file, rows(), force)


def write_lines(file: Path, lines: Iterable[str | dict[str, str]], force: bool) -> None:
    """Texts as they are, rows as JSON. Raises EditError when there is a file and not `force`."""
    with written_whole(file, force) as beside, open(beside, "w", encoding="utf8", newline="\n") as written:
        written.writelines((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)


def unlike(edits: Iterable[SceneEdit], rows: Path | None) -> Iterator[SceneEdit]:
    """Without those of captions that the rows have, before or after their edit. Raises EditError where they can't be read."""
    known: set[str] = set()
    for row in read_triplets(rows, 0) if rows else ():
        if isinstance(row, Triplet):
            known |= {row.input, row.output}
    return (edit for edit in edits if edit.captions[0] not in known)


def write_exact_pairs(rows: Path, file: Path, seed: int, force: bool) -> tuple[int, list[Bad]]:
    """Of every row the scene that its captions tell of, before and after, drawn so that only the edit differs → how many, and the rows
    that could not be drawn. Raises EditError where not one can be."""
    refuse_existing(file, force, sources=[rows])
    bad: list[Bad] = []
    count = 0

    def pairs() -> Iterator[Pair]:
        nonlocal count
        for number, row in enumerate(read_triplets(rows, 0)):
            if not isinstance(row, Triplet):
                bad.append(row)
                continue
            try:
                before, after = Description.by(row.input), Description.by(row.output)
                if not (before.drawable and after.drawable) or len(before.things) != len(after.things):
                    raise EditError(f"“{row.edit[:80]}” leads to a scene that can't be drawn of “{row.input[:80]}”.")
            except EditError as e:
                bad.append((f"row {row.id}", str(e)))
                continue
            drawing = Drawing.of(before, np.random.default_rng([seed, number]))
            count += 1
            yield Pair(drawing.picture(), drawing.after(after).picture(), (row.edit,), row.input, row.output, extra={"id": row.id, "split": row.split})  # fmt: skip

    write_pairs(pairs(), file, force)
    return count, bad


@dataclass(frozen=True)
class Judged:
    """p: None where the pair does not say; shares: SHARES' names with 0 or 1."""

    p: float | None
    shares: dict[str, float]


def judge_pairs(pairs: PairSet, file: Path, force: bool, report: Report = None, source: Path | None = None) -> list[Judged]:
    """Writes the pairs with what was seen among their scores. Raises EditError where not one is of a scene."""
    refuse_existing(file, force, sources=[source] if source else [])
    truths: list[Judged] = []
    write_rows(judged_rows(pairs, truths, report), file, force)
    return truths


def judged_rows(pairs: PairSet, truths: list[Judged], report: Report) -> Iterator[dict[str, Any]]:
    shown = bar(len(pairs), "pair")
    say = sayer(report, shown)
    try:
        for i in range(len(pairs)):
            shown.update()
            try:
                row, truth = pairs.raw(i), truth_of(pairs[i])
            except EditError as e:
                say(str(e))
                continue
            scores = dict(row["scores"])
            truths.append(Judged(scores.get(P_NAME), truth.scores() | {"placed": float(truth.placed)}))
            yield row | {"scores": scores | truth.scores()}
    finally:
        shown.close()


def binned(truths: Iterable[Judged]) -> dict[float, list[Judged]]:
    """By p, rounded to a tenth; 0 are those that do not say."""
    bins: dict[float, list[Judged]] = {}
    for truth in truths:
        bins.setdefault(round(truth.p or 0.0, 1), []).append(truth)
    return dict(sorted(bins.items()))


def share(truths: Sequence[Judged], name: str) -> float:
    return sum(truth.shares[name] for truth in truths) / len(truths)


def table_of(truths: Sequence[Judged]) -> list[str]:
    """Lines for the terminal: the shares at every p, and of all."""
    rows = [(f"{p:.1f}", some) for p, some in binned(truths).items()]
    lines = [f"{'p':>5} {'pairs':>7}" + "".join(f"  {what:>20}" for what in SHARES.values())]
    for name, some in (*rows, *([("all", truths)] if len(rows) > 1 else [])):
        lines.append(f"{name:>5} {len(some):7}" + "".join(f"  {share(some, what):20.3f}" for what in SHARES))
    return lines


def plot_shares(truths: Sequence[Judged], file: Path) -> None:
    """The shares over p, as PNG. Raises ImportError without matplotlib."""
    from ...drawing import SERIES, SIZE, draw_png

    bins = binned(truths)

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        for (name, what), colour in zip(SHARES.items(), SERIES):
            axes.plot(list(bins), [share(some, name) for some in bins.values()], "o-", markersize=4, color=colour, label=what)
        axes.set(xlabel="p: share of the steps in which self-attention is shared", ylabel="share of pairs", ylim=(0, 1.02))
        axes.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncol=2)  # beside the curves, which take the whole height

    draw_png(draw, file, SIZE)

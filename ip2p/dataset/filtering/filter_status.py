"""How a run of the filter ended: what is kept and why not the rest, the histograms of the scores, and sheets of kept and rejected pairs."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from ...errors import EditError
from ...files import written_whole
from ..open import open_pairs
from ..pairs import BrokenRow, PairSet
from ..runs import read_object
from ..tables import parquet_file
from ..view import cell, sheet
from .filter_run import RUN, VERDICTS
from .score_store import REASON

LONGEST_LIST = 12  # reasons that are named
SHOWN = 12  # pairs on a sheet
BINS = 40
PLOT = (4.2, 2.4)  # inches of one histogram
HISTOGRAMS, KEPT, REJECTED = "scores.png", "kept.png", "rejected.png"


def is_filter_run(folder: Path) -> bool:
    return (folder / RUN).is_file() and (folder / VERDICTS).is_file()


def told(folder: Path) -> list[str]:
    """Lines for the terminal. Raises EditError where a file can't be read."""
    run = read_object(folder / RUN)
    counts: dict[str, int] = run.get("counts", {})
    kept, total = counts.get("", 0), sum(counts.values())
    wanted = ", ".join(f"{name} ≥ {least:g}" for name, least in run.get("at_least", {}).items())
    most = f"the {run['most']} of a row with the highest {run.get('by')}" if run.get("most") else "any number of a row"
    said = [
        ("scored", f"{total:,} pairs of {Path(run.get('pairs', '–')).name}"),
        ("wanted", f"{wanted}; {most}"),
        ("kept", f"{kept:,} ({kept / max(total, 1):.1%}), in {run.get('output', '–')}"),
        ("rejected", f"{total - kept:,}"),
    ]
    reasons = sorted(((count, reason) for reason, count in counts.items() if reason), key=lambda item: (-item[0], item[1]))
    return [f"{name:<12}{text}" for name, text in said] + [f"  {count:>9,}  {reason}" for count, reason in reasons[:LONGEST_LIST]]


def draw(folder: Path, target: Path) -> list[Path]:
    """Writes the histograms and the sheets into `target`. → the files. Raises EditError, ImportError without matplotlib."""
    run, scores = read_object(folder / RUN), verdicts_in(folder)
    reasons = scores.pop(REASON)
    files = [target / HISTOGRAMS]
    draw_histograms(scores, reasons, run.get("at_least", {}), files[0])
    place = folder / run["pairs"]
    pairs = open_pairs(place if place.exists() else run["pairs"])
    if len(pairs) != len(reasons):
        raise EditError(f"{pairs.name} has other pairs than when it was filtered: filter it again.")
    for name, these in ((KEPT, [i for i, why in enumerate(reasons) if not why]), (REJECTED, [i for i, why in enumerate(reasons) if why])):
        shown = sorted(random.Random(0).sample(these, min(SHOWN, len(these))))
        if cells := list(cells_of_rows(pairs, shown, reasons, scores)):
            with written_whole(target / name, force=True) as beside:
                sheet(cells).save(beside, "PNG")
            files.append(target / name)
    return files


def cells_of_rows(pairs: PairSet, rows: Sequence[int], reasons: Sequence[str], scores: Mapping[str, np.ndarray]) -> Iterator[Image.Image]:
    """Each row with its scores, and why it is rejected; broken ones are passed over."""
    for i in rows:
        figures = {name: float(values[i]) for name, values in scores.items() if np.isfinite(values[i])}
        try:
            pair = pairs[i]
            rejected = {"rejected": reasons[i]} if reasons[i] else {}
            yield cell(replace(pair, scores=figures, extra=rejected, edit_prompts=pair.edit_prompts[:1]), i)
        except BrokenRow:
            continue


def verdicts_in(folder: Path) -> dict[str, Any]:
    """The column of reasons as a list, and of every score an array, not-a-number where there is none."""
    with parquet_file(folder / VERDICTS) as parquet:
        try:
            table = parquet.read(use_threads=False)
        except (pa.ArrowException, OSError) as e:
            raise EditError(f"{folder / VERDICTS} can't be read: filter again.") from e
    columns: dict[str, Any] = {name: np.asarray(table[name].to_pylist(), dtype=np.float64) for name in table.column_names if name != REASON}
    return {REASON: table[REASON].to_pylist()} | columns


def draw_histograms(scores: dict[str, np.ndarray], reasons: Sequence[str], at_least: dict[str, float], file: Path) -> None:
    """Of every score one, kept pairs upon rejected ones, with its threshold."""
    from ...drawing import INK, SERIES, Figure, draw_png

    kept = np.array([not reason for reason in reasons])
    names = [name for name, values in scores.items() if np.isfinite(values).any()]
    if not names:
        raise EditError("Not one pair has a score to be drawn.")
    columns = min(len(names), 2)
    rows = -(-len(names) // columns)

    def fill(figure: Figure) -> None:
        for n, name in enumerate(names):
            values = scores[name]
            known = np.isfinite(values)
            axes = figure.add_subplot(rows, columns, n + 1)
            axes.hist(
                [values[known & kept], values[known & ~kept]], BINS, stacked=True, color=[SERIES[0], SERIES[1]], label=["kept", "rejected"]
            )
            if name in at_least:
                axes.axvline(at_least[name], color=INK, lw=1, ls="--", label=f"at least {at_least[name]:g}")
            axes.set(xlabel=name, ylabel="pairs")
            axes.legend(fontsize=8)

    draw_png(fill, file, (PLOT[0] * columns, PLOT[1] * rows))

"""What the edit models of a recipe reach: the tables for the terminal and for the page, and the curve over the image scale."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..evaluation.metrics import Interval
from ..evaluation.procedural import share
from ..evaluation.scene_cases import RECOLOURING
from ..evaluation.scene_run import BLANKED, COPIED, EDITED, FIGURES, SHUFFLED
from ..evaluation.summary import difference_text, text_table
from ..pages import table
from .recipe import Step

if TYPE_CHECKING:
    from ..drawing import Axes

KINDS = (RECOLOURING, "size", "place", "texture")
CONTROLS = {EDITED: "edited", BLANKED: "blanked", SHUFFLED: "shuffled", COPIED: "copied"}
RECIPE = "the recipe"


@dataclass(frozen=True)
class Reached:
    """Of one edit model. arm: RECIPE, or how its recipe differs. figures: as `evaluate --scenes` writes them."""

    arm: str
    figures: Mapping[str, Any]

    @property
    def model(self) -> Mapping[str, Any]:
        return self.figures["models"][0]

    def both(self, kind: str, what: str = EDITED) -> Interval | None:
        """The share of scenes in which what was asked is there and the rest stayed; None where none was asked."""
        of = self.model["kinds"].get(kind, {}).get(what)
        return interval_of(of["both"]) if of else None

    @property
    def differences(self) -> Iterator[tuple[str, Interval]]:
        """By kind, how much more often both is right than with the recipe."""
        for by_kind in self.figures["differences"].values():
            yield from ((kind, interval_of(of)) for kind, of in by_kind.items())


def interval_of(figure: Mapping[str, Any]) -> Interval:
    """As JSON has it, which knows no not-a-number."""
    mean, low, high = (math.nan if figure[name] is None else float(figure[name]) for name in ("mean", "low", "high"))
    return Interval(mean, low, high, figure["n"])


def reached(output: Path, steps: Sequence[Step]) -> list[Reached]:
    """Of the evaluations that are there, the recipe's first."""
    found = []
    for step in sorted(steps, key=lambda step: bool(step.arm)):
        file = output / step.result
        if step.command[0] == "evaluate" and file.name == FIGURES and file.is_file():
            found.append(Reached(step.arm or RECIPE, json.loads(file.read_text(encoding="utf8"))))
    return found


def said(figure: Interval | None) -> str:
    return share(figure, 2) if figure else "–"


def both_right(found: Sequence[Reached]) -> tuple[list[str], list[list[str]]]:
    """→ header and rows of plain texts: of each model, every kind and every control."""
    header = ["both right", *(f"{kind} ({of.n})" if (of := found[0].both(kind)) else kind for kind in KINDS)]
    rows = []
    for one in found:
        scales = f"s_T {one.model['text_scale']:g}, s_I {one.model['image_scale']:g}"
        for what, name in CONTROLS.items():
            title = f"{one.arm}, {name}" + (f" at {scales}" if what == EDITED else "")
            rows.append([title, *(said(one.both(kind, what)) for kind in KINDS)])
    return header, rows


def compared(found: Sequence[Reached]) -> tuple[list[str], list[list[str]]]:
    """Each comparison minus the recipe, paired over scenes."""
    rows = [[f"{one.arm} − {RECIPE}", kind, str(of.n), difference_text(of)] for one in found[1:] for kind, of in one.differences]
    return ["both right, paired over scenes", "of", "scenes", "difference"], rows


def curve(found: Sequence[Reached]) -> tuple[list[str], list[list[str]]]:
    """Of the recipe's model, at every pair of scales that was tried."""
    rows = [
        [f"s_T {row['text_scale']:g}, s_I {row['image_scale']:g}", *(said(interval_of(row[name])) for name in ("target", "kept", "both"))]
        for row in found[0].model["curve"]
    ]
    return ["recolouring, scales", "asked right", "rest kept", "both right"], rows


def tables(found: Sequence[Reached]) -> list[tuple[list[str], list[list[str]]]]:
    """Those that have rows."""
    return [made for part in (both_right, compared, curve) if (made := part(found))[1]] if found else []


def table_lines(output: Path, steps: Sequence[Step]) -> list[str]:
    """For the terminal; none where nothing is measured yet."""
    lines: list[str] = []
    for made in tables(reached(output, steps)):
        lines += [text_table(*made), ""]
    return lines


def tables_html(found: Sequence[Reached]) -> list[str]:
    return [table(header, [[f"<td>{escape(cell)}</td>" for cell in row] for row in rows]) for header, rows in tables(found)]


def over_image_scale(one: Reached) -> Callable[[Axes], None]:
    """For each text scale the share of recolourings of which both regions are right, over the image scale."""
    from ..drawing import SERIES
    from ..evaluation.plots import bars

    def draw(axes: Axes) -> None:
        rows = one.model["curve"]
        for n, scale in enumerate(dict.fromkeys(row["text_scale"] for row in rows)):
            some = [row for row in rows if row["text_scale"] == scale]
            values = [interval_of(row["both"]) for row in some]
            places = [row["image_scale"] for row in some]
            axes.errorbar(places, [v.mean for v in values], yerr=bars(values), fmt="o-", markersize=4, elinewidth=0.6, color=SERIES[n % len(SERIES)], label=f"s_T {scale:g}")  # fmt: skip
        axes.set(xlabel="image scale s_I", ylabel="both regions right", ylim=(-0.02, 1.02))
        axes.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncol=3)

    return draw

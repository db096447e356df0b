"""A calibration told as lines for the terminal: what is kept by each scorer alone and by all, and which wrong pairs pass."""

from __future__ import annotations

from collections.abc import Sequence

from .calibration import ALL, Calibration

WIDTH = 36


def lines_of(found: Calibration) -> list[str]:
    names = list(found.by)
    lines = [row("thresholds", [""])]
    lines += [row(f"  {name}", [f"{value:g}"]) for name, value in found.together.at_least.items()]
    lines += ["", row("of the held-out half", ["share right", "kept", "of right ones"])]
    lines.append(row("  before", numbers(found.before, 1.0, 1.0)))
    lines += [
        row(f"  by {title(name)}", numbers(kept.right, kept.kept, kept.of_right)) for name in names for kept in (found.by[name].kept,)
    ]
    lines += ["", row("pass", ["pairs", *map(title, names)])]
    for kind in found.together.passed:
        lines.append(row(f"  {kind}", [f"{found.counts[kind]:,}", *numbers(*(found.by[name].passed[kind] for name in names))]))
    return [line.rstrip() for line in lines]


def title(name: str) -> str:
    return "all together" if name == ALL else f"{name} alone"


def numbers(*values: float) -> list[str]:
    return [f"{value:.3f}" for value in values]


def row(name: str, cells: Sequence[str]) -> str:
    return f"{name:<{WIDTH}}" + "".join(f"{cell:>{max(14, len(cell) + 2)}}" for cell in cells)

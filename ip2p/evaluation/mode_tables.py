"""The lines of modes → tables: what each costs and what becomes of the edits, paired with the first mode's; as Markdown and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import EditError
from ..files import written_whole
from .metrics import Interval, interval
from .options import PAINTED
from .procedural import signed
from .report import named
from .summary import value
from .sweep import plain

TABLES = "modes.json", "modes.md"
Value = Callable[[Mapping], float]
MEASURES: dict[str, tuple[str, Value]] = {
    "recognised": ("recognised", lambda line: float(line["recognised"]["rms"])),
    "recognised_perceptual": ("perceptually recognised", lambda line: float(line["recognised"]["perceptual"])),
    "nearer": ("nearer", lambda line: value(line, "nearer_rms")),
    "rms": ("L2", lambda line: value(line, "rms_target")),
    "perceptual": ("perceptual distance", lambda line: value(line, "perceptual_target")),
    "input": ("L2 to the photograph", lambda line: value(line, "rms_input")),
}
GROUPS: dict[str, Callable[[Mapping], bool]] = {
    "whole picture": lambda line: not line["local"] and line["kind"] not in PAINTED,
    "painted": lambda line: line["kind"] in PAINTED,
    "subject or background": lambda line: line["local"],
}


def write_tables(folder: Path, modes: Sequence[str], lines: Sequence[Mapping], references: Mapping[str, Sequence[str]]) -> None:
    """Writes modes.json and modes.md, and prints the latter. references: of every mode the two that its pixels are compared with.

    Raises EditError without lines.
    """
    if not lines:
        raise EditError("None of the pairs could be read.")
    found = [figures(mode, lines, modes[0], references[mode]) for mode in modes]
    about = f"{found[0]['edits']} edits of {found[0]['photographs']} photographs"
    text = "\n\n".join((about, costs(found), differences(found), by_group(found))) + "\n"
    for name, content in zip(TABLES, (json.dumps(plain(named(found)), indent=1, ensure_ascii=False), text)):
        with written_whole(folder / name, force=True) as beside:
            beside.write_text(content, encoding="utf8")
    print(f"{text}\n{folder / TABLES[1]}")


def figures(mode: str, lines: Sequence[Mapping], first: str, references: Sequence[str]) -> dict[str, Any]:
    """All figures of one mode: means over its edits; its differences to the first mode's over the edits that both have, by photograph."""
    own = [line for line in lines if line["mode"] == mode]
    firsts = {line["row"]: line for line in lines if line["mode"] == first}
    pairs = [(line, firsts[line["row"]]) for line in own if line["row"] in firsts]
    groups = [line["photo"] for line, _ in pairs]

    def mean(of: Value, among: Sequence[Mapping] = own) -> Interval:
        return interval([of(line) for line in among], [line["photo"] for line in among])

    gradients = interval([log_ratio(line["gradient"], other["gradient"]) for line, other in pairs])
    return {
        "mode": mode,
        "edits": len(own),
        "photographs": len(set(groups)),
        "rows": mean(lambda line: line["rows"]).mean,
        "seconds": mean(lambda line: line["seconds"]).mean,
        **{name: mean(of) for name, (_, of) in MEASURES.items()},
        "gradient": math.exp(gradients.mean),
        "psnr_first": None if mode == first else mean(lambda line: line["psnr"][first]),
        "psnr_steps": None if mode == references[1] else mean(lambda line: line["psnr"][references[1]]),
        "minus_first": {name: interval([of(line) - of(other) for line, other in pairs], groups) for name, (_, of) in MEASURES.items()},
        "groups": {
            group: {
                "edits": len(among := [line for line in own if belongs(line)]),
                **{name: mean(MEASURES[name][1], among) for name in ("recognised", "recognised_perceptual")},
                "psnr_steps": None if mode == references[1] else mean(lambda line: line["psnr"][references[1]], among),
            }
            for group, belongs in GROUPS.items()
        },
    }  # fmt: skip


def log_ratio(a: float, b: float) -> float:
    return math.log(a / b) if a > 0 and b > 0 else math.nan


def costs(found: Sequence[Mapping]) -> str:
    rows = [
        [
            of["mode"], f"{of['rows']:.4g}", *(f"{of[name].mean:.3f}" for name in MEASURES), f"{of['gradient']:.2f}",
            *(decibels(of[name]) for name in ("psnr_first", "psnr_steps")), f"{of['seconds']:.2f}",
        ]
        for of in found
    ]  # fmt: skip
    names = [label for label, _ in MEASURES.values()]
    return markdown(["mode", "rows", *names, "gradient energy", "PSNR to the first", "to the same steps", "seconds"], rows)


def differences(found: Sequence[Mapping]) -> str:
    rows = [[of["mode"], *(signed(of["minus_first"][name]) for name in MEASURES)] for of in found[1:]]
    return markdown(["minus the first mode", *(label for label, _ in MEASURES.values())], rows)


def by_group(found: Sequence[Mapping]) -> str:
    """Recognised, perceptually recognised, and PSNR to the same steps."""
    rows = []
    for of in found:
        cells = []
        for group in of["groups"].values():
            shares = [f"{group[name].mean:.3f}" for name in ("recognised", "recognised_perceptual")]
            cells.append(", ".join([*shares, decibels(group["psnr_steps"])]) if group["edits"] else "–")
        rows.append([of["mode"], *cells])
    counts = [f"{group} ({of['edits']} edits)" for group, of in found[0]["groups"].items()]
    return markdown(["recognised, perceptually, PSNR", *counts], rows)


def decibels(figure: Interval | None) -> str:
    return "–" if figure is None or not figure.n else f"{figure.mean:.1f}"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))

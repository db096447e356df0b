"""Lines of a run → figures: means with intervals by setting, and paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .metrics import Interval, interval
from .sweep import UNTOUCHED, Setting, setting_of

# Name in the lines: label, and whether more (+1) or less (−1) is better, or neither (0).
MEASURES = {
    "image_similarity": ("similarity to the input", 0),
    "directional_similarity": ("directional similarity", 1),
    "text_similarity": ("similarity to the caption", 1),
    "target_similarity": ("similarity to the target", 1),
    "l1_input": ("L1 to the input", 0),
    "l2_input": ("L2 to the input", 0),
    "rms_input": ("L2 at 64 px to the input", 0),
    "perceptual_input": ("perceptual distance to the input", 0),
    "l1_target": ("L1 to the target", -1),
    "l2_target": ("L2 to the target", -1),
    "rms_target": ("L2 at 64 px to the target", -1),
    "psnr_target": ("PSNR to the target, dB", 1),
    "perceptual_target": ("perceptual distance to the target", -1),
    "progress": ("share of the way to the target", 0),
    "nearer_rms": ("nearer to the target than the input is, L2 at 64 px", 1),
    "nearer_perceptual": ("nearer to the target than the input is, perceptual", 1),
    "rms_target_inside": ("L2 at 64 px to the target, inside the mask", -1),
    "perceptual_target_inside": ("perceptual distance to the target, inside the mask", -1),
    "nearer_rms_inside": ("nearer inside the mask, L2 at 64 px", 1),
    "nearer_perceptual_inside": ("nearer inside the mask, perceptual", 1),
    "l1_input_outside": ("L1 to the input, outside the mask", -1),
    "rms_input_outside": ("L2 at 64 px to the input, outside the mask", -1),
    "perceptual_input_outside": ("perceptual distance to the input, outside the mask", -1),
}
HEADLINE = {
    "image_similarity": "sim. input",
    "directional_similarity": "directional",
    "target_similarity": "sim. target",
    "l1_input": "L1 input",
    "l1_target": "L1 target",
    "l2_target": "L2 target",
    "perceptual_input": "perc. input",
    "perceptual_target": "perc. target",
    "nearer_perceptual": "nearer perc.",
    "nearer_rms": "nearer L2",
}
COMPARED = ("image_similarity", "directional_similarity", "target_similarity", "l1_target", "perceptual_target")


@dataclass(frozen=True)
class Means:
    """What one setting gave. n: edits."""

    setting: Setting
    n: int
    measures: dict[str, Interval]


@dataclass(frozen=True)
class Comparison:
    """Two settings over the pairs that both edited: `one` minus `other`."""

    one: Setting
    other: Setting
    n: int
    differences: dict[str, Interval]


def by_setting(lines: Sequence[Mapping]) -> dict[Setting, list[Mapping]]:
    of_setting: dict[Setting, list[Mapping]] = {}
    for line in lines:
        of_setting.setdefault(setting_of(line), []).append(line)
    return of_setting


def value(line: Mapping, name: str) -> float:
    """A measure of a line, not-a-number where it has none."""
    number = line.get(name)
    return float("nan") if number is None else float(number)


def means(lines: Sequence[Mapping]) -> list[Means]:
    """Of every setting the mean of every measure, with its interval over groups."""
    rows = []
    for setting, of_setting in by_setting(lines).items():
        groups = [line["group"] for line in of_setting]
        measured = [name for name in MEASURES if any(name in line for line in of_setting)]
        measures = {name: interval([value(line, name) for line in of_setting], groups) for name in measured}
        rows.append(Means(setting, len(of_setting), {name: mean for name, mean in measures.items() if mean.n}))
    return rows


def comparisons(lines: Sequence[Mapping]) -> list[Comparison]:
    """With several models each against the first at equal scales; with one, each of its settings against its first."""
    settings = by_setting(lines)
    tried = [setting for setting in settings if setting.maker != UNTOUCHED and setting.image_scale is not None]
    makers = list(dict.fromkeys(setting.maker for setting in tried))
    if len(makers) > 1:
        first = {(s.text_scale, s.image_scale): s for s in tried if s.maker == makers[0]}
        pairs = [(s, first[s.text_scale, s.image_scale]) for s in tried if s.maker != makers[0] and (s.text_scale, s.image_scale) in first]
    else:
        pairs = [(s, tried[0]) for s in tried[1:]]
    return [compared(one, other, settings[one], settings[other]) for one, other in pairs]


def compared(one: Setting, other: Setting, lines: Sequence[Mapping], others: Sequence[Mapping]) -> Comparison:
    """The paired differences over the rows that both have."""
    by_row = {line["row"]: line for line in others}
    pairs = [(line, by_row[line["row"]]) for line in lines if line["row"] in by_row]
    differences = {}
    for name in MEASURES:
        difference = interval([value(a, name) - value(b, name) for a, b in pairs], [a["group"] for a, _ in pairs])
        if difference.n:
            differences[name] = difference
    return Comparison(one, other, len(pairs), differences)


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned, the first one to the left."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))).rstrip()
        for row in (header, *rows)
    )


def headline(means_of_settings: Sequence[Means]) -> str:
    """The table for a terminal: every setting with the measures that matter most."""
    names = [name for name in HEADLINE if any(name in row.measures for row in means_of_settings)]
    rows = [
        [row.setting.full_label, str(row.n), *(f"{row.measures[name].mean:.3f}" if name in row.measures else "–" for name in names)]
        for row in means_of_settings
    ]
    return text_table(["setting", "edits", *(HEADLINE[name] for name in names)], rows)


def comparison_table(comparisons: Sequence[Comparison]) -> str:
    """The differences for a terminal; a star where the interval leaves 0 out."""
    names = [name for name in COMPARED if any(name in row.differences for row in comparisons)]
    rows = []
    for row in comparisons:
        differences = [row.differences.get(name) for name in names]
        cells = ["–" if d is None else difference_text(d) for d in differences]
        rows.append([f"{row.one.full_label} − {row.other.full_label}", str(row.n), *cells])
    return text_table(["difference", "pairs", *(HEADLINE[name] for name in names)], rows)


def difference_text(difference: Interval) -> str:
    """“+0.012 [+0.003, +0.021]*”, or “+0.012 ” of too few photographs."""
    bounds = f" [{difference.low:+.3f}, {difference.high:+.3f}]" if difference.known else ""
    return f"{difference.mean:+.3f}{bounds}{'*' if sure(difference) else ' '}"


def sure(difference: Interval) -> bool:
    """Whether the interval leaves 0 out."""
    return difference.low > 0 or difference.high < 0

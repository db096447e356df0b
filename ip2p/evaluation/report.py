"""One page of a run: curves, tables, comparisons and pictures, readable in light and dark, with everything inside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..drawing import SIZE, draw_plot
from ..files import written_whole
from ..pages import definitions, page, table
from . import examples, plots
from .metrics import Interval
from .procedural import DISTANCES, share
from .summary import MEASURES, Comparison, Means, sure
from .sweep import plain

PAGE, FIGURES, SHEET = "report.html", "figures.json", "contact_sheet.jpg"
STYLE = Path(__file__).with_name("report.css")


def write_report(
    folder: Path, facts: Mapping[str, str], notes: Sequence[str], means: Sequence[Means], compared: Sequence[Comparison],
    procedural: Sequence[Mapping], pictures: Sequence[examples.Row],
) -> Path:  # fmt: skip
    """Writes `report.html`, `figures.json`, the plots and the contact sheet; returns the page.

    facts: what was measured; notes: what the reader must know of the scorer; procedural: `procedural.figures` of every model;
    pictures: rows of the contact sheet. Raises EditError when something can't be written.
    """
    parts = [f"<h1>{escape(facts['title'])}</h1>", definitions((name, text) for name, text in facts.items() if name != "title")]
    parts += [f'<p class="note">{escape(note)}</p>' for note in notes]
    for figures in procedural:
        parts += procedural_section(figures, folder / "plots", len(procedural) > 1)
    parts += trade_offs(means, folder / "plots")
    parts += [
        "<h2>Every setting</h2>",
        '<p class="soft">Means with 95 % bootstrap intervals from five photographs on, photographs resampled whole.</p>',
        settings_table(means),
    ]
    if compared:
        parts += [
            "<h2>Side by side</h2>",
            '<p class="soft">Differences over the pairs both edited, with paired 95 % bootstrap intervals from five photographs on; bold where the interval leaves 0 out.</p>',
            comparison_table(compared),
        ]
    if pictures:
        parts += ["<h2>Pictures</h2>", examples.html(pictures)]
    content = {
        "facts": facts,
        "notes": list(notes),
        "settings": [
            {**vars(row.setting), "edits": row.n, **{name: row.measures[name]._asdict() for name in row.measures}} for row in means
        ],
        "comparisons": [
            {"one": vars(row.one), "other": vars(row.other), "pairs": row.n, **{name: d._asdict() for name, d in row.differences.items()}}
            for row in compared
        ],
        "computed": [named(figures) for figures in procedural],
    }
    with written_whole(folder / FIGURES, force=True) as beside:
        beside.write_text(json.dumps(plain(content), indent=1, ensure_ascii=False), encoding="utf8")
    with written_whole(folder / PAGE, force=True) as beside:
        beside.write_text(page(facts["title"], parts, STYLE), encoding="utf8")
    if pictures:
        examples.write(folder / SHEET, pictures)
    return folder / PAGE


def named(value: Any) -> Any:
    """Intervals by name rather than as lists of four numbers."""
    if isinstance(value, Interval):
        return value._asdict()
    if isinstance(value, Mapping):
        return {key: named(item) for key, item in value.items()}
    return [named(item) for item in value] if isinstance(value, (list, tuple)) else value


def figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def trade_offs(means: Sequence[Means], folder: Path) -> list[str]:
    """The paper's curve, similarity to the input against directional similarity; and against the way towards the target."""
    most = {row.setting.maker: max(other.n for other in means if other.setting.maker == row.setting.maker) for row in means}
    means = [row for row in means if row.n == most[row.setting.maker]]  # means over other pairs can't be drawn as one curve
    measured = {name for row in means for name in row.measures}
    y = next(name for name in ("image_similarity", "perceptual_input", "rms_input") if name in measured or name == "rms_input")
    drawings = []
    for x, caption in (
        ("directional_similarity", "Up and to the right is better. Small numbers at the points are image scales, or SDEdit's strengths."),
        ("progress", "0 is the untouched picture and 1 the target of the pair set, along the straight way between them at 64 px."),
    ):
        if x in measured:
            drawings.append(figure(draw_plot(plots.tradeoff(x, y, plots.lines_of(x, y, means)), f"{y}-{x}", folder), caption))
    return ["<h2>Keeping the picture against making the edit</h2>", f'<div class="plots">{"".join(drawings)}</div>']


def cell(figure: Interval | None, sign: bool = False) -> str:
    """sign: it is a difference, bold where it is sure."""
    if figure is None or not figure.n:
        return "<td>–</td>"
    form = "+.4f" if sign else ".4f"
    bold = ' class="sure"' if sign and sure(figure) else ""
    small = f"<small>{figure.low:{form}} … {figure.high:{form}}</small>" if figure.known else ""
    return f"<td{bold}>{figure.mean:{form}}{small}</td>"


def settings_table(means: Sequence[Means]) -> str:
    lines = [(row.setting.maker, row.setting.label, row.n, row.measures) for row in means]
    return measures_table("setting", "edits", lines)


def comparison_table(compared: Sequence[Comparison]) -> str:
    lines = [(row.one.full_label, f"minus {row.other.full_label}", row.n, row.differences) for row in compared]
    return measures_table("difference", "pairs", lines, sign=True)


def measures_table(what: str, counted: str, lines: Sequence[tuple[str, str, int, Mapping[str, Interval]]], sign: bool = False) -> str:
    """lines: name, what stands small below it, count, intervals by measure."""
    names = [name for name in MEASURES if any(name in measures for *_, measures in lines)]
    rows = [
        [f"<td>{escape(name)}<small>{escape(below)}</small></td>", f"<td>{n}</td>", *(cell(measures.get(key), sign) for key in names)]
        for name, below, n, measures in lines
    ]
    return table([what, counted, *(MEASURES[name][0] + {1: " ↑", -1: " ↓", 0: ""}[MEASURES[name][1]] for name in names)], rows)


def procedural_section(figures: Mapping, folder: Path, several: bool) -> list[str]:
    """The section of one model on procedural edits."""
    slug = "".join(c if c.isalnum() else "-" for c in figures["maker"])
    parts = [f"<h2>Procedural edits: {escape(figures['maker'])}, {escape(figures['setting'])}</h2>"]
    parts.append(f"<p>{figures['edits']} edits of {figures['photos']} photographs, each with a known target.</p>")
    parts.append(f'<div class="tiles">{"".join(tiles(figures))}</div>')
    drawings = []
    for name, label in DISTANCES.items():
        if name in figures["nearer"]:
            kinds, seen = figures["kinds"][name], figures["recognised"][name]
            side = 0.9 + 0.28 * len(kinds)
            drawings.append(
                figure(
                    draw_plot(plots.shares(kinds), f"nearer-{name}-{slug}", folder, (SIZE[0], side)),
                    f"By {label}. Pale: kinds that do not count, whose edit is less than twice what the autoencoder loses.",
                )
            )
            drawings.append(
                figure(
                    draw_plot(
                        plots.confusion(seen["order"], seen["confusion"]), f"confusion-{name}-{slug}", folder, (side + 1.6, side + 1.6)
                    ),
                    f"Which target is nearest, by {label}.",
                )
            )
    for over, scale, measures in (
        ("over_image_scale", "image scale s_I", ("image_similarity", "progress")),
        ("over_text_scale", "text scale s_T", ("perceptual_input", "rms_input", "progress")),
    ):
        rows = figures[over]["rows"]
        measured = [name for name in measures if rows and name in rows[0]]
        if len(rows) > 1:
            drawings.append(
                figure(
                    draw_plot(plots.over_scale(rows, measured, scale), f"{over}-{slug}", folder),
                    f"{figures[over]['photos']} photographs; the other scale as above.",
                )
            )
    lines = sweep_lines(figures)
    if lines:
        svg = draw_plot(plots.tradeoff("progress", "image_similarity", lines), f"tradeoff-{slug}", folder)
        drawings.append(figure(svg, "The two sweeps as a trade-off, each over its own scale while the other stays."))
    parts.append(f'<div class="plots">{"".join(drawings)}</div>')
    parts += [f"<h2>Kinds{', ' + escape(figures['maker']) if several else ''}</h2>", kinds_table(figures["kinds"])]
    return parts


def tiles(figures: Mapping) -> list[str]:
    """The figures that answer the four questions."""
    rows: list[tuple[Interval, int, str]] = []
    for name, label in DISTANCES.items():
        if name in figures["nearer"]:
            near, seen = figures["nearer"][name], figures["recognised"][name]
            kinds = f"over the {near['counting_kinds']} of {near['kinds']} kinds that count"
            rows.append((near["counting"], 3, f"nearer to the target than the untouched photograph, by {label}, {kinds}"))
            beside = (
                f"without text {share(seen['blank'])}, another kind's instruction {share(seen['other'])}, chance {seen['chance'].mean:.3f}"
            )
            rows.append((seen["asked"], 3, f"the asked edit is the nearest target, by {label}; {beside}"))
    rows.append((figures["autoencoder_psnr"], 1, "dB, PSNR of the photographs after the autoencoder"))
    return [f'<div class="tile"><b>{value.mean:.{n}f}</b>{bounds(value, n)} {escape(text)}</div>' for value, n, text in rows if value.n]


def bounds(figure: Interval, digits: int) -> str:
    return f'<span class="soft">[{figure.low:.{digits}f}, {figure.high:.{digits}f}]</span>' if figure.known else ""


def sweep_lines(figures: Mapping) -> dict[str, plots.Points]:
    """Both sweeps as lines of the way to the target and the similarity to the input; none without a scorer."""
    lines: dict[str, plots.Points] = {}
    for over, label in (("over_image_scale", "over s_I"), ("over_text_scale", "over s_T")):
        rows = figures[over]["rows"]
        if len(rows) > 1 and "image_similarity" in rows[0]:
            lines[label] = [(f"{row['scale']:g}", row["progress"], row["image_similarity"]) for row in rows]
    return lines


def kinds_table(kinds: Mapping[str, Mapping[str, Mapping]]) -> str:
    """Of every kind how large its edit is, whether it counts, and what came of it, by both distances."""
    header = ["kind", "edits"]
    rows: dict[str, list[str]] = {}
    for name, of_kinds in kinds.items():
        label = DISTANCES[name]
        header += [
            f"{label}: the edit",
            "lost by the autoencoder",
            "counts",
            "nearer ↑",
            "nearer inside the mask ↑",
            "outside: result",
            "outside: autoencoder",
        ]
        for kind, figures in of_kinds.items():
            row = rows.setdefault(kind, [f"<td>{escape(kind)}</td>", f"<td>{figures['edits']}</td>"])
            row += [
                f"<td>{figures['edit']:.4f}</td>",
                f"<td>{figures['autoencoder']:.4f}</td>",
                f"<td>{'yes' if figures['counts'] else 'no'}</td>",
                cell(figures["nearer"]),
            ]
            if "inside" in figures:
                row += [
                    cell(figures["inside"]["nearer"]),
                    cell(figures["outside"]["result"]),
                    f"<td>{figures['outside']['autoencoder']:.4f}</td>",
                ]
            else:
                row += ["<td>–</td>"] * 3
    return table(header, list(rows.values()))

"""The figures of a run as lines for the terminal, and as one page with everything inside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ...files import written_whole
from ...pages import definitions, page, table
from .figures import Figures
from .rules import REASONS

STYLE = Path(__file__).with_name("instructions.css")
BARS = 20  # of a histogram
ROW, LABEL, WIDTH = 22, 130, 640  # height of a bar's row, width of its name and of the picture


def lines(settings: Mapping[str, Any], figures: Figures) -> list[str]:
    """For the terminal."""
    said = [f"{name:<26}{value}" for name, value in facts(settings, figures)]
    said += [
        f"  {count:>9,}  {share(count, figures.asked):>6}  {REASONS.get(reason, reason)}" for reason, count in figures.reasons.most_common()
    ]
    return said


def facts(settings: Mapping[str, Any], figures: Figures) -> list[tuple[str, str]]:
    found = [
        ("asked", f"{figures.asked:,}"),
        ("parsed", f"{figures.parsed:,} ({share(figures.parsed, figures.asked)})"),
        ("kept", f"{figures.kept:,} ({share(figures.kept, figures.asked)})"),
        ("splits", ", ".join(f"{name} {count:,}" for name, count in sorted(figures.splits.items())) or "–"),
        ("written by", ", ".join(name for name, _ in figures.writers.most_common(3)) or str(settings.get("model", "–"))),
    ]
    found += [(name, f"{value:.3f}") for name, value in figures.distinct.items()]
    if figures.commonest[0] > 1:
        found.append(("which is", f"“{figures.commonest[1]}”"))
    found.append(("rejected", f"{figures.reasons.total():,} ({share(figures.reasons.total(), figures.asked)})"))
    return found


def share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"


def write_page(file: Path, title: str, settings: Mapping[str, Any], figures: Figures) -> None:
    """Raises EditError when it can't be written."""
    parts = [
        f"<h1>{escape(title)}</h1>",
        definitions([*settings.items(), *facts(settings, figures)]),
    ]
    rejected = [
        cells(escape(REASONS.get(reason, reason)), f"{count:,}", share(count, figures.asked))
        for reason, count in figures.reasons.most_common()
    ]
    parts += ["<h2>Rejected</h2>", table(("reason", "rows", "of those asked"), rejected)]
    parts += ["<h2>First words of instructions</h2>", bars(figures.verbs.most_common(BARS))]
    parts += ["<h2>Topics</h2>", '<p class="soft">By the kinds of the rows that come with the package, whose words are likeliest.</p>']
    parts += [bars(figures.topics.most_common()), "<h2>Words of an instruction</h2>", bars(in_order(figures.lengths))]
    rows = [cells(escape(row["input"]), f"<b>{escape(row['edit'])}</b>", escape(row["output"])) for row in figures.examples]
    parts += ["<h2>Rows drawn by chance</h2>", table(("caption", "instruction", "edited caption"), rows)]
    with written_whole(file, force=True) as beside:
        beside.write_text(page(title, parts, STYLE), encoding="utf8")


def cells(*contents: str) -> list[str]:
    return [f"<td>{content}</td>" for content in contents]


def in_order(lengths: Counter[int]) -> list[tuple[str, int]]:
    return [(str(length), lengths[length]) for length in range(min(lengths, default=0), min(max(lengths, default=-1), 40) + 1)]


def bars(counts: Sequence[tuple[str, int]]) -> str:
    """A histogram as a picture, the longest bar as wide as there is room."""
    if not counts:
        return "<p>–</p>"
    longest = max(count for _, count in counts) or 1
    room = WIDTH - LABEL - 80
    drawn = []
    for i, (name, count) in enumerate(counts):
        middle = i * ROW + ROW * 0.7
        drawn.append(
            f'<text x="{LABEL - 8}" y="{middle:.0f}" text-anchor="end">{escape(name[:18])}</text>'
            f'<rect x="{LABEL}" y="{i * ROW + 3}" width="{room * count / longest:.1f}" height="{ROW - 6}"><title>{escape(name)}: {count:,}</title></rect>'
            f'<text x="{LABEL + room * count / longest + 6:.1f}" y="{middle:.0f}">{count:,}</text>'
        )
    return f'<svg viewBox="0 0 {WIDTH} {len(counts) * ROW}" role="img" style="max-width: {WIDTH}px">{"".join(drawn)}</svg>'

"""Plots in one style: as SVG in a page's own colours, light or dark, and as PNG."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .files import written_whole

try:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ImportError as e:
    raise ImportError("Plots need matplotlib: pip install 'sd-webui-instruct-edit[evaluate]'") from e

INK = "#010203"  # becomes the page's text colour
# Okabe and Ito's colours, which people with any colour vision tell apart; brighter ones where the page is dark (evaluation/report.css).
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9")
SIZE = (5.2, 3.6)  # inches, small enough that the text is read on a phone
PAGE_DPI = 125  # the largest that a plot becomes
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.15,
    "legend.frameon": False,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), INK),
}


def draw_plot(draw: Callable[[Axes], None], name: str, folder: Path, size: tuple[float, float] = SIZE) -> str:
    """draw(axes) → SVG for the page; the same as a PNG in `folder`. size: inches. Raises EditError."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = drawn(lambda figure: draw(figure.add_subplot()), size)
        save_png(figure, folder / f"{name}.png")
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    for n, colour in enumerate(SERIES):
        svg = svg.replace(colour, f"var(--series-{n})")
    # Identifiers belong to the whole page, and the plot takes the width there is.
    svg = re.sub(r'(id="|#)(?=[A-Za-z])', rf"\g<1>{name}-", svg)
    return re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', f'role="img" style="max-width: {size[0] * PAGE_DPI:.0f}px"', svg, count=1)


def draw_png(draw: Callable[[Figure], None], file: Path, size: tuple[float, float]) -> None:
    """draw(figure), which may have several plots, as a PNG. size: inches. Raises EditError."""
    with mpl.rc_context(STYLE):
        save_png(drawn(draw, size), file)


def drawn(draw: Callable[[Figure], None], size: tuple[float, float]) -> Figure:
    figure = Figure(figsize=size, layout="constrained")
    draw(figure)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the layout is settled, and costs more than the drawing
    return figure


def save_png(figure: Figure, file: Path) -> None:
    with written_whole(file, force=True) as beside:
        figure.savefig(beside, format="png", dpi=150, facecolor="white")

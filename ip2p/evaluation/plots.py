"""What the report's plots show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..drawing import INK, SERIES, Axes
from .metrics import Interval
from .summary import MEASURES, Means
from .sweep import UNTOUCHED, Setting

Points = list[tuple[str, Interval, Interval]]  # what to write at a point, and where it is


def lines_of(x: str, y: str, means: Sequence[Means]) -> dict[str, Points]:
    """Measures `x` and `y` of every setting: one line for every model and text scale, over its image scales or SDEdit's strengths."""
    lines: dict[str, Points] = {}
    for row in sorted(means, key=lambda row: scale_of(row.setting)):
        if x in row.measures and y in row.measures:
            setting = row.setting
            untouched = setting.maker == UNTOUCHED
            label = setting.maker if untouched else f"{setting.maker}, s_T {setting.text_scale:g}"
            lines.setdefault(label, []).append(("" if untouched else f"{scale_of(setting):g}", row.measures[x], row.measures[y]))
    return lines


def scale_of(setting: Setting) -> float:
    """The image scale, or SDEdit's strength."""
    return setting.strength if setting.image_scale is None else setting.image_scale


def tradeoff(x: str, y: str, lines: Mapping[str, Points]) -> Callable[[Axes], None]:
    """Measure `x` against measure `y`."""

    def draw(axes: Axes) -> None:
        colours = iter(SERIES * len(lines))
        for label, points in lines.items():
            untouched = label == UNTOUCHED
            colour = INK if untouched else next(colours)
            xs, ys = [a for _, a, _ in points], [b for _, _, b in points]
            axes.errorbar(
                [v.mean for v in xs],
                [v.mean for v in ys],
                xerr=bars(xs),
                yerr=bars(ys),
                fmt="D" if untouched else "o-",
                color=colour,
                elinewidth=0.6,
                markersize=4,
                label=label,
            )
            for text, a, b in points:
                axes.annotate(text, (a.mean, b.mean), xytext=(5, 4), textcoords="offset points", fontsize=8)
        axes.set(xlabel=MEASURES[x][0], ylabel=MEASURES[y][0])
        axes.legend(fontsize=8)

    return draw


def over_scale(rows: Sequence[Mapping], measures: Sequence[str], label: str) -> Callable[[Axes], None]:
    """Measures at every value of a scale. rows: as `procedural.curve` gives them."""

    def draw(axes: Axes) -> None:
        for n, name in enumerate(measures):
            values = [row[name] for row in rows]
            axes.errorbar(
                [row["scale"] for row in rows], [v.mean for v in values], yerr=bars(values), fmt="o-", markersize=4, elinewidth=0.6,
                color=SERIES[n], label=MEASURES[name][0],
            )  # fmt: skip
        axes.set(xlabel=label)
        axes.legend(fontsize=8)

    return draw


def bars(values: Sequence[Interval]) -> list[list[float]]:
    """Of means their error bars, as matplotlib takes them."""
    return [[max(v.mean - v.low, 0) if v.known else 0.0 for v in values], [max(v.high - v.mean, 0) if v.known else 0.0 for v in values]]


def confusion(order: Sequence[str], matrix: Sequence[Sequence[int]]) -> Callable[[Axes], None]:
    """Asked kinds down, nearest targets across; each cell as dark as its share of its row."""

    def draw(axes: Axes) -> None:
        from matplotlib.patches import Rectangle

        axes.grid(False)
        for y, row in enumerate(matrix):
            for x, count in enumerate(row):
                if count:
                    part = count / sum(row)
                    axes.add_patch(
                        Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=SERIES[0 if x == y else 1], alpha=0.15 + 0.75 * part, lw=0)
                    )
                    axes.text(x, y, str(count), ha="center", va="center", fontsize=8)
        axes.set_xlim(-0.5, len(order) - 0.5)
        axes.set_ylim(len(order) - 0.5, -0.5)
        axes.set_xticks(range(len(order)), order, rotation=90)
        axes.set_yticks(range(len(order)), order)
        axes.set(xlabel="nearest target", ylabel="asked", aspect="equal")

    return draw


def shares(kinds: Mapping[str, Mapping]) -> Callable[[Axes], None]:
    """Of every kind the share of results nearer to the target than the untouched photograph; kinds that do not count are pale."""

    def draw(axes: Axes) -> None:
        names = list(kinds)
        for y, name in enumerate(names):
            nearer = kinds[name]["nearer"]
            if nearer.n:
                axes.barh(y, nearer.mean, color=SERIES[0], alpha=0.85 if kinds[name]["counts"] else 0.3)
                if nearer.known:
                    axes.plot([nearer.low, nearer.high], [y, y], color=INK, lw=1)
        axes.axvline(0.5, color=INK, lw=0.8, ls=":")
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set(xlabel="share nearer to the target than the untouched photograph", xlim=(0, 1))

    return draw

"""Charts as SVG images that use the colors and fonts of the page they are embedded in."""

from __future__ import annotations

import html
import io
import itertools
import re
import unicodedata
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from encloze.errors import importable
from encloze.intervals import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Placeholder colors, each replaced by a CSS variable of the page after drawing.
_INK, _FAINT, _PAPER = "#010203", "#040506", "#070809"
_SERIES = tuple(f"#0a0b{number:02x}" for number in range(0x10, 0x18))
_CSS_COLORS = {_INK: "var(--ink)", _FAINT: "var(--faint)", _PAPER: "var(--paper)"} | {
    color: f"var(--series-{number})" for number, color in enumerate(_SERIES)
}
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "text.parse_math": False,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _FAINT,
    "grid.alpha": 0.35,
    "grid.linewidth": 0.6,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
}
_LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_CIRCLE = re.compile(r'<path d="(M [^CMz"]+(?:C [^CMz"]+){8})z "')
_MAX_LISTED_QUERIES = 3
"""Queries listed in the label of one point."""
_MAX_NAME_WIDTH = 40
"""Width of a system's name in a chart, in columns of a fixed-width font."""
_MAX_CURVES_WITH_MARKERS = 12
"""Maximum number of points of a curve with markers."""


class CostPoint(NamedTuple):
    """Cost and quality of a system."""

    name: str
    cost: float
    quality: Interval


def bar_chart(title: str, means: Mapping[str, Interval]) -> str:
    """Return a horizontal bar chart of means with error bars.

    Args:
        title: Title for screen readers.
        means: Means with confidence intervals, keyed by the label of the bar.
    """

    def draw(axes: Axes) -> None:
        positions = np.arange(len(means))[::-1]
        values = np.array([mean.mean for mean in means.values()])
        colors = [_SERIES[number % len(_SERIES)] for number in range(len(means))]
        bars = axes.barh(positions, values, color=colors, height=0.62, alpha=0.75)
        for number, bar in enumerate(bars):
            bar.set_url(f"#{number}")
        finite = [_finite(mean) for mean in means.values()]
        errors = np.array([[mean.mean - mean.low, mean.high - mean.mean] for mean in finite]).T
        axes.errorbar(values, positions, xerr=np.maximum(errors, 0), fmt="none", ecolor=_INK, elinewidth=1.2, capsize=3)
        axes.set_yticks(positions, list(map(_shorten, means)))
        axes.grid(visible=False, axis="y")

    labels = [f"{name}: {mean.mean:.4f} [{mean.low:.4f}, {mean.high:.4f}]" for name, mean in means.items()]
    return _svg(title, draw, 5.4, 0.7 + 0.34 * len(means), labels)


def line_chart(title: str, curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> str:
    """Return a line chart of values over training steps.

    Args:
        title: Title for screen readers.
        curves: For each curve, its steps (x axis) and its values (y axis), keyed by the name in the legend.
    """

    def draw(axes: Axes) -> None:
        for number, (name, (steps, values)) in enumerate(curves.items()):
            marker = "o" if len(steps) <= _MAX_CURVES_WITH_MARKERS else None
            axes.plot(steps, values, color=_SERIES[number % len(_SERIES)], label=name, marker=marker, markersize=3.5)
        axes.set_xlabel("step")
        if len(curves) > 1:
            axes.legend()

    return _svg(title, draw, 4.6, 2.7)


def scatter_plot(
    title: str, measure: str, x_system: str, y_system: str, points: Mapping[tuple[float, float], Sequence[str]]
) -> str:
    """Return a scatter plot of queries: x is the measure's value for one system, y its value for another system.

    Queries with equal values are drawn as one larger point.

    Args:
        title: Title for screen readers.
        measure: Name of the measure.
        x_system: Name of the system on the x axis.
        y_system: Name of the system on the y axis.
        points: Labels of the queries at each point, keyed by (value for the x system, value for the y system).
    """

    def draw(axes: Axes) -> None:
        positions = np.array(list(points), float).reshape(-1, 2)
        limit = max(1.0, float(positions.max(initial=0)))  # counts such as NumRet exceed 1
        axes.plot([0, limit], [0, limit], color=_FAINT, linewidth=1, zorder=0)
        gain = positions[:, 1] - positions[:, 0]
        colors = np.where(gain > 0, _SERIES[0], np.where(gain < 0, _SERIES[1], _FAINT)).tolist()
        sizes = [14 * len(names) ** 0.5 for names in points.values()]
        # The page's style sheet draws the outlines and makes points translucent.
        drawn = axes.scatter(positions[:, 0], positions[:, 1], s=sizes, c=colors, linewidths=0, clip_on=False)
        drawn.set_urls([f"#{number}" for number in range(len(points))])
        axes.set_xlabel(f"{measure}, {_shorten(x_system)}")
        axes.set_ylabel(f"{measure}, {_shorten(y_system)}")
        axes.set_xlim(-0.05 * limit, 1.05 * limit)
        axes.set_ylim(-0.05 * limit, 1.05 * limit)
        axes.set_aspect("equal")

    labels = []
    for (x, y), names in points.items():
        count = f" ({len(names)} queries)" * (len(names) > 1)
        labels.append(f"{x_system} {x:.3f}, {y_system} {y:.3f}{count}\n{_listed(names)}")
    return _svg(title, draw, 4.2, 4.2, labels)


def rate_chart(
    title: str, axes_names: tuple[str, str], points: Sequence[tuple[float, float]], chosen: tuple[float, float]
) -> str:
    """Return a curve of one rate over another, both from 0 to 1, with one marked point.

    Args:
        title: Title for screen readers.
        axes_names: Labels of the x axis and of the y axis.
        points: The points of the curve.
        chosen: The marked point.
    """

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [1, 0], color=_FAINT, linewidth=1, zorder=0)  # decisions by chance
        axes.plot(*zip(*points, strict=True), color=_SERIES[0])
        drawn = axes.scatter([chosen[0]], [chosen[1]], color=_SERIES[1], zorder=3)
        drawn.set_urls(["#0"])
        axes.set_xlabel(axes_names[0])
        axes.set_ylabel(axes_names[1])
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.set_aspect("equal")

    label = ", ".join(f"{name} {value:.3f}" for name, value in zip(axes_names, chosen, strict=True))
    return _svg(title, draw, 3.6, 3.6, [f"chosen: {label}"])


def cost_chart(title: str, cost: str, measure: str, points: Sequence[CostPoint]) -> str:
    """Return a scatter plot of the systems: quality with confidence interval (y) over cost (logarithmic x axis).

    Args:
        title: Title for screen readers.
        cost: Label of the cost axis.
        measure: Label of the quality axis.
        points: Cost and quality of each system.
    """

    def draw(axes: Axes) -> None:
        from matplotlib.ticker import LogLocator, NullFormatter

        for number, point in enumerate(points):
            color, mean = _SERIES[number % len(_SERIES)], _finite(point.quality)
            errors = [[max(0, mean.mean - mean.low)], [max(0, mean.high - mean.mean)]]
            label = _shorten(point.name)
            axes.errorbar(point.cost, mean.mean, yerr=errors, color=color, marker="o", capsize=3, label=label)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, fontsize="small")
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(x=0.12)
        axes.set_xlabel(cost)
        axes.set_ylabel(measure)

    return _svg(title, draw, 4.2, 3.4)


def frontier_chart(title: str, cost: str, measure: str, points: Sequence[CostPoint], chosen: int | None) -> str:
    """Return a plot of quality over cost (logarithmic x axis), with a line through the Pareto-optimal points.

    Points have tooltips with their numbers, from 1, and names. The numbers of the first point, of the chosen one and of
    those on the line are shown.

    Args:
        title: Title for screen readers.
        cost: Label of the cost axis.
        measure: Label of the quality axis.
        points: Cost and quality of each system.
        chosen: Index of the point to emphasize; None for none.
    """

    def draw(axes: Axes) -> None:
        from matplotlib.ticker import LogLocator, NullFormatter

        order = sorted(range(len(points)), key=lambda number: (points[number].cost, -points[number].quality.mean))
        best, front = -np.inf, list[int]()
        for number in order:
            if points[number].quality.mean > best:
                best = points[number].quality.mean
                front.append(number)
        line = [(points[number].cost, points[number].quality.mean) for number in front]
        axes.plot(*zip(*line, strict=True), color=_SERIES[0], linewidth=1, drawstyle="steps-post", zorder=1)
        for number, point in enumerate(points):
            color = _SERIES[1] if number == chosen else _SERIES[0] if number in front else _FAINT
            drawn = axes.scatter([point.cost], [point.quality.mean], color=color, zorder=2)
            drawn.set_urls([f"#{number}"])
            if number in (0, chosen, *front):
                place = (point.cost, point.quality.mean)
                axes.annotate(str(number + 1), place, (4, 4), textcoords="offset points", fontsize=8)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(x=0.12, y=0.12)
        axes.set_xlabel(cost)
        axes.set_ylabel(measure)

    labels = [
        f"{number}. {point.name}: {point.quality.mean:.4f}, {point.cost:.4g}" for number, point in enumerate(points, 1)
    ]
    return _svg(title, draw, 4.6, 3.4, labels)


def _finite(mean: Interval) -> Interval:
    """Return the interval ``mean``. If a bound is infinite or NaN, both are set to the mean, so it can be drawn."""
    return mean if np.isfinite(mean).all() else Interval(mean.mean, mean.mean, mean.mean)


def _shorten(name: str) -> str:
    """Shorten a system's name to 40 columns of text; wide East Asian characters take two columns."""
    widths = itertools.accumulate(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in name)
    fitting = sum(width <= _MAX_NAME_WIDTH for width in widths)
    return name if fitting == len(name) else f"{name[: fitting - 3]}..."


def _listed(names: Sequence[str]) -> str:
    more = [f"... and {len(names) - _MAX_LISTED_QUERIES} more"] * (len(names) > _MAX_LISTED_QUERIES)
    return "\n".join([*names[:_MAX_LISTED_QUERIES], *more])


def _svg(title: str, draw: Callable[[Axes], None], width: float, height: float, labels: Sequence[str] = ()) -> str:
    """Return a plot (``width`` x ``height`` inches) as SVG. Elements linking to #N get the tooltip ``labels[N]``."""
    matplotlib: Any = importable("matplotlib", "report")
    from matplotlib.figure import Figure

    with (
        matplotlib.rc_context({**_STYLE, "svg.hashsalt": title}),
        io.StringIO() as stream,
        warnings.catch_warnings(),
    ):
        # The browser draws the text with the page's fonts; matplotlib only measures it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure((width, height), layout="constrained")
        draw(figure.add_subplot())
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        text = stream.getvalue()
    text = _compact(_embeddable(text[text.index("<svg") :]))
    # matplotlib writes no tooltips, but it writes links.
    text = re.sub(
        r'<a xlink:href="#(\d+)"[^>]*>',
        lambda link: f'<g class="point"><title>{html.escape(labels[int(link[1])])}</title>',
        text,
    )
    head = f'<svg role="img" aria-label="{html.escape(title)}" style="max-width:{width * 1.25:.1f}in" '
    return text.replace("<svg ", head, 1)


def _embeddable(svg: str) -> str:
    """Return matplotlib's SVG with the colors and fonts of the page, and without ids that are not referenced."""
    for color, variable in _CSS_COLORS.items():
        svg = svg.replace(color, variable)
    referenced = set(re.findall(r"#([^\s\"')]+)", svg))
    # Several charts are embedded in one page, in which ids must be unique.
    svg = re.sub(r' id="([^"]*)"', lambda attribute: attribute[0] if attribute[1] in referenced else "", svg)
    svg = re.sub(r'font-family: [^;"]*', "font-family: var(--sans)", svg)
    return re.sub(r"<metadata>.*?</metadata>", "", svg.replace("</a>", "</g>"), count=1, flags=re.DOTALL)


def _compact(svg: str) -> str:
    """Minify the SVG image: remove indentation, round coordinates to two decimals, and use circle elements."""
    svg = re.sub(r"\s*\n\s*", " ", svg).replace("> <", "><")
    svg = re.sub(r"<[^>]+>", lambda tag: _LONG_NUMBER.sub(lambda number: f"{float(number[0]):.2f}", tag[0]), svg)
    return _CIRCLE.sub(_circle, svg)


def _circle(path: re.Match[str]) -> str:
    """Return an SVG circle element in place of matplotlib's path of a circle (eight curves, starting at the bottom)."""
    points = re.findall(r"(-?[\d.]+) (-?[\d.]+)", path[1])
    (x, low), (_, high) = ((float(number) for number in points[position]) for position in (0, 12))
    return f'<circle cx="{x:g}" cy="{(low + high) / 2:.4g}" r="{(low - high) / 2:.3g}"'

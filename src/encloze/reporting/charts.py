"""Pictures of figures, as SVG that takes its colours and letters from the page it stands in."""

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
from encloze.evaluation.significance import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Drawn in colours that nothing else has, which become the page's own.
_INK, _FAINT, _PAPER = "#010203", "#040506", "#070809"
_SERIES = tuple(f"#0a0b{number:02x}" for number in range(0x10, 0x18))
_COLOURS = {_INK: "var(--ink)", _FAINT: "var(--faint)", _PAPER: "var(--paper)"} | {
    colour: f"var(--series-{number})" for number, colour in enumerate(_SERIES)
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
_MOST_NAMED = 3  # queries that one point names
_LONGEST = 40  # columns of a system's name in a picture


class Point(NamedTuple):
    """A system in a plane of costs and quality."""

    name: str
    cost: float
    quality: Interval


def bars(title: str, means: Mapping[str, Interval]) -> str:
    """A bar for each mean, with its interval."""

    def draw(axes: Axes) -> None:
        places = np.arange(len(means))[::-1]
        values = np.array([mean.mean for mean in means.values()])
        colours = [_SERIES[number % len(_SERIES)] for number in range(len(means))]
        drawn = axes.barh(places, values, color=colours, height=0.62, alpha=0.75)
        for number, bar in enumerate(drawn):
            bar.set_url(f"#{number}")
        finite = [_finite(mean) for mean in means.values()]
        errors = np.array([[mean.mean - mean.low, mean.high - mean.mean] for mean in finite]).T
        axes.errorbar(values, places, xerr=np.maximum(errors, 0), fmt="none", ecolor=_INK, elinewidth=1.2, capsize=3)
        axes.set_yticks(places, list(map(_short, means)))
        axes.grid(visible=False, axis="y")

    told = [f"{name}: {mean.mean:.4f} [{mean.low:.4f}, {mean.high:.4f}]" for name, mean in means.items()]
    return _svg(title, draw, 5.4, 0.7 + 0.34 * len(means), told)


def curves(title: str, series: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> str:
    """Lines over the steps of a training."""

    def draw(axes: Axes) -> None:
        for number, (name, (steps, values)) in enumerate(series.items()):
            marker = "o" if len(steps) <= 12 else None
            axes.plot(steps, values, color=_SERIES[number % len(_SERIES)], label=name, marker=marker, markersize=3.5)
        axes.set_xlabel("step")
        if len(series) > 1:
            axes.legend()

    return _svg(title, draw, 4.6, 2.7)


def against(title: str, measure: str, across: str, up: str, points: Mapping[tuple[float, float], Sequence[str]]) -> str:
    """Queries by what two systems made of them; what falls together is one larger point that names some of them."""

    def draw(axes: Axes) -> None:
        places = np.array(list(points), float).reshape(-1, 2)
        most = max(1.0, float(places.max(initial=0)))  # counts, such as NumRet, go beyond 1
        axes.plot([0, most], [0, most], color=_FAINT, linewidth=1, zorder=0)  # points lie on it, to be pointed at
        gain = places[:, 1] - places[:, 0]
        colours = np.where(gain > 0, _SERIES[0], np.where(gain < 0, _SERIES[1], _FAINT)).tolist()
        sizes = [14 * len(names) ** 0.5 for names in points.values()]
        # The page gives points their rim and lets those below shine through.
        drawn = axes.scatter(places[:, 0], places[:, 1], s=sizes, c=colours, linewidths=0, clip_on=False)
        drawn.set_urls([f"#{number}" for number in range(len(points))])
        axes.set_xlabel(f"{measure}, {_short(across)}")
        axes.set_ylabel(f"{measure}, {_short(up)}")
        axes.set_xlim(-0.05 * most, 1.05 * most)
        axes.set_ylim(-0.05 * most, 1.05 * most)
        axes.set_aspect("equal")

    told = [
        f"{across} {x:.3f}, {up} {y:.3f}{f' ({len(names)} queries)' if len(names) > 1 else ''}\n{_some(names)}"
        for (x, y), names in points.items()
    ]
    return _svg(title, draw, 4.2, 4.2, told)


def costs(title: str, unit: str, quality: str, points: Sequence[Point]) -> str:
    """Quality with its interval against a cost, on a scale where equal distances are equal factors."""

    def draw(axes: Axes) -> None:
        from matplotlib.ticker import LogLocator, NullFormatter

        for number, point in enumerate(points):
            colour, mean = _SERIES[number % len(_SERIES)], _finite(point.quality)
            errors = [[max(0, mean.mean - mean.low)], [max(0, mean.high - mean.mean)]]
            axes.errorbar(
                point.cost, mean.mean, yerr=errors, color=colour, marker="o", capsize=3, label=_short(point.name)
            )
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, fontsize="small")
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(x=0.12)
        axes.set_xlabel(unit)
        axes.set_ylabel(quality)

    return _svg(title, draw, 4.2, 3.4)


def _finite(mean: Interval) -> Interval:
    """An interval that can be drawn; one without bounds is its mean."""
    return mean if np.isfinite(mean).all() else Interval(mean.mean, mean.mean, mean.mean)


def _short(name: str) -> str:
    """A name that leaves room for the picture."""
    widths = itertools.accumulate(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in name)
    fits = sum(width <= _LONGEST for width in widths)
    return name if fits == len(name) else f"{name[: fits - 3]}..."


def _some(names: Sequence[str]) -> str:
    more = [f"... and {len(names) - _MOST_NAMED} more"] * (len(names) > _MOST_NAMED)
    return "\n".join([*names[:_MOST_NAMED], *more])


def _compact(svg: str) -> str:
    """The same picture in half the bytes: no indentation, hundredths of a point, circles by their radius."""
    svg = re.sub(r"\s*\n\s*", " ", svg).replace("> <", "><")
    svg = re.sub(r"<[^>]+>", lambda tag: _LONG_NUMBER.sub(lambda number: f"{float(number[0]):.2f}", tag[0]), svg)
    return _CIRCLE.sub(_circle, svg)


def _circle(path: re.Match[str]) -> str:
    """The circle that matplotlib draws from its lowest point through eight curves, of which the fourth ends on top."""
    points = re.findall(r"(-?[\d.]+) (-?[\d.]+)", path[1])
    (x, low), (_, high) = ((float(number) for number in points[at]) for at in (0, 12))
    return f'<circle cx="{x:g}" cy="{(low + high) / 2:.4g}" r="{(low - high) / 2:.3g}"'


def _svg(title: str, draw: Callable[[Axes], None], width: float, height: float, told: Sequence[str] = ()) -> str:
    """The picture, ``width`` x ``height`` inches on paper; what links to #N is told by text N of ``told``."""
    matplotlib: Any = importable("matplotlib", "report")
    from matplotlib.figure import Figure

    with (
        matplotlib.rc_context({**_STYLE, "svg.hashsalt": title}),
        io.StringIO() as stream,
        warnings.catch_warnings(),
    ):
        # The page's own fonts write the letters: matplotlib only measures them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure((width, height), layout="constrained")
        draw(figure.add_subplot())
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        text = stream.getvalue()
    text = text[text.index("<svg") :]
    for colour, name in _COLOURS.items():
        text = text.replace(colour, name)
    used = set(re.findall(r"#([^\s\"')]+)", text))
    # Pictures share a page, on which an id stands for one thing.
    text = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", text)
    text = re.sub(r'font-family: [^;"]*', "font-family: var(--sans)", text)
    text = re.sub(r"<metadata>.*?</metadata>", "", text.replace("</a>", "</g>"), count=1, flags=re.DOTALL)
    text = _compact(text)
    # matplotlib draws no titles of points, but links.
    text = re.sub(
        r'<a xlink:href="#(\d+)"[^>]*>',
        lambda found: f'<g class="point"><title>{html.escape(told[int(found[1])])}</title>',
        text,
    )
    head = f'<svg role="img" aria-label="{html.escape(title)}" style="max-width:{width * 1.25:.1f}in" '
    return text.replace("<svg ", head, 1)

"""Charts for the report: SVG text inside the page, with the page's colours and font."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, MaxNLocator, StrMethodFormatter
from numpy.typing import NDArray

if TYPE_CHECKING:
    from training.heads.metrics import Reliability

# Drawn in these colours, then turned into the page's variables, so that light and dark follow the reader.
_VARIABLES = {
    "#010101": "--ink",
    "#020202": "--quiet",
    "#030303": "--line",
    "#040404": "--c-learned",
    "#050505": "--c-baseline",
    "#060606": "--c-rules",
    "#070707": "--c-other",
}
INK, QUIET, LINE, LEARNED, BASELINE, RULES, OTHER = _VARIABLES
_MOST_DECIMALS = 8  # of a percentage on an axis: closer ticks are rounding errors of the sums
_LEAST_SHARE = 0.0005  # what is below it would read 0.0%
_THOUSANDS = 1_000.0  # from here on an axis sets thousands apart
_WIDTH = 5.0  # inches of 72 units: about as wide as a phone, so that letters there are as large as they say
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 10.5,
    "text.color": INK,
    "axes.labelcolor": QUIET,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.linewidth": 0.8,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": QUIET,
    "ytick.labelcolor": QUIET,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}


class Line(NamedTuple):
    """A named line of a plot over the common x, and its colour."""

    name: str
    values: NDArray[np.float64]
    colour: str


def bars(title: str, values: Mapping[str, float], colours: Mapping[str, str], *, percent: bool) -> str:
    """Return horizontal bars with their values written beside them, the first on top.

    Parameters
    ----------
    values
        By name; NaN draws no bar.
    colours
        By name, else that of the others.
    percent
        Whether values are shares.
    """
    with rc_context(_STYLE):
        figure, axes = _figure(0.5 + 0.3 * len(values))
        numbers = np.nan_to_num(np.array(list(values.values())))
        places = np.arange(len(values))
        axes.barh(places, numbers, height=0.62, color=[colours.get(name, OTHER) for name in values])
        axes.set_yticks(places, list(values), color=INK)
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.spines[["bottom", "left"]].set_visible(False)
        axes.set_xticks([])
        reach = max(float(np.abs(numbers).max(initial=0.0)), 1e-9)
        axes.set_xlim(min(float(numbers.min(initial=0.0)) * 1.25, 0.0), reach * 1.2)
        axes.axvline(0.0, color=LINE, linewidth=0.8)
        for place, (number, value) in enumerate(zip(numbers, values.values(), strict=True)):
            label = "none" if np.isnan(value) else _share(value) if percent else f"{value:,.4g}"
            axes.annotate(label, (max(number, 0.0), place), xytext=(4, 0), textcoords="offset points", va="center")
        return _svg(figure, title)


def lines(title: str, x: NDArray[np.float64], drawn: Sequence[Line], labels: tuple[str, str]) -> str:
    """Return lines over a common x, each with its name at its end; y is a share.

    Parameters
    ----------
    labels
        Of the two axes.
    """
    with rc_context(_STYLE):
        figure, axes = _figure(3.1)
        for line in drawn:
            axes.plot(x, line.values, color=line.colour, linewidth=1.8, solid_capstyle="round")
        _name_ends(axes, x, drawn)
        axes.grid(visible=False, axis="x")
        axes.yaxis.set_major_formatter(_Percent())
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 3, 6, 10]))  # hours and days in common parts
        axes.set_xlabel(labels[0])
        axes.set_title(labels[1], loc="left", fontsize=10.5, color=QUIET)
        return _svg(figure, title)


def reliability(title: str, curves: Mapping[str, Reliability], unit: str) -> str:
    """Return predicted against observed means on equal axes, with the diagonal; the first curve is filled."""
    with rc_context(_STYLE):
        figure, axes = _figure(4.1)
        every = np.concatenate([np.concatenate([c.predicted, c.observed]) for c in curves.values()])
        positive = every[every > 0.0]
        log = positive.size > 0 and positive.max() > 50.0 * max(positive.min(), 1e-9) and unit != ""
        low = float(positive.min()) * 0.8 if log else min(float(every.min()), 0.0)
        high = float(every.max()) * (1.25 if log else 1.06) or 1.0
        axes.plot([low, high], [low, high], color=QUIET, linewidth=0.9, linestyle=(0, (4, 3)))
        for number, (name, curve) in enumerate(curves.items()):
            colour, filled = (LEARNED, BASELINE)[number % 2], number == 0
            size = 10.0 + 50.0 * curve.counts / max(int(curve.counts.max()), 1)
            face = colour if filled else "none"
            axes.plot(curve.predicted, curve.observed, color=colour, linewidth=1.2)
            axes.scatter(curve.predicted, curve.observed, s=size, facecolor=face, edgecolor=colour, linewidth=1.2)
            axes.text(0.03, 0.95 - 0.075 * number, name, color=colour, transform=axes.transAxes, va="top")
        if log:
            axes.set_xscale("log")
            axes.set_yscale("log")
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(lambda value, _at: f"{value:,.4g}")
                axis.set_minor_formatter(lambda _value, _at: "")
            axes.minorticks_off()
        elif high >= _THOUSANDS:
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        axes.set_xlabel(f"predicted{f' ({unit})' if unit else ''}")
        axes.set_ylabel("observed")
        return _svg(figure, title)


class _Percent(Formatter):
    """Writes shares as percentages, with as many decimals as the distance of the ticks needs to tell them apart."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Return the label of a value by itself; ``pos``, the number of its tick, says nothing about it."""
        del pos
        return self.format_ticks([x])[0]

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        """Return the labels of all ticks of an axis."""
        percent = 100.0 * np.asarray(values, np.float64)
        gaps = np.diff(np.unique(percent))
        step = float(gaps.min()) if gaps.size else 1.0
        digits = next(
            (n for n in range(_MOST_DECIMALS) if math.isclose(round(step, n), step, rel_tol=1e-4)), _MOST_DECIMALS
        )
        return [f"{round(value, digits) + 0.0:.{digits}f}%" for value in percent.tolist()]


def _share(value: float) -> str:
    """Return a share with one decimal; a small one is not shown as none."""
    return "<0.1%" if 0.0 < value < _LEAST_SHARE else f"{value:.1%}"


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def _name_ends(axes: Axes, x: NDArray[np.float64], drawn: Sequence[Line]) -> None:
    """Write each line's name at its end; move overlapping names apart."""
    ends = [float(line.values[np.isfinite(line.values)][-1:].sum()) for line in drawn]
    low, high = axes.get_ylim()
    step, free = (high - low) * 0.075, -np.inf
    for at in np.argsort(ends):
        free = max(ends[at], free + step)
        axes.annotate(
            drawn[at].name,
            (x[-1], free),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=drawn[at].colour,
            annotation_clip=False,
        )


def _svg(figure: Figure, title: str) -> str:
    """Return a figure as an element of the page: no links, no fixed size, colours and letters of the page."""
    text = StringIO()
    with rc_context({"svg.hashsalt": title}):  # names within the picture differ from those of the others
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)
    for _ in ("width", "height"):
        svg = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    head, _, body = svg.partition(">")
    return f'{head} role="img"><title>{escape(title)}</title>{body}'

"""One page about an evaluation: how much better, when, and where. It runs nothing and loads nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from scheduler.runtime.durable import write_text
from training.evaluation.intervals import intervals
from training.evaluation.metrics import LEARNED, NO_BASELINES, ORACLE, RANDOM
from training.evaluation.results import Comparison
from training.evaluation.segments import FEWEST, segmentations
from training.heads.metrics import reliability
from training.policies.about import ABOUT
from training.report import charts

if TYPE_CHECKING:
    from training.explanation.model_rules import ModelRules
    from training.heads.summary import TrainingSummary

RULES = "rules"
"""The name of the policy in charge so far, where a comparison has one."""

TEMPLATES = Path(__file__).parent / "templates"
PICK_BINS = 15
"""Bins of a reliability curve over picks, of which there are fewer than rows that judge."""

TOP = 12
"""Features shown of each head."""


class Headline(NamedTuple):
    """A headline figure: its value, its meaning, and the two costs behind it."""

    figure: str
    text: str
    detail: str


class Picture(NamedTuple):
    """A picture with its caption, the figures behind it as rows under ``columns``, and what else is to be said."""

    svg: Markup
    caption: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    note: str = ""


def write_report(
    comparison: Comparison, path: str | Path, summary: TrainingSummary | None = None, rules: ModelRules | None = None
) -> Path:
    """Write the page in one step: a reader sees the old page or the whole new one.

    Parameters
    ----------
    comparison
        With a policy ``learned``.
    path
        Its folder is made if it is not there.
    summary
        Of the training, where it was just done: adds how the heads did on rows held out from fitting.
    rules
        Of the model: adds partial dependence and the nearest rules.

    Returns
    -------
    Path
        Where the page is.
    """
    path = Path(path)
    page = render(comparison, summary, rules)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, page)
    return path


def render(
    comparison: Comparison, summary: TrainingSummary | None = None, model_rules: ModelRules | None = None
) -> str:
    """Return the page as text; the same for the same comparison."""
    baseline = best_baseline(comparison)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = figure
    return environment.get_template("report.html").render(
        comparison=comparison,
        baseline=baseline,
        scores=_ranked(comparison),
        headlines=list(_headlines(comparison, baseline)),
        gaps=_gaps(comparison, baseline),
        series=_series(comparison, baseline),
        calibration=list(_calibration(comparison, summary)),
        held_out=summary is not None,
        importance=list(_importance(comparison)),
        segmentations=segmentations(comparison, baseline),
        fewest=FEWEST,
        sure=intervals(comparison),
        about=ABOUT,
        evicted=_evicted(comparison),
        label=label,
        rules=RULES,
        model_rules=model_rules,
    )


def _evicted(comparison: Comparison) -> float | None:
    """Return the largest share of keys that any table of the evaluation had no room for; None where it is not known."""
    shares = [use.share for use in comparison.tables.get("evaluation", {}).values()]
    return max(shares, default=None)


def _picture(svg: str) -> Markup:
    """Return a picture of ours, which `training.report.charts` has escaped, as part of the page."""
    return Markup(svg)  # noqa: S704


def best_baseline(comparison: Comparison) -> str:
    """Return the policy of the least mean cost that is neither a model, nor the oracle, nor the rules."""
    names = [name for name in comparison.policies if name not in (*NO_BASELINES, RULES)]
    return min(names, key=lambda name: comparison.policies[name].mean)


def figure(value: float | None, digits: int = 4) -> str:
    """Return a number as a reader wants it: thousands apart, no more digits than mean something."""
    if value is None or np.isnan(value):
        return "\N{EN DASH}"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:,.{digits}g}"


def label(name: str) -> str:
    """Return a policy's name in words."""
    return {"linucb": "LinUCB", "vowpal_wabbit": "Vowpal Wabbit"}.get(name, name.replace("_", " "))


def _ranked(comparison: Comparison) -> list[tuple[str, Any]]:
    """Return the policies from the least mean cost to the most."""
    return sorted(comparison.policies.items(), key=lambda item: (item[1].mean, item[0] != ORACLE))


def _headlines(comparison: Comparison, baseline: str) -> Iterator[Headline]:
    scores, unit = comparison.policies, comparison.unit
    own = scores[LEARNED]
    for name in dict.fromkeys((RULES, baseline, RANDOM)):  # random may be the best baseline
        if name in scores and scores[name].mean > 0.0:
            saved = 1.0 - own.mean / scores[name].mean
            what = {baseline: f"the best baseline, {label(name)}", RULES: "the rules"}.get(name, label(name))
            yield Headline(
                f"{abs(saved):.0%}",
                f"{'lower' if saved >= 0 else 'higher'} mean cost than {what}",
                f"{figure(own.mean, 3)} against {figure(scores[name].mean, 3)} {unit}".strip(),
            )
    if not np.isnan(own.gap_closed):
        log = "" if np.isnan(own.gap_closed_log) else f", {own.gap_closed_log:.0%} in the mean log"
        yield Headline(f"{own.gap_closed:.0%}", "of the way from random to the oracle", f"in the mean cost{log}")
    if not np.isnan(own.regret):
        log = "" if np.isnan(own.regret_log) else f", {own.regret_log:.2f} in the mean log"
        yield Headline(f"{own.regret:.2f}", "of the best baseline's distance to the oracle", f"in the mean cost{log}")


def _colours(baseline: str) -> dict[str, str]:
    return {LEARNED: charts.LEARNED, RULES: charts.RULES, baseline: charts.BASELINE}


def _gaps(comparison: Comparison, baseline: str) -> list[Picture]:
    colours = {label(name): colour for name, colour in _colours(baseline).items()}
    pictures = []
    for key, what in (("gap_closed", "mean cost"), ("gap_closed_log", "mean log of the cost")):
        ranked = sorted(comparison.policies.items(), key=lambda item: -np.nan_to_num(getattr(item[1], key)))
        shown = {label(n): getattr(s, key) for n, s in ranked if n not in (RANDOM, ORACLE)}
        title = f"Gap between random and oracle closed, in the {what}"
        pictures.append(Picture(_picture(charts.bars(title, shown, colours, percent=True)), f"In the {what}"))
    return pictures


def _series(comparison: Comparison, baseline: str) -> Picture | None:
    """Return the gap closed over time, smoothed over a twentieth of the slices; None for fewer than three or no gap."""
    series = comparison.series
    n = len(series.start)
    if n < 3:  # noqa: PLR2004 - two points are no course
        return None
    window = max(n // 20, 1)
    names = [name for name in (LEARNED, baseline, RULES) if name in series.cost and name != RANDOM]
    sums = {name: _moving_sum(series.cost[name], window) for name in (*names, RANDOM, ORACLE)}
    gap = sums[RANDOM] - sums[ORACLE]
    if not (gap > 0.0).any():
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        closed = {name: np.where(gap > 0.0, (sums[RANDOM] - sums[name]) / gap, np.nan) for name in names}
    passed, unit = _passed(series.start)
    drawn = [charts.Line(label(name), closed[name], _colours(baseline)[name]) for name in names]
    labels = (f"{unit} since the evaluation began", "gap closed")
    svg = charts.lines("Gap closed over time", passed, drawn, labels)
    smooth = f", each point over {window} slices" if window > 1 else ""
    return Picture(_picture(svg), f"{n:,} slices{smooth}.")


def _passed(start: NDArray[np.float64]) -> tuple[NDArray[np.float64], str]:
    """Return how long after the first each slice begins, and the unit: the longest of which at least two passed."""
    seconds = start - start[0]
    for unit, length in (("days", 86_400.0), ("hours", 3_600.0), ("minutes", 60.0)):
        if seconds[-1] >= 2.0 * length:
            return seconds / length, unit
    return seconds, "seconds"


def _moving_sum(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Return sums over a centred window, cut off at both ends."""
    return np.convolve(values, np.ones(window), mode="same")


def _calibration(comparison: Comparison, summary: TrainingSummary | None) -> Iterator[Picture]:
    heads = dict.fromkeys([*(summary.heads if summary else ()), *comparison.predicted])
    units = comparison.card.units if comparison.card else {}
    for head in heads:
        curves = {}
        if head in comparison.predicted:
            curves["its own picks"] = reliability(
                comparison.predicted[head], comparison.observed[head], n_bins=PICK_BINS
            )
        if summary is not None:
            curves["held-out rows"] = summary.heads[head].reliability
        curves = {name: curve for name, curve in curves.items() if len(curve.counts)}
        if curves:
            rows = [
                (name, figure(float(p)), figure(float(o)), f"{int(n):,}")
                for name, curve in curves.items()
                for p, o, n in zip(*curve, strict=True)
            ]
            svg = charts.reliability(f"Calibration of {head}", curves, units.get(head, ""))
            note = _honesty(summary.heads[head].metrics) if summary is not None else ""
            yield Picture(_picture(svg), head, ("rows", "predicted", "observed", "count"), tuple(rows), note)


def _honesty(metrics: Mapping[str, float]) -> str:
    """Return the error of the mean against the expected one; see `training.heads.uncertainty`."""
    ratio, near, far = (metrics.get(name, np.nan) for name in ("mean_ratio", "covered_68", "covered_95"))
    if np.isnan(ratio):
        return ""
    note = f"On held-out rows the squared error of the expected value was {figure(ratio, 2)} times what was foreseen"
    if not np.isnan(near):
        note += f"; {near:.0%} of the outcomes lay where 68 % were expected, {far:.0%} where 95 % were"
    return f"{note}."


def _importance(comparison: Comparison) -> Iterator[Picture]:
    """Return a picture for each head, the features of the largest share first."""
    importance: Mapping[str, Mapping[str, float]] = comparison.card.importance if comparison.card else {}
    for head, shares in importance.items():
        top = sorted(shares.items(), key=lambda item: -item[1])
        shown = {name: share for name, share in top[:TOP] if share > 0.0}
        if shown:
            colours = dict.fromkeys(shown, charts.LEARNED)
            rest = sum(share > 0.0 for _, share in top[TOP:])
            caption = f"{head}{f'; {rest} more features share the rest' if rest else ''}"
            yield Picture(_picture(charts.bars(f"Importance for {head}", shown, colours, percent=True)), caption)

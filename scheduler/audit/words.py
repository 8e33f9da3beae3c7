"""Numbers and values as an operator reads them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from scheduler.audit.values import Plain
from scheduler.columns.ids import Id
from scheduler.decisions.arrays import DROPS
from scheduler.spec import (
    FAILED,
    Distance,
    Equal,
    Feature,
    NodeColumn,
    RequestColumn,
    ShrunkMean,
    Spec,
    Statistic,
    TrainedMean,
    Value,
)

MISSING = "missing"

ORIGIN = "the origin"

WHOLE = 999.5
"""From here on numbers are whole: three digits stand before the point."""

_DROPPED = {"spread": "beyond a spread limit", "quarantined": "in quarantine"}
"""Words for drops whose names are no adjectives of a node."""

_KILOMETRES = "km"

_SECONDS = "s"


def number(value: float) -> str:
    """Return a number with three significant digits, whole and with thousands apart where it is large."""
    if not math.isfinite(value):
        return MISSING
    if abs(value) >= WHOLE:
        return f"{value:,.0f}"
    text = f"{value:.3g}"
    return f"{value:.6f}".rstrip("0").rstrip(".") if "e" in text and abs(value) >= 1e-6 else text  # noqa: PLR2004


def signed(value: float) -> str:
    """Return a number with its sign."""
    return f"{'+' if value >= 0 else ''}{number(value)}"


def percent(value: float) -> str:
    """Return a share as percent."""
    return f"{number(100.0 * value)} %" if math.isfinite(value) else MISSING


def with_unit(value: float, unit: str) -> str:
    """Return a number with its unit."""
    return f"{number(value)} {unit}" if unit and math.isfinite(value) else number(value)


def head_value(spec: Spec, head: str, value: float) -> str:
    """Return a head's value: a probability as percent, other values with their unit."""
    one = spec.heads[head]
    return percent(value) if one.link == "logistic" else with_unit(value, one.unit)


def feature_value(spec: Spec, name: str, value: Plain) -> str:
    """Return a feature's value in its unit; shares of failures as percent, means of logarithms as what they are of."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str) or name not in spec.features:
        return str(value) if isinstance(value, str) else number(value)
    return _number_of(spec, spec.features[name], value)


def _number_of(spec: Spec, feature: Feature, value: float) -> str:
    match feature:
        case RequestColumn(column=column):
            column_of = spec.request[column]
            return str(value) if column_of.type == "category" else with_unit(value, column_of.unit)
        case NodeColumn(column=column):
            column_of = spec.node[column]
            return str(value) if column_of.type == "category" else with_unit(value, column_of.unit)
        case Distance():
            return with_unit(value, _KILOMETRES)
        case Statistic(stat="age"):
            return with_unit(value, _SECONDS)
        case Statistic(stat="mean" | "last", value=str(text)) | ShrunkMean(value=text) | TrainedMean(value=text):
            return _tracked(spec, Value.parse(text), value)
        case _:
            return number(value)


def _tracked(spec: Spec, tracked: Value, value: float) -> str:
    """Return a mean of a tracked value: e**mean - 1 for one of ``log(1 + outcome)``."""
    if tracked.outcome == FAILED:
        return percent(value)
    outcome = spec.outcomes.get(tracked.outcome)
    unit = outcome.unit if outcome is not None else ""
    if tracked.residual:
        return number(value)
    return with_unit(math.expm1(min(value, math.log(1e300))) if tracked.log1p else value, unit)


def same(spec: Spec, name: str) -> str | None:
    """Return what a feature says to be the same in request and node, None for features of another kind."""
    feature = spec.features.get(name)
    return feature.node if isinstance(feature, Equal) else None


def names_of(nodes: Sequence[Id | None]) -> str:
    """Return ids with commas between; none is the origin."""
    return ", ".join(map(str, nodes)) if nodes else ORIGIN


def counts_of(dropped: Mapping[str, int]) -> str:
    """Return how many candidates each filter dropped, most first, such as ``12 candidates full, 3 silent``."""
    first, *others = sorted(dropped, key=lambda name: (-dropped[name], DROPS.index(name)))
    noun = "candidate" if dropped[first] == 1 else "candidates"
    return ", ".join(
        [
            f"{dropped[first]:,} {noun} {_DROPPED.get(first, first)}",
            *(f"{dropped[name]:,} {_DROPPED.get(name, name)}" for name in others),
        ]
    )

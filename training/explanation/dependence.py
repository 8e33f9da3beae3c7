"""Partial dependence: what a model predicts on average when one feature has each of some values."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.audit.recorded import plain_value
from scheduler.audit.scores import raw_responses
from scheduler.audit.values import Plain
from scheduler.model.calibration import head_values
from scheduler.model.model import Model
from training.explanation.utility import default_utility
from training.sampling import evenly_spaced

MOST_POINTS = 7
"""Values of a feature: the ends and the sixths of its distribution, or its most frequent categories."""

MOST_ROWS = 500
"""Rows that are averaged over, each scored at each value."""


class Dependence(NamedTuple):
    """Means over rows of the utility and the heads with each of some values of one feature.

    Attributes
    ----------
    feature
        Its name.
    values
        (n,) of it, as an operator knows them.
    utility
        (n,), and ``heads`` (n,) for each head.
    extent
        Largest less smallest utility.
    """

    feature: str
    values: tuple[Plain, ...]
    utility: tuple[float, ...]
    heads: dict[str, tuple[float, ...]]
    extent: float


def dependence(model: Model, rows: NDArray[np.float32], f: int) -> Dependence | None:
    """Return the partial dependence on feature ``f``; None where it has fewer than two values in the rows.

    See Friedman: Greedy function approximation: a gradient boosting machine. Annals of Statistics 29, 2001. Other
    features keep each row's values, also those that go with this one in reality.
    """
    points = points_of(model, rows[:, f], f)
    if points.size < 2:  # noqa: PLR2004 - one value is no course
        return None
    some = rows[evenly_spaced(len(rows), MOST_ROWS)]
    raw = np.array([raw_responses(model, row, f, points) for row in some])
    values = head_values(raw.reshape(-1, len(model.heads)), model.calibration)
    utility = default_utility(model, values).reshape(len(some), -1).mean(axis=0)
    heads = values.reshape(len(some), points.size, -1).mean(axis=0)
    return Dependence(
        feature=model.features.names[f],
        values=tuple(plain_value(model, f, point) for point in points),
        utility=tuple(utility.tolist()),
        heads={head: tuple(heads[:, h].tolist()) for h, head in enumerate(model.heads)},
        extent=float(np.ptp(utility)),
    )


def points_of(model: Model, column: NDArray[np.float32], f: int) -> NDArray[np.float64]:
    """Return the values at which a feature is looked at."""
    known = column[np.isfinite(column)].astype(np.float64)  # golden rows have infinities for the sake of the test
    if f in model.features.categorical:  # and codes of no category
        known = known[[plain_value(model, f, code) is not None for code in known]]
    distinct, counts = np.unique(known, return_counts=True)
    if distinct.size <= MOST_POINTS:
        return distinct
    if f in model.features.categorical:
        return np.sort(distinct[np.argsort(-counts, kind="stable")[:MOST_POINTS]])
    return np.unique(np.quantile(known, np.linspace(0.0, 1.0, MOST_POINTS)))

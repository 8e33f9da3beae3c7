"""Outcomes of a spec: their order, and the values that history tracks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scheduler.history.arrays import Tracked
from scheduler.history.kernels.outcome_values import track
from scheduler.spec import COST, FAILED, Spec, Value


def outcome_names(spec: Spec) -> tuple[str, ...]:
    """Return the measured outcomes of a spec in order, then the derived ``failed`` and ``cost``."""
    return (*spec.outcomes, FAILED, COST)


def tracked(spec: Spec, values: tuple[str, ...]) -> Tracked:
    """Return the outcome that each value is computed from, by its place in `outcome_names`."""
    names = outcome_names(spec)
    parsed = [Value.parse(value) for value in values]
    columns = np.array([-1 if value.residual else names.index(value.outcome) for value in parsed], np.int32)
    return Tracked(columns, np.array([value.log1p for value in parsed], np.bool_))


def tracked_values(spec: Spec, values: tuple[str, ...], outcomes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return values of outcome rows; ``values`` are written as in a spec, such as ``log1p(cost)``; see `values_at`."""
    return values_at(tracked(spec, values), outcomes)


def values_at(places: Tracked, outcomes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return values of outcome rows.

    Parameters
    ----------
    places
        From `tracked`.
    outcomes
        (n, n_outcomes) in the order of `outcome_names`.

    Returns
    -------
    (n, n_values) float32; NaN if not measured, and for residuals, which only history can compute.
    """
    out = np.empty((len(outcomes), len(places.columns)), np.float32)
    track(*places, np.ascontiguousarray(outcomes, np.float32), out)
    return out

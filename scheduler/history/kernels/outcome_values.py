"""Compute the values that history tracks and heads predict from measured outcomes."""

from __future__ import annotations

import math

import numpy as np

from scheduler.runtime.jit import kernel


@kernel
def track(columns: np.ndarray, log1p: np.ndarray, outcomes: np.ndarray, out: np.ndarray) -> None:
    """Write the tracked values of each outcome row.

    Parameters
    ----------
    columns, log1p
        (n_values,) outcome of each value, -1 for a value that is always NaN; and whether the value is
        ``log(1 + outcome)``, which is NaN at -1 and below.
    outcomes
        (n, n_outcomes) float32, NaN if not measured.
    out
        (n, n_values) float32, changed in place.
    """
    for i in range(outcomes.shape[0]):
        for v in range(columns.size):
            x = np.float64(outcomes[i, columns[v]]) if columns[v] >= 0 else np.nan
            if log1p[v]:
                x = math.log1p(x) if x > -1.0 else np.nan
            out[i, v] = x

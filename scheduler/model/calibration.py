"""From raw scores to calibrated expected values and standard errors."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from scheduler.model.arrays import LINK_LOG, LINK_LOGISTIC, LINKS
from scheduler.model.manifest import Calibration


def calibration_table(heads: Iterable[Calibration]) -> NDArray[np.float64]:
    """Return (n_heads, 3) link codes, intercepts and slopes, read-only."""
    table = np.array([(LINKS.index(c.link), c.intercept, c.slope) for c in heads], np.float64).reshape(-1, 3)
    table.flags.writeable = False
    return table


def uncertainty_table(heads: Iterable[Calibration]) -> NDArray[np.float64]:
    """Return (n_heads, 2) factors and powers, read-only."""
    table = np.array([(c.uncertainty, c.power) for c in heads], np.float64).reshape(-1, 2)
    table.flags.writeable = False
    return table


def head_slopes(values: NDArray[np.float64], calibration: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how fast calibrated values change with the raw score, both (n, n_heads)."""
    logistic, log = calibration[:, 0] == LINK_LOGISTIC, calibration[:, 0] == LINK_LOG
    return np.asarray(calibration[:, 2] * np.where(logistic, values * (1.0 - values), np.where(log, values, 1.0)))


def head_values(raw: NDArray[np.float64], calibration: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return calibrated values of raw scores.

    Parameters
    ----------
    raw
        (n, n_heads).
    calibration
        See `calibration_table`.

    Returns
    -------
    ndarray
        (n, n_heads): 1 / (1 + exp(-z)) for the link logistic, exp(z) for log, z for identity, where z is
        intercept + slope * raw.
    """
    z = calibration[:, 1] + calibration[:, 2] * raw
    logistic, log = calibration[:, 0] == LINK_LOGISTIC, calibration[:, 0] == LINK_LOG
    with np.errstate(over="ignore"):  # exp(-z) may be infinite: its inverse is 0, as it should be
        z[:, logistic] = 1.0 / (1.0 + np.exp(-z[:, logistic]))
        z[:, log] = np.exp(z[:, log])
    return z

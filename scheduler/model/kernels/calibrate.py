"""Turn raw scores into expected values."""

from __future__ import annotations

import numpy as np

from scheduler.model.arrays import LINK_LOG, LINK_LOGISTIC
from scheduler.runtime.exponential import exp
from scheduler.runtime.jit import kernel


@kernel
def calibrate(calibration: np.ndarray, raw: np.ndarray, x: np.ndarray, out: np.ndarray) -> None:
    """Turn raw scores, first of all in each row, into expected values (n, n_heads) of the heads' targets.

    ``x`` is scratch of n numbers: side by side they are calculated as vectors.
    """
    for h in range(out.shape[1]):
        link, intercept, slope = calibration[h, 0], calibration[h, 1], calibration[h, 2]
        for c in range(x.size):
            x[c] = intercept + slope * np.float64(raw[c, h])
        if link == LINK_LOGISTIC:
            for c in range(x.size):
                x[c] = 1.0 / (1.0 + exp(-x[c]))
        elif link == LINK_LOG:
            for c in range(x.size):
                x[c] = exp(x[c])
        for c in range(x.size):
            out[c, h] = x[c]

"""Add to raw scores what they start from."""

from __future__ import annotations

import math

import numpy as np

from scheduler.features.arrays import REQUEST
from scheduler.model.arrays import INTERCEPT, LEAST, LOG1P, LOGIT, MISSING, MOST, OWNER, PLACE, SLOPE, TRANSFORM
from scheduler.runtime.jit import inlined, kernel


@inlined
def offset_of(offset: np.ndarray, x: float) -> float:
    """Return what a raw score starts from, by a row of the table of offsets and the value of its feature."""
    if np.isnan(x):
        return offset[MISSING]
    z = min(max(x, offset[LEAST]), offset[MOST])
    if offset[TRANSFORM] == LOG1P:
        z = math.log1p(z)
    elif offset[TRANSFORM] == LOGIT:
        z = math.log(z / (1.0 - z))
    return offset[INTERCEPT] + offset[SLOPE] * z


@kernel
def add_offsets(offsets: np.ndarray, x_request: np.ndarray, x_pair: np.ndarray, raw: np.ndarray) -> None:
    """Add each head's offset to the raw scores (n, n_heads or more) of candidates.

    Parameters
    ----------
    offsets
        See `scheduler.model.offsets.offset_table`.
    x_request, x_pair
        (n_request,) and (n, n_pair) float32 features of the request and of the candidates.
    raw
        float32, changed in place; columns past the heads stay as they are.
    """
    for h in range(offsets.shape[0]):
        place = int(offsets[h, PLACE])
        if offsets[h, OWNER] < 0.0:
            continue
        if offsets[h, OWNER] == REQUEST:
            start = offset_of(offsets[h], np.float64(x_request[place]))
            for c in range(raw.shape[0]):
                raw[c, h] = np.float64(raw[c, h]) + start
        else:
            for c in range(raw.shape[0]):
                raw[c, h] = np.float64(raw[c, h]) + offset_of(offsets[h], np.float64(x_pair[c, place]))

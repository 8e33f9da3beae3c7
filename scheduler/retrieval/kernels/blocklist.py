"""Whether a request does not want a node."""

from __future__ import annotations

import numpy as np

from scheduler.columns.arrays import MISSING_KEY
from scheduler.retrieval.arrays import BAR_COLUMN, BAR_KEY, IndexArrays
from scheduler.retrieval.kernels.category_sets import is_held
from scheduler.runtime.jit import inlined, kernel


@inlined
def is_barred(index: IndexArrays, bars: np.ndarray, i: int, keys: np.ndarray, slot: int) -> bool:
    """Whether request ``i`` does not want the node in a slot of the fleet's ``keys``."""
    for b in range(bars.shape[1]):
        column, key = np.int64(bars[i, b, BAR_COLUMN]), bars[i, b, BAR_KEY]
        if key == np.uint64(MISSING_KEY):
            continue
        if column < keys.shape[1]:
            if keys[slot, column] == key:
                return True
        elif is_held(index, slot, column - keys.shape[1], np.int64(key)):
            return True
    return False


@kernel
def is_tier_barred(index: IndexArrays, t: int, bars: np.ndarray, i: int, keys: np.ndarray) -> bool:
    """Whether request ``i`` does not want any node of tier ``t``, because of a category that all of them have."""
    for c in range(index.barred.shape[1]):
        column = index.barred[t, c]
        if column < 0:
            break
        key = keys[i, index.request[t, c]]
        for b in range(bars.shape[1]):
            if bars[i, b, BAR_KEY] == key and np.int64(bars[i, b, BAR_COLUMN]) == column:
                return True
    return False

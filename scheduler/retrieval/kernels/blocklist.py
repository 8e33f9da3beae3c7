"""Whether a request does not want a node."""

from __future__ import annotations

import numpy as np

from scheduler.columns.arrays import MISSING_KEY
from scheduler.retrieval.arrays import BLOCKED_COLUMN, BLOCKED_KEY, IndexArrays
from scheduler.retrieval.kernels.category_sets import is_held
from scheduler.runtime.jit import inlined, kernel


@inlined
def is_blocked(index: IndexArrays, blocklist: np.ndarray, i: int, keys: np.ndarray, slot: int) -> bool:
    """Whether request ``i`` does not want the node in a slot of the fleet's ``keys``."""
    for b in range(blocklist.shape[1]):
        column, key = np.int64(blocklist[i, b, BLOCKED_COLUMN]), blocklist[i, b, BLOCKED_KEY]
        if key == np.uint64(MISSING_KEY):
            continue
        if column < keys.shape[1]:
            if keys[slot, column] == key:
                return True
        elif is_held(index, slot, column - keys.shape[1], np.int64(key)):
            return True
    return False


@kernel
def is_tier_blocked(index: IndexArrays, t: int, blocklist: np.ndarray, i: int, keys: np.ndarray) -> bool:
    """Whether request ``i`` does not want any node of tier ``t``, because of a category that all of them have."""
    for c in range(index.tier_columns.shape[1]):
        column = index.tier_columns[t, c]
        if column < 0:
            break
        key = keys[i, index.request[t, c]]
        for b in range(blocklist.shape[1]):
            if blocklist[i, b, BLOCKED_KEY] == key and np.int64(blocklist[i, b, BLOCKED_COLUMN]) == column:
                return True
    return False

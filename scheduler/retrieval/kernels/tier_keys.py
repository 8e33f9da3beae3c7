"""The key of the posting list that a node or a request belongs to in a tier."""

from __future__ import annotations

import numpy as np

from scheduler.columns.arrays import MISSING_KEY
from scheduler.runtime.hashing import mix
from scheduler.runtime.jit import inlined
from scheduler.runtime.random import MIX_CONSTANT


@inlined
def tier_key(keys: np.ndarray, i: int, columns: np.ndarray, t: int) -> int:
    """Return the key of row ``i``'s categories in tier ``t``; `MISSING_KEY` where one is null."""
    key = mix(np.uint64(MIX_CONSTANT), np.uint64(t + 1))
    for c in range(columns.shape[1]):
        column = columns[t, c]
        if column < 0:
            break
        part = keys[i, column]
        if part == np.uint64(MISSING_KEY):
            return np.int64(MISSING_KEY)
        key = mix(key, part)
    # One key in 2**64 is that of null: it shares a list with key 1 then.
    return np.int64(key) if key != np.uint64(MISSING_KEY) else np.int64(1)

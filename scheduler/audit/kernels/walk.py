"""Where a tree sends a value, as LightGBM does."""

from __future__ import annotations

import numpy as np

from scheduler.forest.split_rules import BELOW_ZERO, ZERO
from scheduler.forest.trees import CATEGORICAL, DEFAULT_LEFT, MISSING_NAN, MISSING_SHIFT, MISSING_ZERO, Trees
from scheduler.runtime.jit import inlined


@inlined
def goes_left(trees: Trees, split: int, value: float) -> bool:
    """Return whether a value goes left at a split; see `scheduler.forest.split_rules` for the same as ranges."""
    decision, threshold = trees.decision[split], trees.threshold[split]
    if decision & CATEGORICAL:
        if not (value > -1.0 and value < 2147483648.0):  # true for NaN
            return False
        category, number = np.int64(value), np.int64(threshold)
        word = trees.cat_start[number] + (category >> 5)
        if word >= trees.cat_start[number + 1]:
            return False
        return (np.int64(trees.cat_bits[word]) >> (category & 31)) & 1 != 0
    missing = decision >> MISSING_SHIFT
    if np.isnan(value):
        if missing == MISSING_NAN:
            return decision & DEFAULT_LEFT != 0
        value = 0.0
    if missing == MISSING_ZERO and np.abs(value) <= ZERO:
        return decision & DEFAULT_LEFT != 0
    if threshold >= -ZERO and threshold < ZERO:
        # Values of this range are 0 to LightGBM, so they all go the way of 0.
        return value <= (ZERO if threshold >= 0.0 else BELOW_ZERO)
    return value <= threshold


@inlined
def child_of(trees: Trees, split: int, left: bool) -> int:
    """Return a child of a split."""
    return trees.left[split] if left else trees.right[split]

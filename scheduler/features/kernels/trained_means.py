"""Look up means of training, and compute them."""

from __future__ import annotations

import numpy as np

from scheduler.columns.arrays import MISSING_KEY
from scheduler.features.arrays import TrainedMeans
from scheduler.features.kernels.shrinkage import drawn
from scheduler.history.arrays import LARGEST
from scheduler.runtime.jit import inlined, kernel


@inlined
def first_slot(means: TrainedMeans, key: np.uint64) -> int:
    """Return where the search for a key begins; keys are hashes already."""
    return np.int64(key & np.uint64(means.keys.size - 1))


@inlined
def find(means: TrainedMeans, key: np.uint64) -> int:
    """Return the slot of a key, or -1 if training did not meet it."""
    if key == np.uint64(MISSING_KEY):
        return -1
    slot = first_slot(means, key)
    while means.keys[slot] != key:
        if means.keys[slot] == np.uint64(MISSING_KEY):
            return -1
        slot = (slot + 1) & (means.keys.size - 1)
    return slot


@inlined
def shrink(means: TrainedMeans, slot: int, at: int, strength: float, coarse: float) -> float:
    """Return the mean in column ``at`` of a slot, shrunk towards a coarser mean; that one if there is no outcome."""
    if slot < 0:
        return coarse
    n, mean = np.float64(means.rows[slot, at]), np.float64(means.rows[slot, at + 1])
    if n == 0.0:
        return coarse
    return drawn(n, mean, strength, coarse)


@kernel
def place_keys(means: TrainedMeans, keys: np.ndarray, most: int, slots: np.ndarray) -> bool:
    """Give each key a slot of its own; write which to ``slots``. Return false where keys crowd too much for that.

    Parameters
    ----------
    means
        Has more free slots than there are keys; changed in place.
    keys
        (n,) uint64, none of them `MISSING_KEY` or twice.
    most
        Steps from a key's first slot to its own, at most.
    slots
        (n,) int64, filled.
    """
    for i in range(keys.size):
        slot, steps = first_slot(means, keys[i]), 0
        while means.keys[slot] != np.uint64(MISSING_KEY):
            slot, steps = (slot + 1) & (means.keys.size - 1), steps + 1
            if steps > most:
                return False
        means.keys[slot] = keys[i]
        slots[i] = slot
    return True


@inlined
def add(means: TrainedMeans, key: np.uint64, values: np.ndarray, columns: np.ndarray) -> None:
    """Add an outcome to the means of a key, if it has a slot.

    Parameters
    ----------
    values
        (n_history_values,) float64, NaN if not measured.
    columns
        (n_values,) which of them has means here.
    """
    slot = find(means, key)
    if slot < 0:
        return
    for v in range(columns.size):
        x = values[columns[v]]
        if np.isnan(x):
            continue
        x = min(max(x, -LARGEST), LARGEST)
        n, mean = np.float64(means.rows[slot, 2 * v]) + 1.0, np.float64(means.rows[slot, 2 * v + 1])
        means.rows[slot, 2 * v] = n
        means.rows[slot, 2 * v + 1] = mean + (x - mean) / n

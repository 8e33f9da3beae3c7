"""Find and claim the slot of a key in a set-associative table."""

from __future__ import annotations

import numpy as np

from scheduler.columns.arrays import MISSING_KEY
from scheduler.history.arrays import MULTIPLIER, SHIFT, TIME_FLOATS, WAYS, HistoryArrays, LatentFactorArrays
from scheduler.history.change_point_arrays import ChangePointArrays
from scheduler.runtime.jit import inlined, kernel
from scheduler.runtime.prefetch import prefetch


@inlined
def first_of_bucket(placement: np.ndarray, key: np.uint64) -> int:
    """Return the first slot of a key's bucket; see `MULTIPLIER`."""
    return np.int64(((key * placement[MULTIPLIER]) >> np.uint64(1)) >> placement[SHIFT]) * WAYS


@inlined
def find(history: HistoryArrays | LatentFactorArrays | ChangePointArrays, key: np.uint64) -> int:
    """Return the slot of a key, or -1 if the table does not hold it."""
    if key == np.uint64(MISSING_KEY):
        return -1
    first = first_of_bucket(history.placement, key)
    for slot in range(first, first + WAYS):
        held = history.keys[slot]
        if held == key:
            return slot
        if held == np.uint64(MISSING_KEY):
            return -1
    return -1


@inlined
def claim(history: HistoryArrays | LatentFactorArrays | ChangePointArrays, key: np.uint64, now: float) -> int:
    """Return the slot of a key; a new key takes a free slot of its bucket, or evicts the oldest entry.

    Changes the table if the key is new.
    """
    first = first_of_bucket(history.placement, key)
    oldest = first
    for slot in range(first, first + WAYS):
        held = history.keys[slot]
        if held == key:
            return slot
        if held == np.uint64(MISSING_KEY):
            history.counters[0] += 1
            _start(history, slot, key, now)
            return slot
        if history.seen[slot] < history.seen[oldest]:
            oldest = slot
    history.counters[1] += 1
    _start(history, oldest, key, now)
    return oldest


@kernel
def _start(
    history: HistoryArrays | LatentFactorArrays | ChangePointArrays, slot: int, key: np.uint64, now: float
) -> None:
    """Start an entry without weight in a slot."""
    history.keys[slot] = key
    history.seen[slot] = now
    for i in range(TIME_FLOATS, history.rows.shape[1]):
        history.rows[slot, i] = 0.0


@inlined
def prefetch_bucket(history: HistoryArrays | LatentFactorArrays, key: np.uint64) -> None:
    """Prefetch the keys that a look-up of ``key`` will read."""
    prefetch(history.keys, first_of_bucket(history.placement, key))


@inlined
def prefetch_entry(history: HistoryArrays, key: np.uint64) -> None:
    """Prefetch the first line of the row that a look-up of ``key`` will read; prefetch its bucket before."""
    slot = find(history, key)
    if slot >= 0:
        prefetch(history.rows, slot)

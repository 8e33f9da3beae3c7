"""Copy the entries of a hash table out of it, and back into one of any size.

Rows are taken as words of 64 bits, so that one kernel copies what history, latent factors and change points keep.
"""

from __future__ import annotations

import numpy as np

from scheduler.columns.arrays import MISSING_KEY, ColumnArrays
from scheduler.features.arrays import FeatureProgram
from scheduler.features.kernels.history_keys import group_key, history_key, model_key
from scheduler.history.arrays import WAYS, HistoryArrays
from scheduler.history.kernels.hash_table import find, first_of_bucket
from scheduler.runtime.jit import kernel


@kernel
def copy_held(keys: np.ndarray, words: np.ndarray, first: int, last: int, out: np.ndarray) -> int:
    """Copy the rows of the slots from ``first`` to ``last`` that hold an entry; return how many.

    Parameters
    ----------
    keys
        (slots,) uint64, `MISSING_KEY` where a slot holds none.
    words
        (slots, width) uint64.
    out
        (n, width) uint64, filled from the start.
    """
    n = 0
    for slot in range(first, last):
        if keys[slot] != np.uint64(MISSING_KEY):
            for w in range(words.shape[1]):
                out[n, w] = words[slot, w]
            n += 1
    return n


@kernel
def place_entries(
    keys: np.ndarray,
    placement: np.ndarray,
    seen: np.ndarray,
    counters: np.ndarray,
    new_keys: np.ndarray,
    new_seen: np.ndarray,
    slots: np.ndarray,
) -> None:
    """Find a slot for each entry, as `scheduler.history.kernels.hash_table.claim`; of a full bucket the oldest goes.

    Parameters
    ----------
    keys, seen
        (slots,) uint64 and float64, changed in place.
    placement
        (2,) uint64, of the table.
    counters
        (2,) int64, entries held and evicted; changed in place.
    new_keys, new_seen
        (n,) uint64 and float64.
    slots
        (n,) int64, filled; -1 for an entry that is older than all of its full bucket.
    """
    for i in range(new_keys.size):
        key = new_keys[i]
        first = first_of_bucket(placement, key)
        oldest, found = first, -1
        for slot in range(first, first + WAYS):
            if keys[slot] == key or keys[slot] == np.uint64(MISSING_KEY):
                found = slot
                break
            if seen[slot] < seen[oldest]:
                oldest = slot
        if found >= 0:
            counters[0] += keys[found] != key
        else:
            counters[1] += 1
            found = oldest if seen[oldest] < new_seen[i] else -1
        slots[i] = found
        if found >= 0:
            keys[found] = key
            seen[found] = new_seen[i]


@kernel
def find_changed(
    program: FeatureProgram,
    history: HistoryArrays,
    request: ColumnArrays,
    node: ColumnArrays,
    of_keys: np.ndarray,
    of_factors: np.ndarray,
    of_points: np.ndarray,
) -> None:
    """Write the slots of the entries that outcomes changed, -1 for an entry that is not there.

    Parameters
    ----------
    request, node
        Of n outcomes.
    of_keys, of_factors, of_points
        (n, n_history_keys), (n, 2 n_models) and (n, n_kinds) int64, filled.
    """
    for i in range(of_keys.shape[0]):
        for k in range(of_keys.shape[1]):
            of_keys[i, k] = find(history, history_key(program, k, request, i, node, i))
        for m in range(of_factors.shape[1] // 2):
            for side in range(2):
                key = model_key(program, m, side, request, i, node, i)
                of_factors[i, 2 * m + side] = find(history.latent_factors, key)
        for g in range(of_points.shape[1]):
            of_points[i, g] = find(history.change_points, group_key(program, g, request, i, node, i))

"""Add a node to its posting lists and take it out."""

from __future__ import annotations

import numpy as np

from scheduler.columns.arrays import MISSING_KEY
from scheduler.retrieval.arrays import LIST_KEY, LIST_SIZE, IndexArrays
from scheduler.retrieval.kernels.category_sets import drop_sets, put_set
from scheduler.retrieval.kernels.posting_lists import append, take_out
from scheduler.retrieval.kernels.retrieve import AHEAD
from scheduler.retrieval.kernels.tier_keys import tier_key
from scheduler.runtime.jit import inlined, kernel
from scheduler.runtime.prefetch import prefetch


@inlined
def put_node(index: IndexArrays, t: int, slot: int, key: int) -> bool:
    """Enter a node into tier ``t``, or move it where its key has changed; False where there is no room."""
    posting = index.held[slot, t, 0]
    if posting >= 0:
        if index.lists[posting, LIST_KEY] == key:
            return True
        remove(index, t, slot)
    if key == MISSING_KEY:
        return True
    posting = append(index, key, slot)
    if posting < 0:
        return False
    index.held[slot, t, 0] = posting
    index.held[slot, t, 1] = index.lists[posting, LIST_SIZE] - 1
    return True


@inlined
def remove(index: IndexArrays, t: int, slot: int) -> None:
    """Take a node out of the list where tier ``t`` holds it."""
    place = index.held[slot, t, 1]
    index.held[take_out(index, index.held[slot, t, 0], place), t, 1] = place
    index.held[slot, t, 0] = -1


@kernel
def put(index: IndexArrays, slots: np.ndarray, keys: np.ndarray, listed: np.ndarray, first: int) -> int:
    """Enter nodes, or move them where their categories have changed; tiers whose key is the same are left alone.

    A node that is not listed stands in no posting list, as if all its categories were null; its sets stay.

    Parameters
    ----------
    slots
        (n,) int32 of the nodes; those before ``first`` are done already.
    keys
        (slots, n_keys) uint64, the fleet's keys.
    listed
        (slots,) bool, whether requests may find the node.

    Returns
    -------
    How many are done: n, or fewer where lists or arena have no room left. Call again from there with more room.
    """
    for i in range(first, slots.size):
        if i + AHEAD < slots.size:
            prefetch(index.held, slots[i + AHEAD])
            prefetch(keys, slots[i + AHEAD])
        slot = slots[i]
        for t in range(index.limits.size):
            key = tier_key(keys, slot, index.node, t) if listed[slot] else np.int64(MISSING_KEY)
            is_put = put_node(index, t, slot, key) if index.sets.column[t] < 0 else put_set(index, t, slot, key)
            if not is_put:
                return i
    return slots.size


@kernel
def drop(index: IndexArrays, slots: np.ndarray) -> None:
    """Take nodes out with what they hold, (n,) int32 slots; those not held are left alone."""
    for i in range(slots.size):
        if i + AHEAD < slots.size:
            prefetch(index.held, slots[i + AHEAD])
        for t in range(index.limits.size):
            if index.held[slots[i], t, 0] >= 0:
                remove(index, t, slots[i])
        drop_sets(index, slots[i])

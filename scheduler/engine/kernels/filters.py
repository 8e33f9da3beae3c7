"""Filters: which candidates may serve a request, and why others may not."""

from __future__ import annotations

import numpy as np

from scheduler.decisions.arrays import DROP_BLOCKED, DROP_FULL, DROP_QUARANTINED, DROP_SILENT
from scheduler.decisions.record.arrays import PADDING
from scheduler.fleet.arrays import FleetArrays
from scheduler.policy.arrays import CandidateArrays
from scheduler.retrieval.arrays import IndexArrays
from scheduler.retrieval.kernels.blocklist import is_blocked
from scheduler.runtime.jit import inlined, kernel
from scheduler.runtime.prefetch import AHEAD, copy_row, prefetch


@kernel
def admit(
    fleet: FleetArrays,
    postings: IndexArrays,
    slots: np.ndarray,
    blocklist: np.ndarray,
    i: int,
    demand: float,
    now: float,
    candidates: CandidateArrays,
    dropped: np.ndarray,
) -> int:
    """Write the candidates that may serve request ``i`` and return how many.

    A candidate needs some free uplink, not all of the demand, because a slate may share it. Slots below 0 are
    padding. Counts the dropped by reason into ``dropped``, and writes a verdict on each, see `ADMITTED`.
    """
    n = 0
    for c in range(slots.size):
        if c + AHEAD < slots.size and slots[c + AHEAD] >= 0:
            prefetch(fleet.alive_until, slots[c + AHEAD])
            prefetch(fleet.columns.keys, slots[c + AHEAD])
            prefetch(fleet.columns.values, slots[c + AHEAD])
        slot, drop = slots[c], -1
        if slot < 0:
            candidates.verdict[c] = PADDING
            continue
        if now >= fleet.alive_until[slot]:
            drop = DROP_SILENT
        elif now < fleet.quarantined_until[slot]:
            drop = DROP_QUARANTINED
        elif demand > 0.0 and not fleet.capacity[slot] > fleet.reserved[slot]:
            drop = DROP_FULL
        elif is_blocked(postings, blocklist, i, fleet.columns.keys, slot):
            drop = DROP_BLOCKED
        candidates.verdict[c] = 1 + drop
        if drop >= 0:
            dropped[drop] += 1
            continue
        candidates.position[n] = c
        candidates.slot[n] = slot
        candidates.row[n] = n
        n += 1
    return n


@inlined
def still_free(fleet: FleetArrays, n: int, candidates: CandidateArrays, dropped: np.ndarray) -> int:
    """Drop those of the first ``n`` candidates whose uplink was taken since they were admitted; how many are left.

    Writes how much of the others' uplink is free. Call it under the mutex.
    """
    left = 0
    for c in range(n):
        slot = candidates.slot[c]
        if not fleet.capacity[slot] > fleet.reserved[slot]:
            dropped[DROP_FULL] += 1
            continue
        if left < c:
            candidates.position[left], candidates.slot[left], candidates.utility[left] = (
                candidates.position[c],
                slot,
                candidates.utility[c],
            )
            candidates.row[left] = candidates.row[c]
            candidates.uncertainty[left], candidates.is_new[left] = candidates.uncertainty[c], candidates.is_new[c]
            copy_row(candidates.values, left, candidates.values, c)
        candidates.free[left] = fleet.capacity[slot] - fleet.reserved[slot]
        left += 1
    return left

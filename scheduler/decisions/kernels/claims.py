"""Claim the places of many outcomes before the first of them counts, so that nobody else answers one meanwhile."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.decisions.arrays import CLAIMED, DecisionLog
from scheduler.decisions.kernels.numbering import row_of
from scheduler.decisions.kernels.open_places import find_open
from scheduler.runtime.jit import inlined, kernel
from scheduler.runtime.prefetch import copy_row


class ClaimArrays(NamedTuple):
    """Outcomes and the places that are claimed for them.

    What teaches is copied: a later decision may take the row before the outcome counts.

    Attributes
    ----------
    decision, named
        (n,) int64 ids and (n,) uint64 keys of nodes, `MISSING_KEY` for the only one of a slate.
    row, place
        (n,) int64 in the decision log; of an outcome that is refused the place is the refusal.
    request_keys, node_keys
        (n, n_keys) uint64, as in the log.
    outcomes, values, time
        (n, n_outcomes) and (n, n_values) float32 and (n,) float64: all that was measured, what history tracks of it,
        and when it arrived.
    """

    decision: NDArray[np.int64]
    named: NDArray[np.uint64]
    row: NDArray[np.int64]
    place: NDArray[np.int64]
    request_keys: NDArray[np.uint64]
    node_keys: NDArray[np.uint64]
    outcomes: NDArray[np.float32]
    values: NDArray[np.float32]
    time: NDArray[np.float64]


@inlined
def stands(log: DecisionLog, claims: ClaimArrays, i: int) -> bool:
    """Return whether the decision of a claimed outcome still stands in its row of the log."""
    return log.id[claims.row[i]] == claims.decision[i]


@kernel
def claim(log: DecisionLog, claims: ClaimArrays, first: int, last: int) -> int:
    """Claim the places of outcomes ``first`` to ``last``; return the number of one that is refused, else ``last``."""
    for i in range(first, last):
        claims.row[i] = row_of(log, claims.decision[i])
        claims.place[i] = find_open(log, claims.decision[i], claims.named[i])
        if claims.place[i] < 0:
            return i
        row, place = claims.row[i], claims.place[i]
        log.state[row, place] += CLAIMED
        copy_row(claims.request_keys, i, log.request_keys, row)
        copy_row(claims.node_keys, i, log.node_keys, row * log.slot.shape[1] + place)
    return last


@kernel
def unclaim(log: DecisionLog, claims: ClaimArrays, first: int, last: int) -> None:
    """Give claimed places back, as they were."""
    for i in range(first, last):
        if stands(log, claims, i):
            log.state[claims.row[i], claims.place[i]] -= CLAIMED

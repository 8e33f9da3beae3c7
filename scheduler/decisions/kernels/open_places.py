"""Find the place in the decision log that an outcome is of, or why there is none."""

from __future__ import annotations

import numpy as np

from scheduler.columns.arrays import MISSING_KEY
from scheduler.decisions.arrays import (
    ANSWERED,
    ANSWERED_BEFORE,
    CLAIMED,
    CLAIMED_BEFORE,
    FROM_ORIGIN,
    NO_NODE,
    NOT_CHOSEN,
    UNKNOWN,
    DecisionLog,
)
from scheduler.decisions.kernels.numbering import row_of
from scheduler.runtime.jit import inlined, kernel


@inlined
def find_open(log: DecisionLog, decision: int, node: np.uint64) -> int:
    """Return the place of a decision's node whose outcome is awaited, or a refusal; see `UNKNOWN`.

    Without a node, `MISSING_KEY`, it is the only one of the slate.
    """
    row, places, found = row_of(log, decision), log.slot.shape[1], -1
    if row < 0:
        return UNKNOWN
    if log.length[row] == 0:
        return FROM_ORIGIN
    if node == np.uint64(MISSING_KEY):
        if log.length[row] > 1:
            return NO_NODE
        found = 0
    else:
        for s in range(places):
            if found < 0 and log.state[row, s] != 0 and log.node_keys[row * places + s, 0] == node:
                found = s
    if found < 0:
        return NOT_CHOSEN
    if log.state[row, found] == ANSWERED:
        return ANSWERED_BEFORE
    return found if log.state[row, found] < CLAIMED else CLAIMED_BEFORE


@kernel
def find_all_open(
    log: DecisionLog, decisions: np.ndarray, nodes: np.ndarray, rows: np.ndarray, places: np.ndarray
) -> int:
    """Write the row and the place of each outcome; return the number of the first that is refused, -1 if none is.

    Parameters
    ----------
    decisions, nodes
        (n,) int64 ids and (n,) uint64 keys, see `find_open`.
    rows, places
        (n,) int64, changed in place; of an outcome that is refused the place is the refusal.
    """
    for i in range(decisions.size):
        rows[i] = row_of(log, decisions[i])
        places[i] = find_open(log, decisions[i], nodes[i])
        if places[i] < 0:
            return i
    return -1

"""Take outcomes in: history learns, reservations end, forest rows follow."""

from __future__ import annotations

import numpy as np

from scheduler.columns.arrays import MISSING_KEY, ColumnArrays
from scheduler.decisions.arrays import ANSWERED, N_OUTCOMES, DecisionLog
from scheduler.engine.arrays import State, Workspace
from scheduler.engine.kernels.node_rows import refresh_node, refresh_returned
from scheduler.engine.kernels.reservations import give_back
from scheduler.features.kernels.learn import learn, prefetch_buckets, prefetch_entries
from scheduler.history.kernels.outcome_values import track
from scheduler.runtime.jit import holds_gil, inlined, kernel
from scheduler.runtime.packed_arrays import PackedArrays, unpack_arrays
from scheduler.runtime.prefetch import AHEAD, prefetch


@inlined
def prefetch_outcomes(
    state: State, request: ColumnArrays, node: ColumnArrays, row: np.ndarray, place: np.ndarray, i: int
) -> None:
    """Ask for what `observe` will read and change for outcomes soon after number ``i``."""
    fleet, log = state.fleet, state.log
    if i + 2 * AHEAD < row.size:
        r, s = row[i + 2 * AHEAD], place[i + 2 * AHEAD]
        prefetch_buckets(state.program, request, r, node, r * log.slot.shape[1] + s, state.history)
        prefetch(fleet.columns.values, log.slot[r, s])
        prefetch(fleet.alive_until, log.slot[r, s])
        prefetch(fleet.generation, log.slot[r, s])
    if i + AHEAD < row.size:
        r, s = row[i + AHEAD], place[i + AHEAD]
        prefetch_entries(state.program, request, r, node, r * log.slot.shape[1] + s, state.history)
        prefetch(fleet.columns.keys, log.slot[r, s])
        prefetch(fleet.rows, log.slot[r, s])


@kernel
def observe(
    packed: PackedArrays[State],
    row: np.ndarray,
    place: np.ndarray,
    values: np.ndarray,
    now: np.ndarray,
    workspace: PackedArrays[Workspace],
) -> int:
    """Fold outcomes into history, give back their uplink and refresh their nodes, and those that history let go of.

    Returns how many are of nodes that left and may have come back to a slot that nothing here tells of.

    Parameters
    ----------
    row, place
        (n,) rows of the decision log and places in their slates, checked to be open.
    values
        (n, n_values) float32 tracked values.
    now
        (n,) float64 arrivals in seconds.
    """
    state, work = unpack_arrays(packed), unpack_arrays(workspace)
    fleet, log = state.fleet, state.log
    request = ColumnArrays(fleet.columns.values, log.request_keys)
    node = ColumnArrays(fleet.columns.values, log.node_keys)
    x, n_lost = work.x_outcome, 0
    for i in range(row.size):
        prefetch_outcomes(state, request, node, row, place, i)
        state.latest[0] = max(state.latest[0], now[i])
        r, s = row[i], place[i]
        at = r * log.slot.shape[1] + s
        for v in range(x.size):
            x[v] = values[i, v]
        learn(state.program, request, r, node, at, state.history, x, now[i])
        if log.held[r, s] > 0.0:
            give_back(fleet, log, r, s)
        log.state[r, s] = ANSWERED
        log.counters[N_OUTCOMES] += 1
        slot = log.slot[r, s]
        if fleet.generation[slot] == log.generation[r, s]:
            refresh_node(packed, slot, workspace)
        elif not refresh_returned(packed, node, at, workspace):
            n_lost += 1
        # What history let go of for this outcome, other nodes' rows may still tell of.
        for other in range(state.history.evicted[0]):
            refresh_node(packed, state.history.evicted[1 + other], workspace)
        state.history.evicted[0] = 0
    return n_lost


@inlined
def find_open(log: DecisionLog, max_nodes: int, decision: int, node: int) -> int:
    """Return the place of a decision's node of which an outcome is awaited; -1 where none is, or it is not clear which.

    Without a node, `MISSING_KEY`, it is the only one of the slate.
    """
    row, places, named = decision % log.id.size, log.slot.shape[1], node != MISSING_KEY
    if log.id[row] != decision:
        return -1
    found = -1
    for s in range(places if named else max_nodes):
        if log.state[row, s] != 0 and (not named or log.node_keys[row * places + s, 0] == node):
            if found >= 0:
                return -1
            found = s
    return -1 if found >= 0 and log.state[row, found] == ANSWERED else found


@holds_gil
def observe_one(packed: PackedArrays[State], decision: int, now: float, workspace: PackedArrays[Workspace]) -> int:
    """Do what `observe` does with the outcome in a workspace; -1, and nothing changed, where none is `find_open`."""
    state, work = unpack_arrays(packed), unpack_arrays(workspace)
    report = work.report
    place = find_open(state.log, work.candidates.slate.size, decision, report.node[0])
    if place < 0:
        return -1
    track(state.tracked.columns, state.tracked.log1p, report.outcomes, report.values)
    report.row[0], report.place[0], report.time[0] = decision % state.log.id.size, place, now
    return observe(packed, report.row, report.place, report.values, report.time, workspace)

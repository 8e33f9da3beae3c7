"""Take outcomes in: history learns, reservations end, forest rows follow."""

from __future__ import annotations

import numpy as np

from scheduler.columns.arrays import ColumnArrays
from scheduler.decisions.arrays import ANSWERED, N_LEARNED, N_OUTCOMES
from scheduler.decisions.kernels.claims import ClaimArrays, stands
from scheduler.decisions.kernels.numbering import row_of
from scheduler.decisions.kernels.open_places import find_open
from scheduler.decisions.record.arrays import LEARNED, OBSERVED, TOKEN
from scheduler.engine.arrays import ArmArrays, StateArrays, Workspace
from scheduler.engine.kernels.node_rows import refresh_node
from scheduler.engine.kernels.reservations import give_back
from scheduler.engine.kernels.write_record import append_outcome, records_outcomes
from scheduler.features.kernels.learn import learn, prefetch_buckets, prefetch_entries
from scheduler.fleet.kernels.slot_table import first_slot, next_slot
from scheduler.history.arrays import OutcomeArrays
from scheduler.history.kernels.outcome_values import track
from scheduler.runtime import atomics, lock_kernels
from scheduler.runtime.jit import holds_gil, inlined, kernel
from scheduler.runtime.packed_arrays import PackedArrays, unpack_arrays
from scheduler.runtime.prefetch import AHEAD, prefetch


@inlined
def prefetch_outcomes(
    state: StateArrays,
    rows: np.ndarray,
    request: ColumnArrays,
    node: ColumnArrays,
    row: np.ndarray,
    place: np.ndarray,
    i: int,
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
        prefetch(rows, log.slot[r, s])


@inlined
def mark_changed(changed: np.ndarray, slot: int) -> None:
    """Note that a node's row has to be made anew by the other arms too; there is no room where there are none."""
    n = changed[0] + 1
    if n < changed.size:
        changed[n] = slot
        changed[0] = n


@kernel
def refresh_key(
    packed: PackedArrays[StateArrays],
    arm: PackedArrays[ArmArrays],
    key: np.uint64,
    changed: np.ndarray,
    workspace: PackedArrays[Workspace],
) -> None:
    """Refresh the rows of the nodes whose id has a key."""
    fleet = unpack_arrays(packed).fleet
    slot = first_slot(fleet.slot_table, fleet.columns.keys, key)
    while slot >= 0:
        refresh_node(packed, arm, np.int64(slot), workspace)
        mark_changed(changed, slot)
        slot = next_slot(fleet.slot_table, fleet.columns.keys, slot)


@inlined
def refresh_evicted(
    packed: PackedArrays[StateArrays],
    arm: PackedArrays[ArmArrays],
    changed: np.ndarray,
    workspace: PackedArrays[Workspace],
) -> None:
    """Refresh the rows that tell of what history evicted for an outcome."""
    history = unpack_arrays(packed).history
    for i in range(history.evicted[0]):
        refresh_node(packed, arm, np.int64(history.evicted[1 + i]), workspace)
        mark_changed(changed, history.evicted[1 + i])
    history.evicted[0] = 0


@inlined
def answer(
    packed: PackedArrays[StateArrays],
    arm: PackedArrays[ArmArrays],
    r: int,
    s: int,
    changed: np.ndarray,
    workspace: PackedArrays[Workspace],
) -> None:
    """End a reservation whose outcome has been learned, and refresh the row of the node that the outcome is of."""
    state = unpack_arrays(packed)
    fleet, log = state.fleet, state.log
    if log.held[r, s] > 0.0:
        give_back(fleet, log, r, s)
    log.state[r, s] = ANSWERED
    slot = np.int64(log.slot[r, s])
    if fleet.generation[slot] == log.generation[r, s]:
        refresh_node(packed, arm, slot, workspace)
        mark_changed(changed, slot)
    else:
        refresh_key(packed, arm, log.node_keys[r * log.slot.shape[1] + s, 0], changed, workspace)


@inlined
def learn_outcome(
    state: StateArrays,
    work: Workspace,
    request: ColumnArrays,
    r: int,
    node: ColumnArrays,
    at: int,
    values: np.ndarray,
    i: int,
    now: float,
) -> None:
    """Have history learn tracked values number ``i``, of row ``r`` of the requests and ``at`` of the nodes."""
    x = work.x_outcome
    state.clock[0] = max(state.clock[0], now)
    for v in range(x.size):
        x[v] = values[i, v]
    learn(state.program, request, r, node, at, state.history, x, now)


@inlined
def mark_stale(state: StateArrays, changed: np.ndarray) -> None:
    """Note, where there are other arms, that their rows of changed nodes are old."""
    if changed.size > 1:
        atomics.store(state.locks, lock_kernels.STATUS, lock_kernels.STALE)


@kernel
def observe(
    packed: PackedArrays[StateArrays],
    arm: PackedArrays[ArmArrays],
    row: np.ndarray,
    place: np.ndarray,
    outcomes: np.ndarray,
    values: np.ndarray,
    now: np.ndarray,
    changed: np.ndarray,
    workspace: PackedArrays[Workspace],
) -> None:
    """Fold outcomes into history, give back their uplink and refresh the rows of the nodes they change.

    A node that left since its decision and came back is found by the key of its id. Where there are other arms, the
    state is stale until the caller has made the rows of changed nodes anew in them.

    Parameters
    ----------
    row, place
        (n,) rows of the decision log and places in their slates, checked to be open.
    outcomes, values
        (n, n_outcomes) and (n, n_values) float32, all that was measured and the tracked values.
    now
        (n,) float64 arrivals in seconds.
    changed
        int32, receives how many nodes changed and their slots, as far as there is room.
    """
    state, rows, work = unpack_arrays(packed), unpack_arrays(arm).node_rows, unpack_arrays(workspace)
    fleet, log = state.fleet, state.log
    request = ColumnArrays(fleet.columns.values, log.request_keys)
    node = ColumnArrays(fleet.columns.values, log.node_keys)
    changed[0] = 0
    for i in range(row.size):
        prefetch_outcomes(state, rows, request, node, row, place, i)
        r, s = row[i], place[i]
        at = r * log.slot.shape[1] + s
        learn_outcome(state, work, request, r, node, at, values, i, now[i])
        log.counters[N_OUTCOMES] += 1
        if records_outcomes(state.outcomes):
            keys, node_keys, slot = log.request_keys, log.node_keys, log.slot[r, s]
            append_outcome(state, OBSERVED, log.id[r], slot, s, now[i], keys, r, node_keys, at, outcomes, i)
        answer(packed, arm, r, s, changed, workspace)
        refresh_evicted(packed, arm, changed, workspace)
    mark_stale(state, changed)


@inlined
def append_claimed(state: StateArrays, claims: ClaimArrays, i: int, is_known: bool) -> None:
    """Append a claimed outcome that was just taken in to those that are recorded."""
    slot = state.log.slot[claims.row[i], claims.place[i]] if is_known else -1
    decision, place, now = claims.decision[i], claims.place[i], claims.time[i]
    keys, node_keys = claims.request_keys, claims.node_keys
    append_outcome(state, OBSERVED, decision, slot, place, now, keys, i, node_keys, i, claims.outcomes, i)


@kernel
def observe_claimed(
    packed: PackedArrays[StateArrays],
    arm: PackedArrays[ArmArrays],
    claims: ClaimArrays,
    first: int,
    last: int,
    changed: np.ndarray,
    workspace: PackedArrays[Workspace],
) -> None:
    """Do what `observe` does with claimed outcomes ``first`` to ``last``; a decision that is forgotten teaches too."""
    state, work = unpack_arrays(packed), unpack_arrays(workspace)
    log = state.log
    request = ColumnArrays(state.fleet.columns.values, claims.request_keys)
    node = ColumnArrays(state.fleet.columns.values, claims.node_keys)
    changed[0] = 0
    for i in range(first, last):
        if i + 2 * AHEAD < last:
            prefetch_buckets(state.program, request, i + 2 * AHEAD, node, i + 2 * AHEAD, state.history)
        if i + AHEAD < last:
            prefetch_entries(state.program, request, i + AHEAD, node, i + AHEAD, state.history)
        learn_outcome(state, work, request, i, node, i, claims.values, i, claims.time[i])
        log.counters[N_OUTCOMES] += 1
        is_known = stands(log, claims, i)
        if records_outcomes(state.outcomes):
            append_claimed(state, claims, i, is_known)
        if is_known:
            answer(packed, arm, claims.row[i], claims.place[i], changed, workspace)
        else:
            refresh_key(packed, arm, claims.node_keys[i, 0], changed, workspace)
        refresh_evicted(packed, arm, changed, workspace)
    mark_stale(state, changed)


@holds_gil
def observe_one(
    packed: PackedArrays[StateArrays],
    arm: PackedArrays[ArmArrays],
    decision: int,
    outcome: PackedArrays[OutcomeArrays],
    now: float,
    changed: np.ndarray,
    workspace: PackedArrays[Workspace],
) -> int:
    """Do what `observe` does with one outcome, of the decision with an id; return a refusal of `find_open`, or 0."""
    state, one = unpack_arrays(packed), unpack_arrays(outcome)
    one.row[0], one.place[0] = row_of(state.log, decision), find_open(state.log, decision, one.node[0])
    if one.place[0] < 0:
        return one.place[0]
    track(state.tracked.columns, state.tracked.log1p, one.outcomes, one.values)
    one.time[0] = now
    observe(packed, arm, one.row, one.place, one.outcomes, one.values, one.time, changed, workspace)
    return 0


@kernel
def learn_rows(
    packed: PackedArrays[StateArrays],
    arm: PackedArrays[ArmArrays],
    decision: int,
    request_keys: np.ndarray,
    node_keys: np.ndarray,
    outcomes: np.ndarray,
    values: np.ndarray,
    now: np.ndarray,
    changed: np.ndarray,
    workspace: PackedArrays[Workspace],
) -> None:
    """Fold outcomes of decisions that this state does not know into history; see `observe`.

    Parameters
    ----------
    decision
        The one that the outcome is of, by its token; -1 where they come from elsewhere.
    request_keys, node_keys
        (n, n_keys) uint64, the columns of requests and nodes that history keys are made of.
    """
    state, work = unpack_arrays(packed), unpack_arrays(workspace)
    request = ColumnArrays(state.fleet.columns.values, request_keys)
    node = ColumnArrays(state.fleet.columns.values, node_keys)
    changed[0] = 0
    for i in range(now.size):
        learn_outcome(state, work, request, i, node, i, values, i, now[i])
        state.log.counters[N_LEARNED] += 1
        if records_outcomes(state.outcomes):
            kind = TOKEN if decision >= 0 else LEARNED
            append_outcome(state, kind, decision, -1, -1, now[i], request_keys, i, node_keys, i, outcomes, i)
        refresh_key(packed, arm, node_keys[i, 0], changed, workspace)
        refresh_evicted(packed, arm, changed, workspace)
    mark_stale(state, changed)

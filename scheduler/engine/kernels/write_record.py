"""Append decisions and outcomes to the rings that a recorder empties."""

from __future__ import annotations

import numpy as np

from scheduler.columns.arrays import MISSING_KEY, ColumnArrays
from scheduler.decisions.arrays import N_LEARNED, N_OUTCOMES, DecisionArrays
from scheduler.decisions.record.arrays import (
    ADMITTED,
    FULL_DROPPED,
    FULL_HEAD,
    FULL_TAIL,
    OUTCOME_DROPPED,
    OUTCOME_HEAD,
    OUTCOME_TAIL,
    POOL_HEAD,
    POOL_TAIL,
    TAKEN,
    THIN_DROPPED,
    THIN_HEAD,
    THIN_TAIL,
    OutcomeRows,
    PoolRows,
)
from scheduler.decisions.record.kernels.marks import raise_mark, row_for
from scheduler.engine.arrays import ArmArrays, StateArrays, Workspace
from scheduler.features.arrays import FeatureProgram
from scheduler.features.kernels.operations import fill
from scheduler.policy.arrays import CandidateArrays, PolicyArrays
from scheduler.policy.kernels.utility import weighs_price
from scheduler.runtime import atomics
from scheduler.runtime.jit import inlined, kernel
from scheduler.runtime.packed_arrays import PackedArrays, unpack_arrays
from scheduler.runtime.prefetch import copy_row


@inlined
def fill_node(state: StateArrays, program: FeatureProgram, slot: int, out: np.ndarray) -> None:
    """Write the node features of a slot, as `refresh_node` computes them for the forest's row."""
    columns = state.fleet.columns
    fill(program, program.node, False, columns, np.int64(slot), columns, np.int64(slot), state.history, 0.0, out)


@kernel
def append_thin(
    packed: PackedArrays[StateArrays],
    arm: PackedArrays[ArmArrays],
    request: ColumnArrays,
    i: int,
    slots: np.ndarray,
    p: int,
    now: float,
    is_full: bool,
    workspace: PackedArrays[Workspace],
    out: DecisionArrays,
) -> None:
    """Append decision ``i`` under weight profile ``p``, with what it saw of its first node."""
    state, by, work = unpack_arrays(packed), unpack_arrays(arm), unpack_arrays(workspace)
    records, thin, candidates, fleet = work.records, work.records.thin, work.candidates, state.fleet
    row = row_for(records.marks, THIN_HEAD, THIN_TAIL, THIN_DROPPED, thin.id.size)
    if row < 0:
        return
    thin.id[row], thin.time[row], thin.reason[row] = out.id[i], now, out.reason[i]
    thin.propensity[row], thin.profile[row], thin.is_full[row] = out.propensity[i], p, is_full
    thin.client[row] = records.client[0]
    copy_row(thin.dropped, row, out.dropped, i)
    copy_row(thin.request_values, row, request.values, i)
    copy_row(thin.request_keys, row, request.keys, i)
    copy_row(thin.utility, row, out.utility, i)
    places = thin.slot.shape[1]
    for s in range(places):
        position, at = out.position[i, s], row * places + s
        slot = slots[position] if position >= 0 else -1
        thin.slot[row, s] = slot
        copy_row(thin.values, at, out.values[i], s)
        for k in range(thin.node_keys.shape[1]):
            thin.node_keys[at, k] = fleet.columns.keys[slot, k] if slot >= 0 else np.uint64(MISSING_KEY)
    x = thin.features[row]
    if out.position[i, 0] >= 0:
        program, c = by.program, candidates.row[candidates.slate[0]]
        fill_node(state, program, candidates.slot[candidates.slate[0]], work.x_node)
        scatter(program.request, work.x_request, x)
        scatter(program.node, work.x_node, x)
        scatter(program.pair, work.x_pair[c], x)
    else:
        for f in range(x.size):
            x[f] = np.nan
    raise_mark(records.marks, THIN_HEAD)


@inlined
def scatter(owned: np.ndarray, values: np.ndarray, row: np.ndarray) -> None:
    """Write features that stand side by side to their places in a whole row."""
    for n in range(owned.size):
        row[owned[n]] = values[n]


@kernel
def begin_full(
    packed: PackedArrays[StateArrays],
    arm: PackedArrays[ArmArrays],
    slots: np.ndarray,
    p: int,
    n: int,
    workspace: PackedArrays[Workspace],
) -> int:
    """Write what is known of all candidates before the choice; return the row of the record, -1 without room for it.

    Parameters
    ----------
    slots
        (n_candidates,) int32, below 0 as padding.
    p
        The weight profile.
    n
        How many candidates were admitted and scored.
    """
    state, by, work = unpack_arrays(packed), unpack_arrays(arm), unpack_arrays(workspace)
    records, full, pool, candidates = work.records, work.records.full, work.records.pool, work.candidates
    count = slots.size
    while count > 0 and slots[count - 1] < 0:
        count -= 1
    row = row_for(records.marks, FULL_HEAD, FULL_TAIL, FULL_DROPPED, full.id.size)
    if row < 0:
        return -1
    size, head = pool.slot.size, records.marks[POOL_HEAD]
    if head % size + count > size:
        head += size - head % size
    if head + count - atomics.load(records.marks, POOL_TAIL) > size:
        raise_mark(records.marks, FULL_DROPPED)
        return -1
    start = head % size
    full.start[row], full.n_candidates[row], full.end[row] = start, count, head + count
    for c in range(count):
        clear_pool_row(pool, start + c)
        pool.slot[start + c], pool.verdict[start + c] = slots[c], candidates.verdict[c]
        if slots[c] >= 0:
            copy_row(pool.node_keys, start + c, state.fleet.columns.keys, slots[c])
    for c in range(n):
        at = start + candidates.position[c]
        fill_node(state, by.program, candidates.slot[c], pool.x_node[at])
        copy_row(pool.x_pair, at, work.x_pair, c)
        write_scores(by.policy, p, candidates, c, pool, at)
    return row


@inlined
def clear_pool_row(pool: PoolRows, at: int) -> None:
    """Make a candidate one of which nothing is known."""
    for k in range(pool.node_keys.shape[1]):
        pool.node_keys[at, k] = np.uint64(MISSING_KEY)
    pool.x_node[at] = np.float32(np.nan)
    pool.x_pair[at] = np.float32(np.nan)
    pool.raw[at] = np.float32(np.nan)
    pool.values[at] = np.nan
    pool.utility[at] = pool.uncertainty[at] = pool.n_outcomes[at] = pool.n_own_outcomes[at] = np.nan
    pool.capacity[at] = pool.load[at] = pool.free[at] = pool.price[at] = np.nan
    pool.is_new[at] = False


@inlined
def write_scores(policy: PolicyArrays, p: int, candidates: CandidateArrays, c: int, pool: PoolRows, at: int) -> None:
    """Write how candidate ``c`` was scored to a row of the pool."""
    copy_row(pool.raw, at, candidates.raw, c)
    copy_row(pool.values, at, candidates.values, c)
    pool.utility[at], pool.uncertainty[at], pool.is_new[at] = (
        candidates.utility[c],
        candidates.uncertainty[c],
        candidates.is_new[c],
    )
    pool.capacity[at], pool.load[at] = candidates.capacity[c], candidates.load[c]
    if policy.count_key >= 0:
        pool.n_outcomes[at] = candidates.n_outcomes[c]
    if policy.newcomer_key >= 0:
        pool.n_own_outcomes[at] = candidates.n_own_outcomes[c]
    if weighs_price(policy, p):
        pool.price[at] = candidates.price[c]


@kernel
def finish_full(
    request: ColumnArrays,
    i: int,
    row: int,
    p: int,
    n: int,
    left: int,
    demand: float,
    now: float,
    explores: bool,
    workspace: PackedArrays[Workspace],
    out: DecisionArrays,
) -> None:
    """Write how the choice among ``left`` of ``n`` scored candidates went, and hand the record over."""
    work = unpack_arrays(workspace)
    records, full, pool, candidates = work.records, work.records.full, work.records.pool, work.candidates
    start = full.start[row]
    if demand > 0.0:
        if left < n:
            for c in range(full.n_candidates[row]):
                if pool.verdict[start + c] == ADMITTED:
                    pool.verdict[start + c] = TAKEN
        for c in range(left):
            at = start + candidates.position[c]
            pool.verdict[at], pool.free[at] = ADMITTED, candidates.free[c]
    full.id[row], full.time[row], full.explores[row] = out.id[i], now, explores
    full.profile[row], full.demand[row] = p, demand
    full.propensity[row], full.reason[row] = out.propensity[i], out.reason[i]
    copy_row(full.dropped, row, out.dropped, i)
    copy_row(full.position, row, out.position, i)
    copy_row(full.request_values, row, request.values, i)
    copy_row(full.request_keys, row, request.keys, i)
    for f in range(work.x_request.size):
        full.x_request[row, f] = work.x_request[f] if n > 0 else np.nan
    records.marks[POOL_HEAD] = full.end[row]
    raise_mark(records.marks, FULL_HEAD)


@inlined
def append_outcome(
    state: StateArrays,
    kind: int,
    decision: int,
    slot: int,
    place: int,
    now: float,
    request_keys: np.ndarray,
    request_row: int,
    node_keys: np.ndarray,
    node_row: int,
    outcomes: np.ndarray,
    outcome_row: int,
) -> None:
    """Append an outcome that was just taken in; the caller holds the state's lock as a writer."""
    ring, counters = state.outcomes, state.log.counters
    row = row_for(ring.marks, OUTCOME_HEAD, OUTCOME_TAIL, OUTCOME_DROPPED, ring.sequence.size)
    if row < 0:
        return
    ring.sequence[row], ring.decision[row] = counters[N_OUTCOMES] + counters[N_LEARNED], decision
    ring.kind[row], ring.slot[row], ring.place[row], ring.time[row] = kind, slot, place, now
    copy_row(ring.request_keys, row, request_keys, request_row)
    copy_row(ring.node_keys, row, node_keys, node_row)
    copy_row(ring.outcomes, row, outcomes, outcome_row)
    raise_mark(ring.marks, OUTCOME_HEAD)


@inlined
def records_outcomes(ring: OutcomeRows) -> bool:
    """Return whether outcomes are recorded."""
    return ring.sequence.size > 0

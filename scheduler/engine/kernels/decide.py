"""From candidates to a slate: filters, utilities, choice, reservation."""

from __future__ import annotations

import numpy as np

from scheduler.columns.arrays import MISSING_KEY, ColumnArrays
from scheduler.decisions.arrays import EXPLORED, N_EXPLORED, NEXT, DecisionArrays
from scheduler.decisions.kernels.counting import count_decision
from scheduler.decisions.kernels.numbering import id_of
from scheduler.engine.arrays import ArmArrays, StateArrays, Workspace
from scheduler.engine.kernels.filters import admit, still_free
from scheduler.engine.kernels.reservations import expire
from scheduler.engine.kernels.write_log import write_log
from scheduler.engine.kernels.write_record import append_thin, begin_full, finish_full
from scheduler.features.kernels.candidates import fill_pairs
from scheduler.features.kernels.operations import fill
from scheduler.fleet.arrays import NEXT_LEAVE, TIME
from scheduler.forest.kernels import score as forest_kernels
from scheduler.model.kernels.calibrate import calibrate
from scheduler.model.kernels.offsets import add_offsets
from scheduler.policy.arrays import CandidateArrays, PolicyArrays
from scheduler.policy.kernels.choice import draw_slate
from scheduler.policy.kernels.guard import may_explore
from scheduler.policy.kernels.uncertainty import count_outcomes, estimate_uncertainty
from scheduler.policy.kernels.utility import profile, read_nodes, utilities
from scheduler.retrieval.arrays import NodeTimes
from scheduler.retrieval.kernels.retrieve import retrieve
from scheduler.runtime import atomics, lock_kernels
from scheduler.runtime.jit import inlined, kernel
from scheduler.runtime.monotonic import monotonic_ns
from scheduler.runtime.packed_arrays import PackedArrays, unpack_arrays
from scheduler.runtime.prefetch import copy_row
from scheduler.runtime.random import DRAW_FULL, DRAW_NODE, uniform


@kernel
def score(
    packed: PackedArrays[StateArrays],
    arm: PackedArrays[ArmArrays],
    request: ColumnArrays,
    i: int,
    n: int,
    now: float,
    workspace: PackedArrays[Workspace],
) -> None:
    """Write raw scores and calibrated head values of the workspace's first ``n`` candidates."""
    state, by, work = unpack_arrays(packed), unpack_arrays(arm), unpack_arrays(workspace)
    program, columns = by.program, state.fleet.columns
    slots, raw, values = work.candidates.slot[:n], work.candidates.raw[:n], work.candidates.values[:n]
    fill(program, program.request, False, request, i, columns, np.int64(0), state.history, now, work.x_request)
    forest_kernels.request_row(by.mask_tables, work.x_request, work.request_row)
    fill_pairs(program, request, i, columns, slots, state.history, now, work.pair, work.x_pair)
    forest_kernels.score(by.mask_tables, work.request_row, by.node_rows, slots, work.x_pair[:n], work.forest, raw)
    add_offsets(by.policy.offsets, work.x_request, work.x_pair[:n], raw)
    calibrate(by.policy.calibration, raw, work.pair.x[:n], values)


@inlined
def choose(
    state: StateArrays,
    policy: PolicyArrays,
    request: ColumnArrays,
    i: int,
    number: int,
    n: int,
    demand: float,
    now: float,
    candidates: CandidateArrays,
    out: DecisionArrays,
) -> tuple[int, bool]:
    """Draw a slate from ``n`` candidates with utilities, reserve its uplink and log it; call it under the mutex.

    Returns how many of the candidates were left, and whether another than the best might be drawn.
    """
    if demand > 0.0:
        n = still_free(state.fleet, n, candidates, out.dropped[i])
    explores = may_explore(policy, state.log, number)
    u = uniform(state.seed, out.id[i], DRAW_NODE)
    length, n_alternatives = draw_slate(policy, state.fleet.columns.keys, n, demand, explores, u, candidates, out, i)
    state.log.counters[N_EXPLORED] += out.reason[i] == EXPLORED
    write_log(state, request, i, length, n_alternatives, demand, number, now, candidates)
    return n, explores


@kernel
def decide(
    packed: PackedArrays[StateArrays],
    arm: PackedArrays[ArmArrays],
    request: ColumnArrays,
    blocklist: np.ndarray,
    slots: np.ndarray,
    given: bool,
    now: float,
    workspace: PackedArrays[Workspace],
    out: DecisionArrays,
    first: int,
    end: int,
) -> None:
    """Decide requests one after another, each seeing the reservations of those before it.

    Several threads may do so at once, each with its own workspaces. A request takes its id first, which fixes all its
    draws. It is scored without a lock; then, under the mutex, the uplink is looked at anew, and slate, reservation and
    log are one step.

    Parameters
    ----------
    request
        (n, ...) rows of the requests.
    blocklist
        (n, n_blocks, 2) uint64, what each does not want; see `BLOCKED_COLUMN`.
    slots
        (n, n_candidates) int32 fleet slots, -1 as padding; filled from the index unless ``given``.
    out
        Changed in place, as are the fleet's reservations and the decision log.
    first, end
        Which of the requests to decide; those from 0 on come first.
    """
    state, policy, work = unpack_arrays(packed), unpack_arrays(arm).policy, unpack_arrays(workspace)
    fleet, counts, begun = state.fleet, unpack_arrays(arm).counts, monotonic_ns()
    if first == 0:
        lock_kernels.acquire(state.locks)
        state.clock[0] = max(state.clock[0], now)
        expire(fleet, state.log, policy.hold, now)
        lock_kernels.release(state.locks)
    # The index lists nodes as of its own time: what is due since, or a call of an earlier time, asks for each node's.
    matter = now >= fleet.clock[NEXT_LEAVE] or now < fleet.clock[TIME]
    times = NodeTimes(fleet.alive_until, fleet.quarantined_until, now, matter)
    for i in range(first, end):
        number = atomics.add(state.log.counters, NEXT, 1)
        decision = id_of(state.log, number)
        if not given:
            retrieve(state.postings, request.keys, i, blocklist, times, state.seed, decision, work.retrieval, slots[i])
        demand = request.values[i, policy.demand] if policy.demand >= 0 else 0.0
        if not demand > 0.0:
            demand = 0.0
        clear(out, i)
        out.id[i] = decision
        is_full = state.full_rate > 0.0 and uniform(state.seed, decision, DRAW_FULL) < state.full_rate
        p = profile(policy, request, i)
        n = admit(fleet, state.postings, slots[i], blocklist, i, demand, now, work.candidates, out.dropped[i])
        if n > 0:
            score(packed, arm, request, i, n, now, workspace)
            read_nodes(policy, fleet, p, n, is_full, work.candidates)
            utilities(policy, p, n, work.candidates)
            count_outcomes(
                policy, state.program, state.history, request, i, fleet.columns, n, now, work.pair, work.candidates
            )
            estimate_uncertainty(policy, p, n, work.candidates)
        full = begin_full(packed, arm, slots[i], p, n, workspace) if is_full else -1
        lock_kernels.acquire(state.locks)
        left, explores = choose(state, policy, request, i, number, n, demand, now, work.candidates, out)
        begun = count_decision(counts, out, i, begun)
        lock_kernels.release(state.locks)
        if full >= 0:
            finish_full(request, i, full, p, n, left, demand, now, explores, workspace, out)
        if state.full_rate >= 0.0:
            append_thin(packed, arm, request, i, slots[i], p, now, full >= 0, workspace, out)


@kernel
def take_request(packed: PackedArrays[StateArrays], client: int, workspace: PackedArrays[Workspace]) -> None:
    """Write the request of a workspace: what it carries, the rest from the client in that slot.

    With a slot below 0 the client is unknown, and the rest is missing.
    """
    clients, work = unpack_arrays(packed).clients, unpack_arrays(workspace)
    carried, request = work.carried, work.request
    for c in range(carried.values.size):
        known = clients.values[client, c] if client >= 0 else np.nan
        request.values[0, c] = carried.values[c] if carried.is_set[c] else known
    for k in range(carried.keys.size):
        key = clients.keys[client, k] if client >= 0 else np.uint64(MISSING_KEY)
        request.keys[0, k] = carried.keys[k] if carried.is_set[carried.values.size + k] else key


@kernel
def decide_one(
    packed: PackedArrays[StateArrays],
    arm: PackedArrays[ArmArrays],
    client: int,
    blocklist: np.ndarray,
    now: float,
    workspace: PackedArrays[Workspace],
) -> None:
    """Decide the one request in a workspace, among candidates from the index, into the workspace.

    Few arguments where `decide` unpacks twenty arrays, which took 1.4 us; see there, and `take_request`.
    """
    work = unpack_arrays(workspace)
    given, first = np.bool_(False), np.int64(0)  # not constants, for which numba would compile another `decide`
    work.records.client[0] = client
    take_request(packed, client, workspace)
    decide(packed, arm, work.request, blocklist, work.found, given, now, workspace, work.out, first, first + 1)


@inlined
def clear(out: DecisionArrays, i: int) -> None:
    """Make decision ``i`` an empty slate, certain, with nothing dropped."""
    out.propensity[i] = 1.0
    for d in range(out.dropped.shape[1]):
        out.dropped[i, d] = 0
    for s in range(out.position.shape[1]):
        out.position[i, s] = -1
        out.utility[i, s] = np.nan
        for h in range(out.values.shape[2]):
            out.values[i, s, h] = np.nan


@kernel
def score_all(
    packed: PackedArrays[StateArrays],
    arm: PackedArrays[ArmArrays],
    request: ColumnArrays,
    slots: np.ndarray,
    now: float,
    workspace: PackedArrays[Workspace],
    out: np.ndarray,
) -> None:
    """Write calibrated head values (n, n_candidates, n_heads) of all candidates; padding stays as it is."""
    work = unpack_arrays(workspace)
    for i in range(slots.shape[0]):
        n = 0
        for c in range(slots.shape[1]):
            if slots[i, c] >= 0:
                work.candidates.position[n] = c
                work.candidates.slot[n] = slots[i, c]
                n += 1
        score(packed, arm, request, i, n, now, workspace)
        for c in range(n):
            copy_row(out[i], work.candidates.position[c], work.candidates.values, c)

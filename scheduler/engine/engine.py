"""Runs one request through an arm over a state, and one outcome into the state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.arrays import ColumnArrays
from scheduler.columns.ids import Id, id_key, remembered_key
from scheduler.decisions.arrays import DecisionArrays
from scheduler.decisions.decision import Decision
from scheduler.decisions.decision_log import ClaimedError
from scheduler.decisions.kernels.claims import ClaimArrays
from scheduler.engine.arm import Arm
from scheduler.engine.arrays import ArmArrays, StateArrays
from scheduler.engine.kernels import decide as decide_kernels
from scheduler.engine.kernels import observe as observe_kernels
from scheduler.engine.long_call import when_unclaimed
from scheduler.engine.request import candidate_slots, read_blocklist
from scheduler.engine.request_codec import NO_SLOT
from scheduler.engine.state import State
from scheduler.engine.workspace import new_outputs
from scheduler.features.kernels.operations import fill_candidates
from scheduler.retrieval.arrays import NO_BLOCKLIST
from scheduler.runtime.packed_arrays import PackedArrays
from scheduler.runtime.parts import PART

CHUNK = 1 << 15
"""Candidates that a kernel takes before interrupts are looked for: some 5 milliseconds."""

NO_OTHER_ARMS = np.zeros(1, np.int32)
"""Room for no changed nodes: a single arm's rows are made anew by the kernel itself."""


def decide(
    state: State,
    arm: Arm | None,
    request: Mapping[str, Any],
    candidates: Sequence[Sequence[Id]] | None,
    blocklist: NDArray[np.uint64],
    now: float,
) -> Decision:
    """Decide one request by an arm, by default the one in charge; the caller holds the lock as a reader."""
    arm = state.arm(arm)
    state.clock.check(now)
    return decide_over(state, arm, state.arrays, arm.arrays, request, candidates, blocklist, now)


def check_call(
    state: State, arm: Arm | None, request: Mapping[str, Any], candidates: Sequence[Sequence[Id]] | None
) -> None:
    """Raise what `decide` would raise of a call; the caller holds the lock as a reader."""
    state.request_codec.write(request, state.clients, state.arm(arm).thread.request)
    if candidates is not None:
        candidate_slots(candidates, state.fleet.table, 1)


def read_batch(
    state: State, arm: Arm | None, requests: Mapping[str, Any], candidates: object, exclude: object, block: object
) -> tuple[Arm, ColumnArrays, NDArray[np.uint64], NDArray[np.int32] | None]:
    """Return the arm, requests, blocklist and slots of candidates of a call; the caller holds the lock as a reader."""
    by, rows = state.arm(arm), state.request_codec.rows(requests, state.clients)
    n = len(rows.keys)
    blocklist = blocklist_of(state, exclude, block, n)
    return by, rows, blocklist, None if candidates is None else candidate_slots(candidates, state.fleet.table, n)


def decide_over(  # noqa: PLR0913, PLR0917 - a dry run passes other arrays than the state's own
    state: State,
    arm: Arm,
    state_arrays: PackedArrays[StateArrays],
    arm_arrays: PackedArrays[ArmArrays],
    request: Mapping[str, Any],
    candidates: Sequence[Sequence[Id]] | None,
    blocklist: NDArray[np.uint64],
    now: float,
) -> Decision:
    """Decide one request over given arrays."""
    thread, recording = arm.thread, state.recording
    if thread.recording is not recording:
        thread.record_for(recording)
    workspace = thread.workspace
    client = state.request_codec.write(request, state.clients, thread.request)
    if client < 0 and recording is not None:
        recording.note_client(thread.request.keys[0], state.request_codec.client_of(request))
    if candidates is None:
        slots = workspace.content.found
        packed = state_arrays, arm_arrays, workspace
        args = state_arrays, arm_arrays, client, blocklist, now, workspace
        direct = thread.decide_one
        if blocklist is not NO_BLOCKLIST:  # of another shape, and maybe of another type
            decide_kernels.decide_one(*args)
        else:
            (direct.call if direct.seen == packed else direct.resolve(packed, *args))(*args)
    else:
        given, slots = True, candidate_slots(candidates, state.fleet.table, 1)
        decide_kernels.take_request(state_arrays, client, workspace)
        workspace.content.records.client[0] = client
        one, out, room = workspace.content.request, thread.decision.arrays, thread.workspace_for(slots.shape[1])
        decide_kernels.decide(state_arrays, arm_arrays, one, blocklist, slots, given, now, room, out, 0, 1)
    return thread.decision.read(slots, state.fleet.table.id_at)


def decide_batch(  # noqa: PLR0913, PLR0917 - what a caller may say of its requests
    state: State,
    arm: Arm | None,
    requests: Mapping[str, Any],
    candidates: object,
    exclude: object,
    block: object,
    now: float,
) -> tuple[Arm, DecisionArrays, NDArray[Any]]:
    """Decide many requests; the caller holds the lock as a reader. Returns by which arm, them, and their nodes' ids."""
    state.clock.check(now)
    arm, rows, blocklist, slots = read_batch(state, arm, requests, candidates, exclude, block)
    n, thread = len(rows.keys), arm.thread
    if thread.recording is not state.recording:
        thread.record_for(state.recording)
    if state.recording is not None:
        state.recording.note_clients(rows.keys[:, 0], state.request_codec.client_of(requests))
    out, given = new_outputs(arm.model, n), slots is not None
    if slots is None:
        slots = np.empty((n, state.index.arrays.limit), np.int32)
    workspace = thread.workspace_for(slots.shape[1])
    workspace.content.records.client[0] = NO_SLOT  # their ids were noted
    for first, end in _chunks(slots.shape):
        decide_kernels.decide(state.arrays, arm.arrays, rows, blocklist, slots, given, now, workspace, out, first, end)
    nodes = np.full(out.position.shape, None)
    request, place = np.nonzero(out.position >= 0)
    nodes[request, place] = state.fleet.table.ids_at(slots[request, out.position[request, place]])
    return arm, out, nodes


def blocklist_of(state: State, exclude: object, block: object, n: int) -> NDArray[np.uint64]:
    """Return what ``n`` requests do not want; see `read_blocklist`."""
    if exclude is None and block is None:
        return NO_BLOCKLIST
    return read_blocklist(exclude, block, state.fleet.table, n)


def observe(state: State, decision: object, outcome: object, now: float, node: Id | None) -> None:
    """Take in one outcome; raises as `Scheduler.observe`."""
    try:
        state.lock.write(observe_here, state, decision, outcome, now, node)
    except ClaimedError:  # rare, so that the usual outcome pays for no `partial` and no deadline
        again = partial(state.lock.write, observe_here, state, decision, outcome, now, node)
        when_unclaimed(again, state.lock.deadline())


def observe_here(state: State, decision: object, outcome: object, now: float, node: Id | None) -> None:
    """Take in one outcome; the caller holds the lock as a writer."""
    one, arm = state.outcome, state.arms[0]
    thread = arm.thread
    state.outcome_codec.write(outcome, one)
    is_plain = type(node) is int or type(node) is str
    id_, one.node[0] = state.log.check_id(decision), remembered_key(node) if is_plain else id_key(node)
    if not state.clock.is_near(now):
        state.log.find([id_], [node])  # an outcome that is refused moves no clock
        state.clock.check(now)
    if state.listeners:
        _tell(state, id_)
    changed, packed = room_for_changed(state, 1), (state.arrays, arm.arrays, one.packed, thread.workspace)
    args = packed[0], packed[1], id_, packed[2], now, changed, packed[3]
    direct = thread.observe_one
    refusal = (direct.call if direct.seen == packed else direct.resolve(packed, *args))(*args)
    if refusal:
        raise state.log.refusal(refusal, id_, node)
    if changed is not NO_OTHER_ARMS:
        refresh_others(state, changed)


def _tell(state: State, decision: int) -> None:
    """Tell the listeners of an outcome of a decision, whichever of its nodes it is of."""
    row, log = state.log.row(decision), state.log.arrays
    if row >= 0:
        places = log.slot.shape[1]
        node_keys = log.node_keys[row * places : (row + 1) * places][log.state[row] != 0]
        request_keys = np.broadcast_to(log.request_keys[row], (len(node_keys), log.request_keys.shape[1]))
        state.tell(request_keys, node_keys, np.full(len(node_keys), decision))


def observe_many(
    state: State,
    ids: Sequence[int] | NDArray[np.int64],
    nodes: Sequence[Id | None] | None,
    outcomes: NDArray[np.float32],
    values: NDArray[np.float32],
    times: NDArray[np.float64],
) -> None:
    """Take in many outcomes, all or none; the caller holds the lock as a writer."""
    rows, places = state.log.find(ids, nodes)
    arm = state.arms[0]
    state.clock.check_all(times)
    if state.listeners:
        log = state.log.arrays
        state.tell(log.request_keys[rows], log.node_keys[rows * log.slot.shape[1] + places], log.id[rows])
    changed = room_for_changed(state, rows.size)
    work = arm.thread.workspace
    observe_kernels.observe(state.arrays, arm.arrays, rows, places, outcomes, values, times, changed, work)
    refresh_others(state, changed)


def observe_claimed(state: State, claims: ClaimArrays, first: int, last: int) -> None:
    """Take in some outcomes whose places are claimed; the caller holds the lock as a writer."""
    arm, changed = state.arms[0], room_for_changed(state, last - first)
    workspace = arm.thread.workspace
    if state.listeners:
        state.tell(claims.request_keys[first:last], claims.node_keys[first:last], claims.decision[first:last])
    observe_kernels.observe_claimed(state.arrays, arm.arrays, claims, first, last, changed, workspace)
    refresh_others(state, changed)


def part_of(state: State, n: int) -> int:
    """Return how many of ``n`` outcomes to take in while the lock is held once: the rows of each arm follow."""
    return n if n <= PART else max(PART // len(state.arms), 1)


def score(
    state: State, arm: Arm | None, requests: Mapping[str, Any], candidates: object, now: float
) -> dict[str, NDArray[np.float64]]:
    """Return head values (n, n_candidates) by head; the caller holds the lock as a reader."""
    arm = state.arm(arm)
    rows = state.request_codec.rows(requests, state.clients)
    slots = candidate_slots(candidates, state.fleet.table, len(rows.keys))
    out = np.full((*slots.shape, len(arm.model.heads)), np.nan)
    workspace = arm.thread.workspace_for(slots.shape[1])
    for first, end in _chunks(slots.shape):
        part = ColumnArrays(rows.values[first:end], rows.keys[first:end])
        decide_kernels.score_all(state.arrays, arm.arrays, part, slots[first:end], now, workspace, out[first:end])
    return {name: out[:, :, h] for h, name in enumerate(arm.model.heads)}


def features(
    state: State, arm: Arm | None, requests: Mapping[str, Any], candidates: object, now: float
) -> NDArray[np.float32]:
    """Return feature rows (n, n_candidates, n_features); the caller holds the lock as a reader."""
    arm = state.arm(arm)
    rows = state.request_codec.rows(requests, state.clients)
    slots = candidate_slots(candidates, state.fleet.table, len(rows.keys))
    out = np.full((*slots.shape, len(arm.model.features.names)), np.nan, np.float32)
    program, columns = arm.model.features.program, state.fleet.arrays.columns
    for first, end in _chunks(slots.shape):
        part = ColumnArrays(rows.values[first:end], rows.keys[first:end])
        fill_candidates(program, part, columns, slots[first:end], state.history, now, out[first:end])
    return out


def _chunks(shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Yield first and end of some of (n, n_candidates) requests after others; one empty chunk where there are none.

    An interrupt is raised between two calls of a kernel.
    """
    n, width = shape
    step = max(CHUNK // max(width, 1), 1)
    for first in range(0, max(n, 1), step):
        yield first, min(first + step, n)


def room_for_changed(state: State, n: int) -> NDArray[np.int32]:
    """Return room for the nodes that ``n`` outcomes change, where other arms have to follow them."""
    return NO_OTHER_ARMS if len(state.arms) == 1 else np.zeros(1 + n * state.history.evicted.size, np.int32)


def refresh_others(state: State, changed: NDArray[np.int32]) -> None:
    """Make the rows of changed nodes anew in the other arms, after which the state is not stale any more."""
    if changed.size > 1:
        state.refresh(np.unique(changed[1 : 1 + changed[0]]))
        state.lock.settle()

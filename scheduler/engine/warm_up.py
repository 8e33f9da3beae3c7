"""Compile or load all machine code before the first request, and bring what is known into the processor's caches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.ids import Id
from scheduler.decisions.decision import Decision
from scheduler.decisions.record.arrays import Sizes
from scheduler.decisions.record.hashing import IdHasher
from scheduler.decisions.record.recording import Recording
from scheduler.decisions.record.ring_reader import RingReader
from scheduler.engine import engine
from scheduler.engine.arm import Arm
from scheduler.engine.kernels import decide as decide_kernels
from scheduler.engine.long_outcomes import LongOutcomes
from scheduler.engine.outcome_batch import observe_batch
from scheduler.engine.remote_outcomes import learn_batch
from scheduler.engine.settings import check_settings
from scheduler.engine.state import State
from scheduler.engine.trial import dry_run
from scheduler.history.outcomes import outcome_names, values_at
from scheduler.history.store import touch_history
from scheduler.retrieval.arrays import NO_BLOCKLIST

WARM_NODES = 2_048
"""Nodes of a warm-up: enough for every table and index to grow."""

WARM_HISTORY = 4_096
"""Entries for which the throw-away state has room in history: few are told, and a larger one takes longer to copy."""

WARM_CALLS = 32
"""Calls of each kind in a warm-up: Python specialises its own instructions over the first dozen."""

FORGET_AFTER = 10.0
"""Seconds after which a warm-up's silent nodes are forgotten."""


def warm_up(state: State, arm: Arm) -> State:
    """Make every kind of call over a throw-away state, then dry-run decisions over the real one; nothing changes.

    Returns the throw-away state, which has nodes no more.
    """
    used = _call_everything(arm)
    state.lock.write(state.log.touch_pages)
    touch_history(state.history)
    warm_arm(state, arm)
    return used


def warm_arm(state: State, arm: Arm) -> list[Decision]:
    """Score all nodes and dry-run decisions over the real state, in steps between which other calls go on.

    Returns the decisions.
    """
    _read_nodes(state, arm)
    return dry_run(state, arm)


def _call_everything(arm: Arm) -> State:
    """Decide, observe, score, refresh and remove nodes in a throw-away state of the same model."""
    model, spec = arm.model, arm.model.spec
    settings = check_settings({"remember": 8, "history_capacity": WARM_HISTORY, "forget_after": FORGET_AFTER})
    state = State(spec, model.features, **settings)
    other = Arm(model, state.index, state.lock)
    state.join(other)
    recording = Recording(
        1.0, Sizes(8, 8, 8 * WARM_NODES, 8), state.fleet.table, state.clients, len(outcome_names(spec))
    )
    state.record_by(recording)
    ids, client = list(range(WARM_NODES)), spec.telemetry.client
    state.fleet.upsert(ids, dict.fromkeys(state.fleet.table.schema.key_columns, ids))
    state.clients.upsert([0], {})
    for candidates in [None] * WARM_CALLS + [[ids[:2]]]:
        decision = state.lock.read(engine.decide, state, other, {client: 0}, candidates, NO_BLOCKLIST, 0.0)
        for node in decision.nodes[:1]:
            engine.observe(state, decision.id, {"ok": False}, 0.0, node)
    for candidates in (None, [ids[:2]]):  # tiers may find nobody for a client that is made up
        _, out, nodes = state.lock.read(engine.decide_batch, state, other, {client: [0]}, candidates, None, None, 0.0)
        if nodes[0, 0] is not None:
            observe_batch(state, out.id, {"ok": [False]}, 0.0, nodes[:, 0].tolist())
    _take_many_in(state, other, client)
    state.log.row(0)
    learn_batch(state, {client: [0]}, ids[:1], {"ok": [False]}, 0.0)
    for call in (engine.score, engine.features):
        state.lock.read(call, state, other, {client: [0]}, [ids[:2]], 0.0)
    _take_records(state, recording)
    state.refresh_in_parts()
    for column in state.fleet.table.schema.sets:
        for change in (state.fleet.add, state.fleet.discard, state.fleet.holds):
            change(ids[:1], column, [0])
    _let_nodes_come_and_go(state, ids)
    return state


def _take_many_in(state: State, arm: Arm, client: str) -> None:
    """Take in an outcome as one of many, after its place was claimed and given back."""
    _, out, nodes = state.lock.read(engine.decide_batch, state, arm, {client: [0]}, [[0, 1]], None, None, 0.0)
    if nodes[0, 0] is None:
        return
    measured = state.outcome_codec.rows({"ok": [False]}, 1)
    values = values_at(state.tracked, measured)
    outcomes = LongOutcomes(state, out.id, nodes[:, 0].tolist(), measured, values, np.zeros(1))
    state.lock.write(outcomes.step)
    state.lock.write(outcomes.step_back)
    state.long_calls.run(outcomes)


def _take_records(state: State, recording: Recording) -> None:
    """Take some of what was recorded, as a recorder does."""
    taker = RingReader(recording, state.seed, IdHasher(None, state.clients, state.fleet.table))
    for ring in recording.rings:
        taker.thin(ring, 0)
        taker.full(ring, 0)
    taker.outcomes()
    recording.fullness()


def _let_nodes_come_and_go(state: State, ids: Sequence[Id]) -> None:
    """Let nodes be quarantined and return, fall silent and be forgotten, and remove the others."""
    fleet, request = state.fleet, {state.spec.telemetry.client: 0}
    fleet.quarantine(ids[:WARM_CALLS], until=1.0)
    fleet.heartbeat(ids[:WARM_CALLS], alive_until=2.0)
    for now in (1.0, 3.0, 3.0 + FORGET_AFTER):
        state.keep_up(now)
        state.lock.read(engine.decide, state, None, request, None, NO_BLOCKLIST, now)
    fleet.remove(fleet.ids())


def _read_nodes(state: State, arm: Arm) -> None:
    """Score every node for a made-up client, and discard the scores."""
    client = state.spec.telemetry.client
    rows, limit = state.request_codec.rows({client: [0]}, state.clients), state.index.arrays.limit
    out = np.empty((1, limit, len(arm.model.heads)))

    def read(slots: NDArray[np.int32]) -> None:
        slots = slots[state.fleet.arrays.alive_until[slots] > -np.inf]  # some may have left since they were listed
        part = slots[None]
        decide_kernels.score_all(state.arrays, arm.arrays, rows, part, 0.0, arm.thread.workspace, out)

    slots = state.lock.read(state.fleet.slots)
    for first in range(0, slots.size, limit):
        state.lock.read(read, slots[first : first + limit])

"""Compile or load the machine code of explanations and snapshots, before the first one is asked for."""

from __future__ import annotations

from scheduler.audit.explain import explain
from scheduler.audit.record_now import Request, record_now
from scheduler.audit.why_not import why_not
from scheduler.engine.state import State
from scheduler.retrieval.arrays import NO_BLOCKLIST
from scheduler.snapshot.save import copy_of


def explain_and_copy(state: State) -> None:
    """Explain requests over a throw-away state, with and without candidates of their own, and copy it.

    The first explanation would else compile for half a minute, and the first snapshot while others wait for the lock.
    """
    model, client = state.arms[0].model, state.spec.telemetry.client
    ids = list(range(model.spec.policy.max_nodes + 1))  # so that one is left to compare the slate with
    state.fleet.upsert(ids, {})
    for candidates in (None, [ids]):
        request = Request({client: 0}, candidates, NO_BLOCKLIST, state.clock.latest.item())
        record = state.lock.read(record_now, state, None, request)
        explain(record, model)
        why_not(record, model, ids[0], known=True)
    copy_of(state)

"""Outcomes of what was decided or measured elsewhere: they teach, and end no reservation here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.arrays import MISSING_KEY
from scheduler.columns.id_table import OWN_ID
from scheduler.columns.ids import Id, id_key, plain_list, present_keys
from scheduler.decisions.arrays import FIRST_ID, FROM_ORIGIN, UNKNOWN
from scheduler.decisions.decision import Decision
from scheduler.decisions.token import Token, layout_of, read_token, write_token
from scheduler.engine import engine
from scheduler.engine.kernels import observe as kernels
from scheduler.engine.long_call import when_unclaimed
from scheduler.engine.request import check_times
from scheduler.engine.state import State
from scheduler.errors import DuplicateOutcomeError, InputError, UnknownDecisionError, shown
from scheduler.features.program import Features
from scheduler.history.outcomes import values_at
from scheduler.runtime.parts import PART

NO_DECISION = -1
"""In place of the id of a decision: what was learned is of none that is known."""


def token_of(state: State, decision: Decision | int) -> str:
    """Return a decision's token; the caller holds the lock as a reader."""
    log, id_ = state.log.arrays, state.log.check_id(decision.id if isinstance(decision, Decision) else decision)
    row = state.log.row(id_)
    if row < 0 or log.length[row] == 0:
        raise state.log.refusal(UNKNOWN if row < 0 else FROM_ORIGIN, id_, None)
    held = np.flatnonzero(log.state[row])
    node_keys = log.node_keys.reshape(len(log.id), -1, log.node_keys.shape[1])[row]
    token = Token(
        layout=layout_of(state.spec.fingerprint()),
        id=id_,
        scheduler=int(log.counters[FIRST_ID]),
        time=float(log.time[row]),
        length=int(log.length[row]),
        request_keys=log.request_keys[row],
        node_keys=node_keys[held],
        held=log.held[row, held],
    )
    return write_token(token, state.token_key)


def observe_token(state: State, text: str, outcome: object, now: float, node: Id | None) -> None:
    """Take in the outcome of a decision by its token; raises as `Scheduler.observe`."""
    token = read_token(text, state.token_key)
    if token.layout != layout_of(state.spec.fingerprint()):
        message = "token: expected one of a scheduler of the same fingerprint, found another"
        raise InputError(message)
    _check_sizes(token, state.features)
    take_in = partial(state.lock.write, _observe_token, state, token, outcome, now, node)
    when_unclaimed(take_in, state.lock.deadline())


def _check_sizes(token: Token, features: Features) -> None:
    """Refuse a token with other sizes than a decision has: without a key anybody can write one."""
    found = len(token.request_keys), token.node_keys.shape[1]
    expected = features.request.n_keys, features.node.n_keys
    if found != expected:
        message = (
            f"token: expected {expected[0]} and {expected[1]} keys of request and node, found {found[0]} and {found[1]}"
        )
        raise InputError(message)
    if token.id < 0 or not 1 <= token.length <= len(token.node_keys):
        message = (
            f"token: expected a decision of 0 or above with a slate of 1 to {len(token.node_keys)} nodes, "
            f"found {token.id} with {token.length}"
        )
        raise InputError(message)


def _observe_token(state: State, token: Token, outcome: object, now: float, node: Id | None) -> None:
    if state.log.row(token.id) >= 0:
        engine.observe_here(state, token.id, outcome, now, node)
        return
    place = _place(token, node)
    told = token.id, int(token.node_keys[place, 0])
    if told in state.seen:
        message = f"decision {token.id}: expected one outcome for each node, found another"
        raise DuplicateOutcomeError(message)
    state.outcome_codec.write(outcome, state.outcome)
    outcomes, times = state.outcome.arrays.outcomes, np.array([now])
    state.clock.check(now)
    _learn(state, token.id, token.request_keys[None], token.node_keys[place][None], outcomes, times)
    state.seen.add(told)


def _place(token: Token, node: Id | None) -> int:
    keys = token.node_keys[:, 0]
    if node is None:
        if token.length != 1:
            message = f"decision {token.id}: expected which node of its slate the outcome is of, found none"
            raise InputError(message)
        return 0
    at = np.flatnonzero(keys == np.uint64(id_key(node)))
    if not at.size:
        message = f"decision {token.id}: expected a node of its slate, found {shown(node)}"
        raise UnknownDecisionError(message)
    return int(at[0])


def learn_batch(
    state: State,
    requests: Mapping[str, Any],
    nodes: Sequence[Id] | NDArray[Any],
    outcomes: Mapping[str, Any],
    now: object,
) -> None:
    """Learn from what was measured elsewhere; raises as `Scheduler.learn_batch`."""
    names = plain_list(nodes, "nodes")
    times = check_times(now, len(names))
    rows = state.outcome_codec.rows(outcomes, len(names))
    learning = _Learning(state, requests, names, rows, times)
    if len(names) <= PART:
        state.lock.write(learning.step)
    else:
        state.long_calls.run(learning)


class _Learning:
    """Outcomes of what was measured elsewhere; a `scheduler.engine.long_call.LongCall`.

    All that can be wrong is looked at before the first part.
    """

    def __init__(
        self,
        state: State,
        requests: Mapping[str, Any],
        names: list[Id],
        outcomes: NDArray[np.float32],
        times: NDArray[np.float64],
    ) -> None:
        self._state, self._names, self._outcomes, self._times = state, names, outcomes, times
        self._requests = state.request_codec.read(requests)
        if len(self._requests.ids) != len(names):
            message = f"nodes: expected {len(self._requests.ids)}, one for each request, found {len(names)}"
            raise InputError(message)
        self._keys = present_keys(names, "nodes", "ids")
        self._part, self._n_done = engine.part_of(state, len(names)), 0
        self.is_certain = False

    def step(self) -> bool:
        """Learn from a part."""
        state, n = self._state, len(self._names)
        if not self.is_certain:
            state.clock.check_all(self._times)
            self.is_certain = True
        at = slice(self._n_done, min(self._n_done + self._part, n))
        if at.start < at.stop:
            rows = state.request_codec.known_rows(self._requests, at, state.clients)
            node_keys = _node_keys(state, self._names[at], self._keys[at])
            if state.recording is not None:
                state.recording.note_clients(rows.keys[:, 0], self._requests.ids[at])
                state.recording.note_names(node_keys[:, 0], self._names[at])
            _learn(state, NO_DECISION, rows.keys, node_keys, self._outcomes[at], self._times[at])
            self._n_done = at.stop
        return at.stop < n

    def step_back(self) -> bool:
        """Undo nothing: nothing is done before it is certain."""
        return False


def _node_keys(state: State, names: list[Id], keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the key columns of nodes; of one that the fleet does not hold its id is known, and nothing else."""
    table = state.fleet.table
    slots = table.find(names)
    rows = table.columns.keys[slots]  # copies
    rows[slots < 0] = MISSING_KEY
    rows[:, 0] = keys
    if table.knows_own_id:
        rows[slots < 0, table.schema.key_columns[OWN_ID]] = keys[slots < 0]
    return rows


def _learn(
    state: State,
    decision: int,
    request_keys: NDArray[np.uint64],
    node_keys: NDArray[np.uint64],
    outcomes: NDArray[np.float32],
    times: NDArray[np.float64],
) -> None:
    """Fold outcomes into history; the caller holds the lock as a writer."""
    arm, work = state.arms[0].arrays, state.arms[0].thread.workspace
    values = values_at(state.tracked, outcomes)
    if state.listeners:
        state.tell(request_keys, node_keys, np.full(times.size, decision))
    changed = engine.room_for_changed(state, times.size)
    kernels.learn_rows(state.arrays, arm, decision, request_keys, node_keys, outcomes, values, times, changed, work)
    engine.refresh_others(state, changed)

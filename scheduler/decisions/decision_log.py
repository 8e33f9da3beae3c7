"""Which decisions still wait for their outcome."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.arrays import MISSING_KEY
from scheduler.columns.ids import Id, id_keys, plain_list
from scheduler.columns.values import plain
from scheduler.decisions.arrays import (
    ANSWERED_BEFORE,
    CLAIMED_BEFORE,
    EARLIER_LIVES,
    FIRST_ID,
    FIRST_NUMBER,
    FROM_ORIGIN,
    N_LEARNED,
    NEXT,
    NO_ID,
    NO_NODE,
    NOT_CHOSEN,
    UNKNOWN,
    DecisionLog,
)
from scheduler.decisions.first_id import LAST_ID
from scheduler.decisions.kernels.numbering import row_of
from scheduler.decisions.kernels.open_places import find_all_open
from scheduler.errors import DuplicateOutcomeError, InputError, UnknownDecisionError, shown
from scheduler.features.program import Features

_REFUSALS: dict[int, tuple[type[InputError], str]] = {
    FROM_ORIGIN: (UnknownDecisionError, "expected one with nodes, found one that the origin serves"),
    NO_NODE: (InputError, "expected which node of its slate the outcome is of, found none"),
    NOT_CHOSEN: (UnknownDecisionError, "expected a node of its slate, found {node!r}"),
    ANSWERED_BEFORE: (DuplicateOutcomeError, "expected one outcome for each node, found another"),
}


class ClaimedError(Exception):
    """An outcome of the same node is among many that are taken in part by part; whoever meets it waits for them."""


def begin_life(counters: NDArray[np.int64], earlier: NDArray[np.int64], first_id: int) -> None:
    """Count ids anew from ``first_id`` on; see `DecisionLog` for the arrays, which are changed in place."""
    if counters[NEXT] > counters[FIRST_NUMBER]:
        earlier[1:] = earlier[:-1].copy()
        earlier[0] = counters[[FIRST_ID, FIRST_NUMBER]]
    counters[[FIRST_ID, FIRST_NUMBER]] = first_id, counters[NEXT]


class DecisionRing:
    """The last decisions in arrays of fixed size; a new one takes the place of the oldest.

    Parameters
    ----------
    size
        How many decisions are remembered.
    places
        Nodes of a decision at most, alternatives included.
    features
        How many keys requests and nodes have.
    first_id
        Id of the first decision.
    """

    def __init__(self, size: int, places: int, features: Features, first_id: int) -> None:
        counters = np.zeros(N_LEARNED + 1, np.int64)
        counters[FIRST_ID] = first_id
        self.arrays = DecisionLog(
            id=np.full(size, -1, np.int64),
            time=np.zeros(size),
            length=np.zeros(size, np.int32),
            request_keys=np.zeros((size, features.request.n_keys), np.uint64),
            node_keys=np.zeros((size * places, features.node.n_keys), np.uint64),
            slot=np.zeros((size, places), np.int32),
            generation=np.zeros((size, places), np.int32),
            state=np.zeros((size, places), np.int8),
            held=np.zeros((size, places)),
            counters=counters,
            earlier=np.full((EARLIER_LIVES, 2), (NO_ID, 0), np.int64),
        )

    def widen(self, places: int) -> None:
        """Have room for so many nodes a decision; nobody else may use the log meanwhile.

        Nothing changes where there is room already. Otherwise all rows are copied: 65,536 of one place in some
        milliseconds.
        """
        old = self.arrays
        size, before = old.slot.shape
        if places <= before:
            return

        def wider(array: NDArray[Any], width: int) -> NDArray[Any]:
            out = np.zeros((size, places, width), array.dtype)
            out[:, :before] = array.reshape(size, before, width)
            return out

        n_keys = old.node_keys.shape[1]
        self.arrays = old._replace(
            node_keys=wider(old.node_keys, n_keys).reshape(size * places, n_keys),
            slot=wider(old.slot, 1)[:, :, 0],
            generation=wider(old.generation, 1)[:, :, 0],
            state=wider(old.state, 1)[:, :, 0],
            held=wider(old.held, 1)[:, :, 0],
        )

    def touch_pages(self) -> None:
        """Write every page once without changing it, so that no decision waits for the system to hand it out."""
        for array in self.arrays:
            array[:] = array.copy()

    def find(
        self, decisions: Sequence[int] | NDArray[np.int64], nodes: Sequence[Id | None] | NDArray[Any] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the row of each decision and the place of its node, all still unanswered.

        Without ``nodes``, or if one is None, it is the only one of the slate; named, it may be an alternative too.

        Raises
        ------
        UnknownDecisionError
            If a decision is not remembered, went to the origin, or has no such node.
        DuplicateOutcomeError
            If a place has its outcome, or is named twice.
        InputError
            If a decision's slate has several nodes and none is named, or ids are no integers.
        ClaimedError
            If a call of many outcomes takes in one of these at this moment.
        """
        ids, keys = self.keys_of(decisions, nodes)
        rows, places = np.empty((2, len(ids)), np.int64)
        refused = find_all_open(self.arrays, ids, keys, rows, places)
        if refused >= 0:
            node = None if nodes is None else plain_list(nodes, "nodes")[refused]
            raise self.refusal(int(places[refused]), int(ids[refused]), node)
        pairs = np.sort(rows * self.arrays.slot.shape[1] + places)
        twice = pairs[1:] == pairs[:-1]
        if twice.any():
            again = self.arrays.id[pairs[1:][twice][0] // self.arrays.slot.shape[1]]
            raise self.refusal(ANSWERED_BEFORE, int(again), None)
        return rows, places

    def keys_of(
        self, decisions: Sequence[int] | NDArray[np.int64], nodes: Sequence[Id | None] | NDArray[Any] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        """Return decisions' ids and nodes' keys, (n,) each, as kernels take them; needs no lock.

        Raises
        ------
        InputError, UnknownDecisionError
            If ids are no integers of 63 bits, or there is not one node for each.
        """
        ids = self._ids(decisions)
        keys = np.full(len(ids), MISSING_KEY, np.uint64) if nodes is None else id_keys(nodes)
        if len(keys) != len(ids):
            message = f"nodes: expected {len(ids)}, found {len(keys)}"
            raise InputError(message)
        return ids, keys

    def row(self, decision: int) -> int:
        """Return the row of a decision, -1 where it is not remembered."""
        return int(row_of(self.arrays, decision))

    def next_id(self) -> int:
        """Return the id of the next decision."""
        counters = self.arrays.counters
        return int(counters[FIRST_ID] + counters[NEXT] - counters[FIRST_NUMBER])

    def begin_ids(self, first_id: int) -> None:
        """Give the next decisions ids from ``first_id`` on, or after the last one.

        Those of `EARLIER_LIVES` earlier lives stay known.
        """
        begin_life(self.arrays.counters, self.arrays.earlier, max(first_id, self.next_id()))

    def check_id(self, decision: object) -> int:
        """Return a decision's id as kernels take it.

        Raises
        ------
        InputError
            If it is no integer.
        UnknownDecisionError
            If it is negative or has more than 63 bits.
        """
        if type(decision) is int and 0 <= decision <= LAST_ID:
            return decision
        decision = plain(decision)
        if not isinstance(decision, int) or isinstance(decision, bool):
            message = f"decision: expected an integer id, found {shown(decision)}"
            raise InputError(message)
        if not 0 <= decision <= LAST_ID:
            raise self.refusal(UNKNOWN, decision, None)
        return decision

    def refusal(self, why: int, decision: int, node: object) -> InputError | ClaimedError:
        """Return the error about an outcome that `find_open` refused."""
        if why == UNKNOWN:
            return self._unknown(decision)
        if why == CLAIMED_BEFORE:
            return ClaimedError(f"decision {decision}: expected an outcome that nobody takes in at this moment")
        error, text = _REFUSALS[why]
        return error(f"decision {shown(decision)}: {text.format(node=plain(node))}")

    def _unknown(self, decision: int) -> InputError:
        counters, size = self.arrays.counters, self.arrays.id.size
        lives = [counters[[FIRST_ID, FIRST_NUMBER]].tolist(), *self.arrays.earlier.tolist()]
        ends = [int(counters[NEXT]), *(number for _, number in lives)]
        own = any(first <= decision < first + end - number for (first, number), end in zip(lives, ends, strict=False))
        why = "which is forgotten" if own else "which another scheduler made, or none"
        message = f"decision: expected one of the last {size} of this scheduler, found {shown(decision)}, {why}"
        return UnknownDecisionError(message)

    def _ids(self, decisions: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        is_flat = isinstance(decisions, np.ndarray) and decisions.ndim == 1 and decisions.dtype == np.int64
        if is_flat and np.all(np.greater_equal(decisions, 0)):
            return np.ascontiguousarray(decisions)
        return np.array([self.check_id(item) for item in plain_list(decisions, "decisions")], np.int64)

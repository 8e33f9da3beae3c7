"""Which decisions still wait for their outcome."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.ids import Ids, id_keys, n_distinct, plain_list
from scheduler.decisions.arrays import (
    ANSWERED,
    EARLIER_ID,
    EARLIER_NUMBER,
    FIRST_ID,
    FIRST_NUMBER,
    NEXT,
    DecisionLog,
)
from scheduler.errors import DuplicateOutcomeError, InputError, UnknownDecisionError
from scheduler.features.program import Features


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
        counters = np.zeros(EARLIER_NUMBER + 1, np.int64)
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
        self, decisions: Sequence[int] | NDArray[np.int64], nodes: Ids | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the row of each decision and the place of its node, all still unanswered.

        Without ``nodes`` it is the only one of the slate; named, it may be an alternative too.

        Raises
        ------
        UnknownDecisionError
            If a decision is not remembered, went to the origin, or has no such node.
        DuplicateOutcomeError
            If a place has its outcome, or is named twice.
        InputError
            If a decision's slate has several nodes and none is named, or ids are no integers.
        """
        rows = self._rows(decisions)
        ids = self.arrays.id[rows]
        origin = (self.arrays.state[rows] == 0).all(axis=1)
        if origin.any():
            message = f"decision {ids[origin][0]}: expected one with nodes, found one that the origin serves"
            raise UnknownDecisionError(message)
        places = self._only_places(rows) if nodes is None else self._places(rows, nodes)
        answered = self.arrays.state[rows, places] == ANSWERED
        pairs = rows * self.arrays.slot.shape[1] + places
        if answered.any() or n_distinct(pairs) != len(pairs):
            again = ids[answered] if answered.any() else ids
            message = f"decision {again[0]}: expected one outcome for each node, found another"
            raise DuplicateOutcomeError(message)
        return rows, places

    def next_id(self) -> int:
        """Return the id of the next decision."""
        counters = self.arrays.counters
        return int(counters[FIRST_ID] + counters[NEXT] - counters[FIRST_NUMBER])

    def begin_ids(self, first_id: int) -> None:
        """Give the next decisions ids from ``first_id`` on, or after the last one; those of earlier ones stay known."""
        counters, last = self.arrays.counters, self.next_id()
        counters[[EARLIER_ID, EARLIER_NUMBER]] = counters[[FIRST_ID, FIRST_NUMBER]]
        counters[[FIRST_ID, FIRST_NUMBER]] = max(first_id, last), counters[NEXT]

    def _rows(self, decisions: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        if isinstance(decisions, np.ndarray) and decisions.dtype == np.int64 and decisions.ndim == 1:
            rows, known = self._look_up(decisions)
            if known.all():  # in one pass; what is wrong is named below
                return rows
        items = plain_list(decisions, "decisions")
        wrong = [item for item in items if not isinstance(item, int) or isinstance(item, bool)]
        if wrong:
            message = f"decision: expected an integer id, found {reprlib.repr(wrong[0])}"
            raise InputError(message)
        rows, known = self._look_up(np.array([item if -1 <= item < 2**63 else -1 for item in items], np.int64))
        if not known.all():
            self._refuse(items[int(np.argmin(known))])
        return rows

    def _look_up(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the row of each id and whether the log holds it; the plain form of `row_of`."""
        counters = self.arrays.counters
        first, number, earlier, before = counters[[FIRST_ID, FIRST_NUMBER, EARLIER_ID, EARLIER_NUMBER]]
        numbers = np.where(ids >= first, ids - first + number, ids - earlier + before)
        rows = numbers % self.arrays.id.size
        return rows, (ids >= 0) & (numbers >= 0) & (self.arrays.id[rows] == ids)

    def _refuse(self, decision: int) -> None:
        """Raise the error that says why a decision is not known."""
        counters = self.arrays.counters
        begin = min(counters[[FIRST_ID, EARLIER_ID]]) if counters[EARLIER_ID] else counters[FIRST_ID]
        own = begin <= decision < counters[FIRST_ID] + counters[NEXT] - counters[FIRST_NUMBER]
        why = "which is forgotten" if own else "which another scheduler made, or none"
        size = self.arrays.id.size
        message = f"decision: expected one of the last {size} of this scheduler, found {decision}, {why}"
        raise UnknownDecisionError(message)

    def _only_places(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        several = self.arrays.length[rows] > 1
        if several.any():
            decision = self.arrays.id[rows[several][0]]
            message = f"decision {decision}: expected which node of its slate the outcome is of, found none"
            raise InputError(message)
        return np.zeros(len(rows), np.int64)

    def _places(self, rows: NDArray[np.int64], nodes: Ids) -> NDArray[np.int64]:
        names = plain_list(nodes, "nodes")
        keys = id_keys(names)
        if len(keys) != len(rows):
            message = f"nodes: expected {len(rows)}, found {len(keys)}"
            raise InputError(message)
        arrays = self.arrays
        n_slate = arrays.slot.shape[1]
        slate = arrays.node_keys[rows[:, None] * n_slate + np.arange(n_slate), 0]
        match = (slate == keys[:, None]) & (arrays.state[rows] != 0)
        strange = ~match.any(axis=1)
        if strange.any():
            i = int(strange.argmax())
            message = f"decision {arrays.id[rows[i]]}: expected a node of its slate, found {names[i]!r}"
            raise UnknownDecisionError(message)
        return match.argmax(axis=1)

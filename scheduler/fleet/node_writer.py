"""Calls of many nodes, written in parts between which others decide and change."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.ids import FEW, Id
from scheduler.columns.rows import Errors, Rows, Skipped, check_known, left_out
from scheduler.errors import InputError
from scheduler.fleet.presence import HOLD
from scheduler.fleet.store import NodeStore
from scheduler.runtime.parts import LIGHT_PART, PART, PAUSE, in_parts
from scheduler.runtime.read_write_lock import ReadWriteLock

PAIRS = 4_096
"""Pairs of a node and a category that are changed while the lock is held once: one or two milliseconds."""

NodeChange: TypeAlias = Callable[[list[Id], NDArray[np.int32]], int]
"""Told ids and their slots, -1 for one that is not held; returns how many of the first it has done."""

PairChange: TypeAlias = Callable[[NDArray[np.int32], NDArray[np.uint64]], None]
"""Told slots and keys of categories, as many of each."""


class NodeWriter:
    """Changes many nodes, for a few milliseconds at a time; each node is written as a whole.

    Parameters
    ----------
    store
        The nodes.
    lock
        Held while they change.
    """

    def __init__(self, store: NodeStore, lock: ReadWriteLock) -> None:
        self._store, self._table, self._lock = store, store.table, lock

    def for_held(self, names: list[Id], errors: Errors, change: NodeChange, most: int = LIGHT_PART) -> list[Skipped]:
        """Change nodes; those not held are refused or left out.

        One part is looked at and changed while the lock is held once. Of more, those that another thread removes
        between the two are passed over.
        """
        done = 0
        if len(names) > most:
            names, skipped = self._known(names, errors)
        else:
            names, skipped, done = self._lock.write(self._change_known, names, errors, change)
        if done < len(names):
            rest = names[done:] if done else names

            def change_some(at: slice) -> int:
                return change(rest[at], self._table.find(rest[at]))

            self.in_holds(len(rest), change_some, most)
        return skipped

    def _change_known(self, names: list[Id], errors: Errors, change: NodeChange) -> tuple[list[Id], list[Skipped], int]:
        """Return ids that are held, which were left out, and how many of the first were changed."""
        slots, skipped = self._table.find_all(names), list[Skipped]()
        if slots is None:
            names, skipped = self._known(names, errors)
            slots = self._table.find(names)
        return names, skipped, change(names, slots)

    def _known(self, names: list[Id], errors: Errors) -> tuple[list[Id], list[Skipped]]:
        """Return ids that are held, and which were left out."""
        if len(names) <= LIGHT_PART:
            held = self._table.holds_all(names)
        else:
            held = all(self._table.holds_all(names[at]) for at in in_parts(len(names), LIGHT_PART))
        if held:
            return names, []
        bad: dict[int, InputError] = {}
        check_known(names, self._table, bad)
        skipped = left_out(names, bad, errors) if bad else []
        return [name for i, name in enumerate(names) if i not in bad], skipped

    def write_held(self, rows: Rows, alive_until: float | None, *, is_strict: bool) -> int:
        """Change the first of some nodes and return how many; those removed since they were read are passed over."""
        held = self._table.find(rows.names) >= 0
        if held.all():
            return self._store.write(rows, alive_until)
        if is_strict:
            self._known(rows.names, "raise")
        done = self._store.write(rows.only(held), alive_until) if held.any() else 0
        return int(np.flatnonzero(held)[done - 1]) + 1 if 0 < done < held.sum() else len(held)

    def in_holds(self, n: int, write: Callable[[slice], int], most: int = PART) -> None:
        """Call ``write`` with the lock held, told which rows are next, until it has done all; it returns how many."""
        done = 0
        while done < n:
            if done:
                time.sleep(PAUSE)
            if n > FEW:
                self._store.touch_ahead(min(n - done, most))
            done += self._lock.write(write, slice(done, min(done + most, n)))

    def add_rest(self, rows: Rows) -> None:
        """Add what of large sets was not written with its node."""
        for column, sets in rows.sets.items():
            _, of, keys = sets.cut(HOLD)
            if keys.size:
                keeper, number = self._store.set_columns(column)
                self._change_held([rows.names[i] for i in of.tolist()], keys, partial(keeper.add, number))

    def in_pairs(self, names: list[Id], keys: NDArray[np.uint64], change: PairChange) -> None:
        """Change pairs of nodes and categories, or none where a node is not held."""
        if len(names) <= PAIRS:
            self._lock.write(lambda: self._change_pairs(change, self._table.slots(names), keys))
            return
        for at in in_parts(len(names), PAIRS):
            self._table.slots(names[at])
        self._change_held(names, keys, change)

    def _change_held(self, names: list[Id], keys: NDArray[np.uint64], change: PairChange) -> None:
        """Change pairs of nodes and categories, but of nodes that left meanwhile."""

        def change_some(at: slice) -> int:
            slots = self._table.find(names[at])
            self._change_pairs(change, slots[slots >= 0], keys[at][slots >= 0])
            return len(slots)

        self.in_holds(len(names), change_some, PAIRS)

    def _change_pairs(self, change: PairChange, slots: NDArray[np.int32], keys: NDArray[np.uint64]) -> None:
        self._lock.commit(lambda: change(slots, keys))

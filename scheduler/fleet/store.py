"""Nodes by slot, and what one hold of the lock does to them."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.id_table import IdTable, Placement, Removal
from scheduler.columns.ids import Id
from scheduler.columns.rows import Rows
from scheduler.columns.schema import Schema
from scheduler.columns.values import plain
from scheduler.errors import InputError, shown
from scheduler.fleet.arrays import FIRST_PLACES, FORGETS, PLACE_MULTIPLIER, FleetArrays, SlotTable
from scheduler.fleet.hooks import QUARANTINED, REMOVED, WRITTEN, Hooks, SetColumns
from scheduler.fleet.kernels import slot_table
from scheduler.fleet.presence import BATCH, BATCH_WITH_SETS, HOLD, LOOK, Due, Presence
from scheduler.runtime.growable_array import STEP, GrowableArray
from scheduler.runtime.hashing import PUBLIC_MULTIPLIER
from scheduler.runtime.read_write_lock import ReadWriteLock

Times: TypeAlias = "float | NDArray[np.float64]"
"""One time for all, or one for each; each only where all are held."""

REMOVAL = 32
"""Entries of posting lists that it counts for to remove a node: some 3 us."""


class _Forgetting(NamedTuple):
    """Nodes to forget, the generation of their slots then, how many were forgotten by then, and how much work it is."""

    removal: Removal
    generation: NDArray[np.int32]
    n_forgotten: int
    work: int


class NodeStore:
    """Nodes as columns, by slot; whoever calls holds the lock as a writer.

    What takes long where nodes hold many categories is done for the first of the nodes that are passed in, for as long
    as the lock may be held, and returns for how many.

    Each change is one that an interrupt does not leave half done; see `ReadWriteLock.commit`.

    Parameters
    ----------
    schema, capacity, lock, hooks, sets, most
        As of `scheduler.fleet.fleet.Fleet`.

    Attributes
    ----------
    table
        Ids and columns.
    arrays
        What kernels read; others after growth.
    presence
        Who is in the index.
    n_forgotten
        How many nodes were removed because they were silent for too long.
    """

    def __init__(
        self,
        schema: Schema,
        capacity: str | None,
        lock: ReadWriteLock,
        hooks: Hooks,
        sets: SetColumns | None,
        most: int,
    ) -> None:
        self.table = IdTable(schema, "node ids", lock, most)
        self.presence = Presence(most)
        self.n_forgotten = 0
        # What every candidate is asked for stands side by side, so that it comes with one cache line.
        self._asked = GrowableArray((4,), np.float64, (-np.inf, -np.inf, np.inf, 0.0), rows=most)
        self._generation = GrowableArray((), np.int32, rows=most)
        self._first = GrowableArray((), np.int32, -1, rows=FIRST_PLACES + most)
        self._after = GrowableArray((), np.int32, -1, rows=most)
        self._marks = np.array([FIRST_PLACES, FIRST_PLACES - 1, PUBLIC_MULTIPLIER.view(np.int64)], np.int64)
        self._lock, self._capacity, self._hooks = lock, capacity, hooks
        self._sets, self._set_numbers = sets, schema.sets if sets is not None else {}
        self.arrays = self._grown()

    def place_by(self, multiplier: np.uint64) -> None:
        """Have the table of slots place keys by another number; there is no node yet."""
        self._marks[PLACE_MULTIPLIER] = multiplier.view(np.int64)

    def write(self, rows: Rows, alive_until: Times | None) -> int:
        """Add or change nodes, with no more than `HOLD` categories a set, and return how many."""
        if self._set_numbers:
            sizes = sum(np.minimum(np.diff(sets.starts), HOLD) for sets in rows.sets.values())
            rows = rows.part(slice(0, self._fitting(self.table.find(rows.names), sizes)))
        if isinstance(alive_until, np.ndarray):
            alive_until = alive_until[: len(rows.names)]
        placed = self.table.place(rows)
        if self.table.columns is not self.arrays.columns:
            self.arrays = self._grown()
        before, turned = self._asked.used[placed.slots], np.zeros(len(placed.slots), np.bool_)
        self._lock.commit(lambda: self._put(placed, alive_until, turned), lambda: self._take_back(placed, before))
        return len(placed.slots)

    def touch_ahead(self, n: int) -> None:
        """Ask the system for the memory of ``n`` further nodes, and of a step of growth; needs no lock."""
        self.table.touch_ahead(n)
        size = len(self.table) + n + STEP
        self.presence.touch(size)
        for array in (self._asked, self._generation, self._first, self._after):
            array.touch(size)
        self._hooks.ahead(size)

    def remove(self, names: list[Id], slots: NDArray[np.int32]) -> int:
        """Remove nodes and return how many; those that are not held, slot -1, are passed over."""
        n = self._fitting(slots)
        removal = self._removal(names[:n])
        self._lock.commit(lambda: self._erase(*removal))
        return n

    def hear(self, slots: NDArray[np.int32], alive_until: float) -> int:
        """Take heartbeats and return how many; nodes that are not held, slot -1, are passed over."""
        n = self._fitting(slots)
        some, turned = slots if n == len(slots) else slots[:n], np.zeros(n, np.bool_)

        def apply() -> None:
            self.presence.hear(some, alive_until, turned)
            self._list(some[turned])

        self._lock.commit(apply)
        return n

    def quarantine(self, slots: NDArray[np.int32], until: Times) -> int:
        """Set nodes aside and return how many; those that are not held, slot -1, are passed over."""
        n = self._fitting(slots)
        held = slots[:n][slots[:n] >= 0]
        turned, ends = np.zeros(len(held), np.bool_), until[:n] if isinstance(until, np.ndarray) else until

        def apply() -> None:
            self.arrays.quarantined_until[held] = ends
            self.presence.settle(held, turned)
            self._list(held[turned])
            self._hooks.noted(QUARANTINED, held)

        self._lock.commit(apply)
        return n

    def advance(self, q: int, now: float) -> bool:
        """Look at nodes of a queue that are due, for as long as the lock may be held; whether more are."""
        work = 0
        self.presence.turn_to(now)
        while self.presence.has_due(q, now) and work < HOLD:
            work += self._lock.commit(self._new_turn(q))
        return self.presence.has_due(q, now)

    def set_columns(self, column: object) -> tuple[SetColumns, int]:
        """Return who keeps a set column, and its number."""
        if self._sets is None or not isinstance(column, str) or column not in self._set_numbers:
            known = ", ".join(self.table.schema.sets) or "(none)"
            message = f"column: expected one of sets, {known}, found {shown(column)}"
            raise InputError(message)
        return self._sets, self._set_numbers[str(column)]

    def _put(self, placed: Placement, alive_until: Times | None, turned: NDArray[np.bool_]) -> None:
        """Write rows that were placed; to do so twice is the same as once.

        ``turned``, (n,), is set where a node enters the index or leaves it.
        """
        rows, slots, arrays = placed.rows, placed.slots, self.arrays
        new = slots[placed.new]
        self.table.put(placed)
        if new.size:
            slot_table.enter(arrays.slot_table, arrays.columns.keys, new)
            arrays.alive_until[new] = np.inf
        if alive_until is not None:
            arrays.alive_until[slots] = alive_until
            self.presence.settle(slots, turned)
        elif new.size:
            self.presence.settle(new, np.zeros(new.size, np.bool_))
        self._set_capacity(slots if self._capacity in rows.columns else new)
        self._hooks.noted(WRITTEN, slots)
        is_read = self._hooks.reads is None or any(name in self._hooks.reads for name in rows.columns)
        self._hooks.changed(slots if is_read else new)
        if not is_read:
            self._list(slots[turned & ~placed.new])
        for name, sets in rows.sets.items():
            self.set_columns(name)[0].replace(self._set_numbers[name], slots, sets.cut(HOLD)[0])

    def _take_back(self, placed: Placement, before: NDArray[np.float64]) -> None:
        """Undo a `_put` for which there was no memory."""
        new, known = placed.slots[placed.new], placed.slots[~placed.new]
        slot_table.leave(self.arrays.slot_table, self.arrays.columns.keys, new)
        self.presence.leave(new)
        self.table.take_back(placed)
        self._asked.used[placed.slots] = before
        self.presence.settle(known, np.zeros(known.size, np.bool_))
        self._hooks.removed(new)
        self._hooks.changed(known)

    def _removal(self, names: list[Id]) -> tuple[Removal, NDArray[np.int32]]:
        """Return what to forget of the nodes that are held, and the generation of their slots then."""
        removal = self.table.removal(names)
        return removal, self.arrays.generation[removal.slots] + 1

    def _erase(self, removal: Removal, generation: NDArray[np.int32]) -> None:
        """Forget nodes; to do so twice is the same as once."""
        arrays, slots = self.arrays, removal.slots
        self._hooks.noted(REMOVED, slots)
        slot_table.leave(arrays.slot_table, arrays.columns.keys, slots)
        self.table.erase(removal)
        self.presence.leave(slots)
        arrays.generation[slots] = generation
        arrays.alive_until[slots] = -np.inf
        arrays.quarantined_until[slots] = -np.inf
        arrays.reserved[slots] = 0.0
        self._hooks.removed(slots)

    def _new_turn(self, q: int) -> Callable[[], int]:
        """Return what looks at some nodes that are due, and returns how much work that was; for `commit`."""
        due, planned = Due(BATCH_WITH_SETS if self._set_numbers else BATCH), list[_Forgetting]()

        def apply() -> int:
            slots = self.presence.take_due(q, due)
            if q != FORGETS:
                work = int(self._entries(slots).sum())
                self._list(slots)
                return work + LOOK * due.most
            if not planned:
                names, work = self.table.ids_at(slots).tolist(), int(self._entries(slots).sum()) + REMOVAL * len(slots)
                planned.append(_Forgetting(*self._removal(names), self.n_forgotten + len(slots), work))
            self._erase(planned[0].removal, planned[0].generation)
            self.n_forgotten = planned[0].n_forgotten
            return planned[0].work + LOOK * due.most

        return apply

    def _set_capacity(self, slots: NDArray[np.int32]) -> None:
        if self._capacity is not None and slots.size:
            uplink = self.arrays.columns.values[slots, self.table.schema.offsets[self._capacity]]
            uplink[np.isnan(uplink)] = 0.0
            self.arrays.capacity[slots] = uplink

    def _list(self, turned: NDArray[np.int32]) -> None:
        if turned.size:
            self._hooks.listed(turned)

    def _fitting(self, slots: NDArray[np.int32], more: NDArray[np.int64] | int = 0) -> int:
        """Return how many of some nodes can be changed while the lock is held once, ``more`` list entries included."""
        if not self._set_numbers:
            return len(slots)
        cost = np.cumsum(self._entries(slots) + more)
        return max(int(np.searchsorted(cost, HOLD, "right")), min(1, len(slots)))

    def _entries(self, slots: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return in how many posting lists nodes stand for what they hold."""
        return self._sets.entries(slots) if self._sets is not None else np.zeros(len(slots), np.int64)

    def _grown(self) -> FleetArrays:
        """Return room for as many nodes as the table has."""
        n = len(self.table.columns.keys)
        asked = self._asked.grow(n)
        self.presence.grow(n, asked[:, 0], asked[:, 1])
        return FleetArrays(
            columns=self.table.columns,
            alive_until=asked[:, 0],
            quarantined_until=asked[:, 1],
            generation=self._generation.grow(n),
            capacity=asked[:, 2],
            reserved=asked[:, 3],
            listed=self.presence.arrays.listed,
            clock=self.presence.clock,
            slot_table=SlotTable(self._first.grow(FIRST_PLACES + n), self._after.grow(n), self._marks),
        )


def check_time(name: str, time: object) -> None:
    """Refuse what is no time; infinity is, as never."""
    if type(time) is float and abs(time) <= sys.float_info.max:
        return
    number = plain(time)
    is_number = isinstance(number, float | int | np.floating)
    if not is_number or not (number == math.inf or abs(number) <= sys.float_info.max):  # type: ignore[arg-type]
        message = f"{name}: expected a time in seconds, found {shown(time)}"
        raise InputError(message)

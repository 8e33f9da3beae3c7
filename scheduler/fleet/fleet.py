"""The nodes: their columns, whether they live, and their uplink."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.id_table import IdTable, Placement, Removal, Rows
from scheduler.columns.ids import Id, Ids, plain_list, present_keys
from scheduler.columns.schema import Schema, Sets
from scheduler.errors import InputError
from scheduler.fleet.arrays import FleetArrays
from scheduler.runtime.growable_array import MOST_ROWS, GrowableArray
from scheduler.runtime.read_write_lock import ReadWriteLock


class SetColumns(Protocol):
    """Keeps the sets of categories that nodes hold, by number of column; `scheduler.retrieval.index.Index` is one."""

    def replace(self, column: int, slots: NDArray[np.int32], sets: Sets) -> None:
        """Give nodes other sets, (n,) distinct slots and as many sets."""

    def add(self, column: int, slots: NDArray[np.int32], keys: NDArray[np.uint64]) -> None:
        """Add categories to sets, (n,) slots and keys."""

    def discard(self, column: int, slots: NDArray[np.int32], keys: NDArray[np.uint64]) -> None:
        """Take categories out of sets, (n,) slots and keys."""

    def holds(self, column: int, slots: NDArray[np.int32], keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return which sets have the categories, (n,) slots and keys."""
        ...


SetChange: TypeAlias = Callable[[int, NDArray[np.int32], NDArray[np.uint64]], None]
"""`SetColumns.add` or `SetColumns.discard`."""

Hook: TypeAlias = Callable[[NDArray[np.int32]], None]
"""Told the slots of nodes that were changed or removed, with the fleet's lock held."""


class Hooks(NamedTuple):
    """Called after nodes were added or changed, and after nodes were removed.

    Of known nodes `changed` is told only if one of the columns was set that it `reads`, by default any.
    """

    changed: Hook = lambda _: None
    removed: Hook = lambda _: None
    reads: Collection[str] | None = None


class _Change(NamedTuple):
    """Checked rows, until when the nodes live, and sets with who keeps them and the numbers of their columns."""

    rows: Rows
    alive_until: float | None
    sets: list[tuple[SetColumns, int, Sets]]


NO_HOOKS = Hooks()
"""Nobody is told."""


class Fleet:
    """Nodes as columns, by slot; reach a scheduler's own as `Scheduler.fleet`.

    Calls may come from several threads; a thread that reads `arrays` holds the lock, at least for reading.

    Parameters
    ----------
    schema
        The spec's node columns.
    capacity
        Which column is the uplink in kbit/s; without one the uplink is unlimited. A node whose uplink is
        missing has none.
    lock
        Held while the fleet changes.
    hooks
        Told of changes.
    sets
        Keeps the sets of nodes; without it set columns are refused.
    most
        How many nodes there may be.
    """

    def __init__(
        self,
        schema: Schema,
        capacity: str | None = None,
        *,
        lock: ReadWriteLock | None = None,
        hooks: Hooks = NO_HOOKS,
        sets: SetColumns | None = None,
        most: int = MOST_ROWS,
    ) -> None:
        self._lock = ReadWriteLock() if lock is None else lock
        self.table = IdTable(schema, "node ids", self._lock, most)
        # What every candidate is asked for stands side by side, so that it comes with one cache line.
        self._asked = GrowableArray((4,), np.float64, (-np.inf, -np.inf, np.inf, 0.0), rows=most)
        self._generation = GrowableArray((), np.int32, rows=most)
        self._capacity = capacity
        self._hooks = hooks
        self._sets = sets
        self.arrays = self._grown()

    def __len__(self) -> int:
        return len(self.table)

    def __contains__(self, id_: object) -> bool:
        return id_ in self.table

    def slots(self) -> NDArray[np.int32]:
        """Return the slots of all nodes, in order."""
        return np.flatnonzero(self.arrays.alive_until > -np.inf).astype(np.int32)

    def upsert(
        self, ids: Ids, columns: Mapping[str, object] | None = None, *, alive_until: float | None = None
    ) -> None:
        """Add nodes or change their columns.

        Parameters
        ----------
        ids
            (n,) distinct integers or strings.
        columns
            Raw values by node column of the spec, each (n,), a vector (n, size), sets of categories as n lists, None
            for an empty one; those not named stay as they are.
        alive_until
            When the nodes count as silent unless heard of again, in seconds. By default known nodes keep
            their time and new ones never do.

        Raises
        ------
        InputError
            If an id or a value is wrong. Nothing changed.
        """
        self._lock.write(self._upsert, self._check(ids, columns or {}, alive_until))

    def update(
        self, ids: Ids, columns: Mapping[str, object] | None = None, *, alive_until: float | None = None
    ) -> None:
        """Change columns of nodes that are held, as `upsert`, so that a late report brings no node back.

        Raises
        ------
        UnknownNodeError
            If one is not held. Nothing changed.
        InputError
            As `upsert`.
        """
        self._lock.write(self._update, self._check(ids, columns or {}, alive_until))

    def _check(self, ids: Ids, columns: Mapping[str, object], alive_until: float | None) -> _Change:
        if alive_until is not None:
            _check_time("expires", alive_until)
        schema = self.table.schema
        rows = self.table.check(ids, {name: raw for name, raw in columns.items() if name not in schema.sets})
        sets = {name: raw for name, raw in columns.items() if name in schema.sets}
        held = [(*self._set_column(c), schema.encode_sets(c, raw, len(rows.names))) for c, raw in sets.items()]
        return _Change(rows, alive_until, held)

    def _update(self, change: _Change) -> None:
        self.table.slots(change.rows.names)
        self._upsert(change)

    def _upsert(self, change: _Change) -> None:
        placed = self.table.place(change.rows)
        if self.table.columns is not self.arrays.columns:
            self.arrays = self._grown()
        before = self._asked.used[placed.slots]
        self._lock.commit(lambda: self._write(change, placed), lambda: self._take_back(placed, before))

    def _write(self, change: _Change, placed: Placement) -> None:
        """Write checked rows; to do so twice is the same as once."""
        names, slots, new, arrays = change.rows.columns, placed.slots, placed.slots[placed.new], self.arrays
        self.table.put(placed)
        arrays.alive_until[new] = np.inf
        if change.alive_until is not None:
            arrays.alive_until[slots] = change.alive_until
        told = slots if self._capacity in names else new
        if self._capacity is not None and told.size:
            uplink = arrays.columns.values[told, self.table.schema.offsets[self._capacity]]
            arrays.capacity[told] = np.nan_to_num(uplink, nan=0.0)
        is_read = self._hooks.reads is None or any(name in self._hooks.reads for name in names)
        self._hooks.changed(slots if is_read else new)
        for keeper, number, encoded in change.sets:
            keeper.replace(number, slots, encoded)

    def _take_back(self, placed: Placement, before: NDArray[np.float64]) -> None:
        """Undo a `_write` for which there was no memory."""
        self.table.take_back(placed)
        self._asked.used[placed.slots] = before
        self._hooks.removed(placed.slots[placed.new])
        self._hooks.changed(placed.slots[~placed.new])

    def remove(self, ids: Ids) -> None:
        """Forget nodes; their reservations go with them.

        Raises
        ------
        UnknownNodeError
            If one is not held. Nothing changed.
        """
        self._lock.write(self._remove, ids)

    def _remove(self, ids: Ids) -> None:
        removal = self.table.find(ids)
        generation = self.arrays.generation[removal.slots] + 1
        self._lock.commit(lambda: self._erase(removal, generation))

    def _erase(self, removal: Removal, generation: NDArray[np.int32]) -> None:
        """Forget nodes; to do so twice is the same as once."""
        slots, arrays = removal.slots, self.arrays
        self.table.erase(removal)
        arrays.generation[slots] = generation
        arrays.alive_until[slots] = -np.inf
        arrays.quarantined_until[slots] = -np.inf
        arrays.reserved[slots] = 0.0
        self._hooks.removed(slots)

    def add(self, ids: Ids, column: str, values: Ids) -> None:
        """Add to the sets of nodes, such as contents that they hold from now on.

        Parameters
        ----------
        ids
            (n,) node ids; one that gets several values comes as often.
        column
            A node column of sets.
        values
            (n,) a category for each; one that the node holds already is no error.

        Raises
        ------
        InputError
            If a node is not held (`UnknownNodeError`), the column has no sets, a value is missing or neither integer
            nor string, or there are not as many values as ids. Nothing changed.
        """
        keeper, number, names, keys = self._pairs(ids, column, values)
        self._lock.write(self._change_sets, keeper.add, number, names, keys)

    def discard(self, ids: Ids, column: str, values: Ids) -> None:
        """Take values out of the sets of nodes; as `add`, and one that the node does not hold is no error."""
        keeper, number, names, keys = self._pairs(ids, column, values)
        self._lock.write(self._change_sets, keeper.discard, number, names, keys)

    def holds(self, ids: Ids, column: str, values: Ids) -> NDArray[np.bool_]:
        """Return whether the nodes' sets have the values, (n,); parameters and errors as of `add`."""
        keeper, number, names, keys = self._pairs(ids, column, values)
        return self._lock.read(lambda: keeper.holds(number, self.table.slots(names), keys))

    def heartbeat(self, ids: Ids, *, alive_until: float) -> None:
        """Take heartbeats: the nodes live until ``alive_until`` in seconds; raises like `remove`."""
        _check_time("expires", alive_until)
        self._lock.write(self._set_time, "alive_until", ids, alive_until)

    def quarantine(self, ids: Ids, *, until: float) -> None:
        """Set nodes aside until a time in seconds; raises like `remove`."""
        _check_time("until", until)
        self._lock.write(self._set_time, "quarantined_until", ids, until)

    def _set_time(self, column: str, ids: Ids, time: float) -> None:
        slots = self.table.slots(plain_list(ids, "node ids"))
        getattr(self.arrays, column)[slots] = time

    def _change_sets(self, change: SetChange, number: int, names: list[Id], keys: NDArray[np.uint64]) -> None:
        slots = self.table.slots(names)
        self._lock.commit(lambda: change(number, slots, keys))

    def _pairs(self, ids: Ids, column: str, values: Ids) -> tuple[SetColumns, int, list[Id], NDArray[np.uint64]]:
        """Return who keeps a set column, its number, nodes of which some may be unknown, and keys of categories."""
        keeper, number = self._set_column(column)
        names, categories = plain_list(ids, "node ids"), plain_list(values, "values")
        if len(names) != len(categories):
            message = f"values: expected {len(names)}, one for each node id, found {len(categories)}"
            raise InputError(message)
        return keeper, number, names, present_keys(categories, f"column {column!r}")

    def _set_column(self, column: object) -> tuple[SetColumns, int]:
        known = self.table.schema.sets
        if self._sets is None or column not in list(known):
            message = f"column: expected one of sets, {', '.join(known) or '(none)'}, found {column!r}"
            raise InputError(message)
        return self._sets, known[str(column)]

    def _grown(self) -> FleetArrays:
        """Return room for as many nodes as the table has."""
        n = len(self.table.columns.keys)
        asked = self._asked.grow(n)
        return FleetArrays(
            columns=self.table.columns,
            alive_until=asked[:, 0],
            quarantined_until=asked[:, 1],
            generation=self._generation.grow(n),
            capacity=asked[:, 2],
            reserved=asked[:, 3],
        )


def _check_time(name: str, time: float) -> None:
    """Refuse what is no time; infinity is, as never."""
    number = isinstance(time, float | int | np.floating | np.integer)
    if not number or math.isnan(time) or time == -math.inf:
        message = f"{name}: expected a time in seconds, found {time!r}"
        raise InputError(message)

"""The nodes: their columns, whether they live, their uplink, and the forest row kept for each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from scheduler.columns import Ids, Schema, plain_list
from scheduler.errors import InputError
from scheduler.forest import Forest
from scheduler.gate import Gate
from scheduler.layout import FleetArrays
from scheduler.room import Room
from scheduler.table import Table

Hook: TypeAlias = Callable[[NDArray[np.int32]], None]
"""Told the slots of nodes that were changed or removed, with the fleet's lock held."""


class Fleet:
    """Nodes as columns, by slot; reach a scheduler's own as `Scheduler.fleet`.

    Calls may come from several threads; whoever reads `arrays` meanwhile holds the lock, at least for `Gate.reading`.

    Parameters
    ----------
    schema
        The spec's node columns.
    forest
        Gives the width of a node's row; the hook fills the rows.
    capacity
        Which column is the uplink in kbit/s; without one the uplink is unlimited. A node whose uplink is
        missing has none.
    lock
        Held while the fleet changes.
    changed, removed
        Called after nodes were added or changed, and after nodes were removed.
    """

    def __init__(
        self,
        schema: Schema,
        forest: Forest,
        capacity: str | None = None,
        *,
        lock: Gate | None = None,
        changed: Hook = lambda _: None,
        removed: Hook = lambda _: None,
    ) -> None:
        self._lock = Gate() if lock is None else lock
        self.table = Table(schema, "node ids", self._lock)
        # What every candidate is asked for stands side by side, so that it comes with one cache line.
        self._asked = Room((4,), np.float64, (-np.inf, -np.inf, np.inf, 0.0))
        self._rows = Room((forest.node_words,), np.uint64)
        self._generation = Room((), np.int32)
        self._capacity = capacity
        self._changed = changed
        self._removed = removed
        self.arrays = self._grown()

    def __len__(self) -> int:
        return len(self.table)

    def __contains__(self, id_: object) -> bool:
        return id_ in self.table

    def upsert(self, ids: Ids, columns: Mapping[str, object] | None = None, *, expires: float | None = None) -> None:
        """Add nodes or change their columns.

        Parameters
        ----------
        ids
            (n,) distinct integers or strings.
        columns
            Raw values by node column of the spec, each (n,), a vector (n, size); those not named stay as
            they are.
        expires
            When the nodes count as silent unless heard of again, in seconds. By default known nodes keep
            their time and new ones never do.

        Raises
        ------
        InputError
            If an id or a value is wrong. Nothing changed.
        """
        if expires is not None:
            _check_time("expires", expires)
        rows = self.table.check(ids, columns or {})
        with self._lock:
            slots = self.table.put(rows)
            if self.table.columns is not self.arrays.columns:
                self.arrays = self._grown()
            arrays = self.arrays
            new = slots[arrays.expires[slots] == -np.inf]
            arrays.expires[new] = np.inf
            if expires is not None:
                arrays.expires[slots] = expires
            told = slots if self._capacity in (columns or {}) else new
            if self._capacity is not None and told.size:
                uplink = arrays.columns.values[told, self.table.schema.offsets[self._capacity]]
                arrays.capacity[told] = np.nan_to_num(uplink, nan=0.0)
            self._changed(slots)

    def remove(self, ids: Ids) -> None:
        """Forget nodes; their reservations go with them.

        Raises
        ------
        UnknownNodeError
            If one is not held. Nothing changed.
        """
        with self._lock:
            slots = self.table.remove(ids)
            arrays = self.arrays
            arrays.generation[slots] += 1
            arrays.expires[slots] = -np.inf
            arrays.released[slots] = -np.inf
            arrays.reserved[slots] = 0.0
            self._removed(slots)

    def heard(self, ids: Ids, *, expires: float) -> None:
        """Take heartbeats: the nodes live until ``expires`` in seconds; raises like `remove`."""
        _check_time("expires", expires)
        with self._lock:
            self.arrays.expires[self.table.slots(plain_list(ids, "node ids"))] = expires

    def quarantine(self, ids: Ids, *, until: float) -> None:
        """Set nodes aside until a time in seconds; raises like `remove`."""
        _check_time("until", until)
        with self._lock:
            self.arrays.released[self.table.slots(plain_list(ids, "node ids"))] = until

    def _grown(self) -> FleetArrays:
        """Return room for as many nodes as the table has."""
        n = len(self.table.columns.keys)
        asked = self._asked.grow(n)
        return FleetArrays(
            columns=self.table.columns,
            rows=self._rows.grow(n),
            expires=asked[:, 0],
            released=asked[:, 1],
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

"""The nodes: their columns, whether they live, and their uplink."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sized

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.id_table import IdTable
from scheduler.columns.ids import Id, Ids, id_key, plain_list, present_keys
from scheduler.columns.rows import Errors, Rows, Skipped, as_sequence, check_errors
from scheduler.columns.schema import Schema
from scheduler.columns.values import as_mapping, is_single, positive_seconds
from scheduler.errors import InputError
from scheduler.fleet.arrays import RETURNS, FleetArrays
from scheduler.fleet.category_names import CategoryNames
from scheduler.fleet.hooks import NO_HOOKS, Hooks, SetColumns
from scheduler.fleet.node import Node, read_node
from scheduler.fleet.node_writer import NodeWriter
from scheduler.fleet.presence import HOLDS
from scheduler.fleet.store import NodeStore, check_time
from scheduler.runtime.growable_array import MOST_ROWS
from scheduler.runtime.not_copied import NotCopied
from scheduler.runtime.parts import PART, PAUSE, in_parts
from scheduler.runtime.read_write_lock import ReadWriteLock

LISTING = 65_536
"""Slots looked through at once for silent nodes: some 0.1 ms."""


class Fleet(NotCopied):
    """Nodes as columns, by slot; reach a scheduler's own as `Scheduler.fleet`.

    Calls may come from several threads; a thread that reads `arrays` holds the lock, at least for reading. A call of
    many nodes is written in parts, between which others decide and change: each node is written as a whole.

    A node whose heartbeat is overdue, or that is quarantined, leaves the index of retrieval by itself and returns with
    the next heartbeat or the end of the quarantine; see `Presence`.

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
    forget_after
        Seconds after which a silent node is removed; by default never.

    Attributes
    ----------
    table
        Ids and columns.
    """

    _INSTEAD = "save and restore the scheduler, or report the nodes to another one"

    def __init__(  # noqa: PLR0913 - one keyword for each setting
        self,
        schema: Schema,
        capacity: str | None = None,
        *,
        lock: ReadWriteLock | None = None,
        hooks: Hooks = NO_HOOKS,
        sets: SetColumns | None = None,
        most: int = MOST_ROWS,
        forget_after: float = math.inf,
    ) -> None:
        self._lock = ReadWriteLock() if lock is None else lock
        self._store = NodeStore(schema, capacity, self._lock, hooks, sets, most)
        self._store.presence.forget_after(positive_seconds("forget_after", forget_after))
        self._writer = NodeWriter(self._store, self._lock)
        self._names = CategoryNames()
        self.table = self._store.table

    def place_by(self, multiplier: np.uint64) -> None:
        """Place keys of ids by another number, while there is no node; see `scheduler.runtime.hashing`."""
        self._store.place_by(multiplier)

    @property
    def arrays(self) -> FleetArrays:
        """What kernels read; others after growth."""
        return self._store.arrays

    @property
    def n_forgotten(self) -> int:
        """How many nodes were removed because they were silent for too long."""
        return self._store.n_forgotten

    @n_forgotten.setter
    def n_forgotten(self, n: int) -> None:
        self._store.n_forgotten = n

    def n_by_presence(self) -> dict[str, int]:
        """Return how many nodes are in the index, wait for the end of their quarantine, and are neither.

        The last are silent, or set aside for good. It scans nothing and takes no lock: nodes that come or go meanwhile
        may be counted or not.
        """
        live, quarantined = self._store.presence.n_listed, self._store.presence.n_quarantined
        return {"live": live, "quarantined": quarantined, "silent": max(len(self) - live - quarantined, 0)}

    def __len__(self) -> int:
        return len(self.table)

    def __contains__(self, id_: object) -> bool:
        return id_ in self.table

    def slots(self) -> NDArray[np.int32]:
        """Return the slots of all nodes, in order."""
        return np.flatnonzero(self.arrays.alive_until > -np.inf).astype(np.int32)

    def ids(self) -> list[Id]:
        """Return the ids of all nodes, in no order; those that come or go meanwhile may be among them or not."""
        return list(dict.fromkeys(self.table))

    def silent(self, now: float) -> list[Id]:
        """Return the ids of nodes whose heartbeat is overdue at a time in seconds, in no order."""
        check_time("now", now)
        found: list[Id] = []
        for at in in_parts(len(self.arrays.alive_until), LISTING):
            found += self._lock.read(self._silent, at, now)
        return found

    def get(self, id_: Id) -> Node:
        """Return what is known of a node.

        Raises
        ------
        UnknownNodeError
            If it is not held.
        InputError
            If it is neither an integer of 64 bits nor a string.
        """
        id_key(id_)
        return self._lock.read(self._get, id_)

    def upsert(
        self,
        ids: Ids,
        columns: Mapping[str, object] | None = None,
        *,
        alive_until: float | None = None,
        errors: Errors = "raise",
    ) -> list[Skipped]:
        """Add nodes or change their columns.

        Parameters
        ----------
        ids
            (n,) distinct integers or strings.
        columns
            Raw values by node column of the spec, each (n,), a vector (n, size), sets of categories as n lists, None
            for an empty one; those not named stay as they are.
        alive_until
            When the nodes count as silent unless heard of again, in seconds; sooner than before too. By default known
            nodes keep their time and new ones never do.
        errors
            With ``"skip"`` rows with a wrong id or value are left out and the others written.

        Returns
        -------
        list of Skipped
            The rows that were left out, with their ids and reasons.

        Raises
        ------
        InputError
            If an id or a value is wrong; the message names the row and the id. Nothing changed.
        """
        rows, skipped = self._read(ids, columns, alive_until, errors)
        self.table.check_room(rows.names)
        self._writer.in_holds(len(rows.names), lambda at: self._store.write(rows.part(at), alive_until))
        self._writer.add_rest(rows)
        return skipped

    def update(
        self,
        ids: Ids,
        columns: Mapping[str, object] | None = None,
        *,
        alive_until: float | None = None,
        errors: Errors = "raise",
    ) -> list[Skipped]:
        """Change columns of nodes that are held, as `upsert`, so that a late report brings no node back.

        Raises
        ------
        UnknownNodeError
            If one is not held. Nothing changed.
        InputError
            As `upsert`.
        """
        # One part is looked at while the lock is held.
        check_errors(errors)
        is_strict = errors == "raise" and not is_single(ids) and isinstance(ids, Sized) and len(ids) <= PART
        rows, skipped = self._read(ids, columns, alive_until, errors, None if is_strict else self.table)
        self._writer.in_holds(
            len(rows.names), lambda at: self._writer.write_held(rows.part(at), alive_until, is_strict=is_strict)
        )
        self._writer.add_rest(rows)
        return skipped

    def remove(self, ids: Ids) -> None:
        """Forget nodes; their reservations go with them.

        Raises
        ------
        UnknownNodeError
            If one is not held. Nothing changed.
        """
        names = self.table.reader.read(ids, {})[0].names
        self._writer.for_held(names, "raise", self._store.remove, PART)

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
        self._writer.in_pairs(names, keys, lambda slots, of: keeper.add(number, slots, of))

    def discard(self, ids: Ids, column: str, values: Ids) -> None:
        """Take values out of the sets of nodes; as `add`, and one that the node does not hold is no error."""
        keeper, number, names, keys = self._pairs(ids, column, values)
        self._writer.in_pairs(names, keys, lambda slots, of: keeper.discard(number, slots, of))

    def holds(self, ids: Ids, column: str, values: Ids) -> NDArray[np.bool_]:
        """Return whether the nodes' sets have the values, (n,); parameters and errors as of `add`."""
        keeper, number, names, keys = self._pairs(ids, column, values)
        return self._lock.read(lambda: keeper.holds(number, self.table.slots(names), keys))

    def heartbeat(self, ids: Ids, *, alive_until: float, errors: Errors = "raise") -> list[Skipped]:
        """Take heartbeats: the nodes live until ``alive_until`` in seconds, and are found by requests again.

        A heartbeat that arrives late never shortens a life: a node keeps the latest time that it was promised, unless
        that was never to end. `upsert` and `update` set the time as it is told, also to an earlier one.

        Parameters
        ----------
        ids
            (n,) node ids.
        alive_until
            Seconds.
        errors
            With ``"skip"`` ids that are not held are left out.

        Returns
        -------
        list of Skipped
            The rows that were left out.

        Raises
        ------
        UnknownNodeError
            If one is not held. Nothing changed.
        """
        check_time("alive_until", alive_until)
        check_errors(errors)
        names = self.table.reader.names(ids)
        return self._writer.for_held(names, errors, lambda _, slots: self._store.hear(slots, alive_until))

    def quarantine(self, ids: Ids, *, until: float) -> None:
        """Set nodes aside until a time in seconds; raises like `remove`."""
        check_time("until", until)
        names = self.table.reader.names(ids)
        self._writer.for_held(names, "raise", lambda _, slots: self._store.quarantine(slots, until))

    def load(self, rows: Rows, alive_until: NDArray[np.float64], quarantined_until: NDArray[np.float64]) -> None:
        """Add nodes as a snapshot has them; nobody else calls yet.

        Parameters
        ----------
        rows
            (n,) nodes.
        alive_until, quarantined_until
            (n,) seconds.
        """
        self._writer.in_holds(len(rows.names), lambda at: self._store.write(rows.part(at), alive_until[at]))
        self._writer.add_rest(rows)
        aside = np.flatnonzero(quarantined_until > -np.inf)
        names = [rows.names[i] for i in aside.tolist()]

        def set_aside(at: slice) -> int:
            return self._store.quarantine(self.table.find(names[at]), quarantined_until[aside[at]])

        self._writer.in_holds(len(names), set_aside)

    def turn_to(self, now: float) -> None:
        """Set the time as of which nodes are found; nobody else calls yet."""
        self._store.presence.turn_to(now)

    def categories(self) -> dict[int, Id]:
        """Return what categories are called, by key, as far as that is kept."""
        return self._names.known()

    def learn_categories(self, names: Mapping[int, Id]) -> None:
        """Keep what categories are called, by key."""
        self._names.add(names)

    def is_due(self, now: float) -> bool:
        """Whether `advance` has something to do at a time in seconds; fast, because every decision asks."""
        return self._store.presence.is_due(now)

    def advance(self, now: float) -> None:
        """Let nodes enter and leave the index that are due by a time in seconds, and forget those long silent.

        It does a bounded part of what is due; the next call goes on. A call from within another leaves it to others.
        """
        if self._lock.is_held:
            return
        for q, holds in HOLDS.items():
            # The first hold sets the time of the index, whoever is due.
            for hold in range(holds if self._store.presence.has_due(q, now) else int(q == RETURNS)):
                if hold:
                    time.sleep(PAUSE)
                if not self._lock.write(self._store.advance, q, now):
                    break

    def _read(
        self,
        ids: Ids,
        columns: Mapping[str, object] | None,
        alive_until: float | None,
        errors: Errors,
        known: IdTable | None = None,
    ) -> tuple[Rows, list[Skipped]]:
        if alive_until is not None:
            check_time("alive_until", alive_until)
        named = {} if columns is None else as_mapping(columns, "columns")
        for name in named:
            if name in self.table.schema.sets:
                self._store.set_columns(name)
        raw = {name: as_sequence(column) for name, column in named.items()}
        rows, skipped = self.table.reader.read(ids, raw, errors, known)
        self._names.learn(rows, raw, skipped)
        return rows, skipped

    def _pairs(self, ids: Ids, column: str, values: Ids) -> tuple[SetColumns, int, list[Id], NDArray[np.uint64]]:
        """Return who keeps a set column, its number, nodes of which some may be unknown, and keys of categories."""
        keeper, number = self._store.set_columns(column)
        names, categories = plain_list(ids, "node ids"), plain_list(values, "values")
        if len(names) != len(categories):
            message = f"values: expected {len(names)}, one for each node id, found {len(categories)}"
            raise InputError(message)
        return keeper, number, names, present_keys(categories, f"column {column!r}")

    def _silent(self, at: slice, now: float) -> list[Id]:
        alive_until = self.arrays.alive_until[at]
        slots = at.start + np.flatnonzero((alive_until > -np.inf) & (alive_until <= now))
        return self.table.ids_at(slots).tolist()

    def _get(self, id_: Id) -> Node:
        (slot,) = self.table.slots([id_]).tolist()
        return read_node(id_, slot, self.table.schema, self.arrays, self._names)

"""Ids and their columns by slot: what nodes and clients have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.arrays import MISSING_KEY, ColumnArrays
from scheduler.columns.ids import Id, Ids
from scheduler.columns.rows import Errors, RowReader, Rows, Skipped, as_sequence
from scheduler.columns.schema import Schema
from scheduler.columns.sharded_dict import ShardedDict
from scheduler.columns.values import as_mapping
from scheduler.errors import InputError, UnknownNodeError, shown
from scheduler.runtime.growable_array import MOST_ROWS, STEP, GrowableArray, next_size
from scheduler.runtime.not_copied import NotCopied
from scheduler.runtime.parts import in_parts
from scheduler.runtime.read_write_lock import ReadWriteLock

OWN_ID = "id"
"""A category column of this name, taken from the table of clients or nodes, is the id itself."""

FIRST_SLOTS = 64
"""Slots of an empty table; it grows by itself, see `scheduler.runtime.growable_array`."""


class Placement(NamedTuple):
    """Where checked rows go; to `IdTable.put` it twice is the same as once.

    Attributes
    ----------
    rows
        The rows.
    slots
        (n,) int32, a free one for each id that the table does not hold.
    new
        (n,) bool, which those are.
    n_free, n_rows
        How many slots are free and how many rows there are afterwards.
    before
        The rows in the slots as they were.
    """

    rows: Rows
    slots: NDArray[np.int32]
    new: NDArray[np.bool_]
    n_free: int
    n_rows: int
    before: ColumnArrays


class Removal(NamedTuple):
    """Rows to forget; to `IdTable.erase` them twice is the same as once.

    ``n_free`` and ``n_rows`` are how many slots are free and how many rows there are before.
    """

    names: list[Id]
    slots: NDArray[np.int32]
    n_free: int
    n_rows: int


class IdTable(NotCopied):
    """Rows of typed columns under integer or string ids.

    Slots of removed ids are used again. Columns never set are missing, except a category `OWN_ID`, which is the
    row's id unless it was set. Calls may come from several threads; whoever reads `columns` meanwhile holds
    the lock.

    Parameters
    ----------
    schema
        The columns.
    what
        What a row is, for messages.
    lock
        Held while the table changes; by default one of its own.
    most
        How many rows there may be; address space is set aside for so many.

    Attributes
    ----------
    told
        Called with slots that are about to be erased, under the lock; None where nobody wants to know.
    """

    _INSTEAD = "save and restore the scheduler"

    def __init__(self, schema: Schema, what: str, lock: ReadWriteLock | None = None, most: int = MOST_ROWS) -> None:
        self.schema = schema
        self.what = what
        self.reader = RowReader(schema, what)
        self._most = most
        self._values, self._keys = (
            GrowableArray((schema.width,), np.float64, np.nan, rows=most),
            GrowableArray((schema.n_keys,), np.uint64, rows=most),
        )
        self._ids: list[list[Id | None]] = []
        self.columns = self._grown(FIRST_SLOTS)
        own = schema.columns.get(OWN_ID)
        self.knows_own_id = own is not None and own.type == "category" and own.source != "telemetry"
        self._lock = ReadWriteLock() if lock is None else lock
        self._slots: ShardedDict[Id, int] = ShardedDict()
        self._free: list[int] = []
        self._count = 0
        self.told: Callable[[NDArray[np.int32]], object] | None = None

    def __len__(self) -> int:
        return self._count

    def __contains__(self, id_: object) -> bool:
        return id_ in self._slots

    def __iter__(self) -> Iterator[Id]:
        """Go through the ids without the lock: those that come or go meanwhile may be among them or not."""
        for ids in list(self._ids):
            yield from [id_ for id_ in ids.copy() if id_ is not None]

    def slot(self, id_: Id) -> int | None:
        """Return the slot of an id, None where the table does not hold it."""
        return self._slots.get(id_)

    def id_at(self, slot: int) -> Id | None:
        """Return the id in a slot, None where it is free."""
        return self._ids[slot // STEP][slot % STEP]

    def ids_at(self, slots: NDArray[np.integer]) -> NDArray[np.object_]:
        """Return the ids in (n,) slots, None where one is free."""
        ids = self._ids
        found = [ids[slot // STEP][slot % STEP] for slot in slots.tolist()]
        return np.fromiter(found, np.object_, len(found))

    def slots(self, ids: Ids) -> NDArray[np.int32]:
        """Return the slot of each id, in the shape of ``ids``.

        Raises
        ------
        UnknownNodeError
            If the table does not hold one of them.
        """
        array = ids if isinstance(ids, np.ndarray) else np.array(ids, dtype=object)
        flat = array.ravel().tolist()
        try:
            found = np.array(self._slots.take(flat), np.int32)
        except (KeyError, TypeError):
            unknown = next(id_ for id_ in flat if not self.holds(id_))
            message = f"{self.what}: expected some of the {len(self)} known, found {shown(unknown)}"
            raise UnknownNodeError(message) from None
        return found.reshape(array.shape)

    def find(self, names: list[Id]) -> NDArray[np.int32]:
        """Return the slot of each id, (n,), -1 where the table does not hold it."""
        return np.array(self._slots.take_or(names, -1), np.int32)

    def find_all(self, names: list[Id]) -> NDArray[np.int32] | None:
        """Return the slot of each id, (n,), which may be anything; None where the table does not hold one of them."""
        try:
            found = self._slots.take_or(names, -1)
        except TypeError:  # not even hashable
            return None
        return None if -1 in found else np.array(found, np.int32)

    def upsert(self, ids: Ids, columns: Mapping[str, object], *, errors: Errors = "raise") -> list[Skipped]:
        """Add new ids and set columns of new and known ones; columns not named stay as they are.

        Many rows are written in parts, between which others read and write; each row is written as a whole.

        Parameters
        ----------
        ids
            (n,) distinct integers or strings.
        columns
            Raw values by column, each (n,), a vector (n, size).
        errors
            ``"skip"`` writes the good rows where some are wrong.

        Returns
        -------
        list of Skipped
            The rows left out, in order.

        Raises
        ------
        InputError
            If an id occurs twice or is missing, or a column is unknown, of a wrong length, type or range; the message
            names the row. Nothing has changed then.
        """
        raw = {name: as_sequence(column) for name, column in as_mapping(columns, "columns").items()}
        rows, skipped = self.reader.read(ids, raw, errors)
        self.check_room(rows.names)
        for at in in_parts(len(rows.names)):
            self.touch_ahead(at.stop - at.start)
            self._lock.write(self._upsert, rows.part(at))
        return skipped

    def touch_ahead(self, n: int) -> None:
        """Ask the system for the memory of ``n`` further rows, and of a step of growth; needs no lock."""
        self._values.touch(len(self) + n + STEP)
        self._keys.touch(len(self) + n + STEP)

    def check_room(self, names: list[Id]) -> None:
        """Raise `InputError` if with these ids there would be more rows than there may be."""
        if self._count + len(names) > self._most:
            self._check_bound(int((self.find(names) < 0).sum()))

    def _check_bound(self, n_new: int) -> None:
        if self._count + n_new > self._most:
            message = (
                f"{self.what}: expected {self._most:,} in all at most, found {self._count:,} and {n_new:,} new ones"
            )
            raise InputError(message)

    def place(self, rows: Rows) -> Placement:
        """Return where `put` will write rows, and make room; the caller holds the lock as a writer.

        Raises
        ------
        InputError
            If there would be more than there may be.
        """
        slots = self.find(rows.names)
        new = slots < 0
        n_new, n_free = int(np.count_nonzero(new)), len(self._free)
        if n_new:
            self._check_bound(n_new)
            reused = self._free[n_free - min(n_new, n_free) :][::-1]
            top = self._count + n_free
            n_free -= len(reused)
            slots[new] = [*reused, *range(top, top + n_new - len(reused))]
            while top + n_new - len(reused) > len(self.columns.keys):
                self.columns = self._grown(next_size(len(self.columns.keys)))
        before = ColumnArrays(self.columns.values[slots], self.columns.keys[slots])
        return Placement(rows, slots, new, n_free, self._count + n_new, before)

    def put(self, placed: Placement) -> None:
        """Write rows where `place` found room; the caller holds the lock as a writer."""
        if np.count_nonzero(placed.new):
            self._enter(placed)
        for name, column in placed.rows.columns.items():
            self.schema.write(self.columns, name, column, placed.slots)

    def _enter(self, placed: Placement) -> None:
        """Write the ids of new rows, and the column that equals the id."""
        names, keys, slots, new = placed.rows.names, placed.rows.keys, placed.slots, placed.new
        for i in np.flatnonzero(new).tolist():
            slot = int(slots[i])
            self._slots[names[i]] = slot
            self._ids[slot // STEP][slot % STEP] = names[i]
        del self._free[placed.n_free :]
        self._count = placed.n_rows
        self.columns.keys[slots[new], 0] = keys[new]
        if self.knows_own_id:
            self.schema.write(self.columns, OWN_ID, keys[new], slots[new])

    def take_back(self, placed: Placement) -> None:
        """Undo a `put`; the caller holds the lock as a writer."""
        self.columns.values[placed.slots] = placed.before.values
        self.columns.keys[placed.slots] = placed.before.keys
        names = [name for name, is_new in zip(placed.rows.names, placed.new.tolist(), strict=True) if is_new]
        self.erase(Removal(names, placed.slots[placed.new], placed.n_free, placed.n_rows))

    def remove(self, ids: Ids) -> None:
        """Forget ids, many of them in parts as `upsert` writes them.

        Raises
        ------
        UnknownNodeError
            If the table does not hold one of them; nothing has changed then.
        """
        names = self.reader.read(ids, {})[0].names
        self.slots(names)
        for at in in_parts(len(names)):
            self._lock.write(self._remove, names[at])

    def removal(self, names: list[Id]) -> Removal:
        """Return what `erase` is to forget: those of the ids that are held; the caller holds the lock as a writer."""
        slots = self.find(names)
        held = [name for name, slot in zip(names, slots.tolist(), strict=True) if slot >= 0]
        return Removal(held, slots[slots >= 0], len(self._free), self._count)

    def erase(self, removal: Removal) -> None:
        """Forget rows; the caller holds the lock as a writer."""
        names, slots, n_free, n_rows = removal
        if self.told is not None:
            self.told(slots)
        for id_, slot in zip(names, slots.tolist(), strict=True):
            self._slots.discard(id_)
            self._ids[slot // STEP][slot % STEP] = None
        self._free[n_free:] = slots.tolist()
        self._count = n_rows - len(names)
        self.columns.values[slots] = np.nan
        self.columns.keys[slots] = MISSING_KEY

    def load(self, names: list[Id], rows: ColumnArrays) -> None:
        """Add rows as a snapshot has them; the caller holds the lock as a writer, and nobody else calls yet."""
        placed = self.place(Rows(names, rows.keys[:, 0], {}, {}))
        self.put(placed)
        self.columns.values[placed.slots], self.columns.keys[placed.slots] = rows

    def _upsert(self, rows: Rows) -> None:
        placed = self.place(rows)
        self._lock.commit(lambda: self.put(placed))

    def _remove(self, names: list[Id]) -> None:
        removal = self.removal(names)
        self._lock.commit(lambda: self.erase(removal))

    def holds_all(self, names: list[Id]) -> bool:
        """Return whether the table holds all of some ids, which may be anything."""
        try:
            return -1 not in self._slots.take_or(names, -1)
        except TypeError:  # not even hashable
            return False

    def holds(self, id_: object) -> bool:
        """Return whether the table holds an id, which may be anything."""
        try:
            return id_ in self
        except TypeError:  # not even hashable
            return False

    def _grown(self, n: int) -> ColumnArrays:
        """Return room for ``n`` rows in all."""
        while n > STEP * len(self._ids):
            self._ids.append([None] * STEP)
        return ColumnArrays(self._values.grow(n), self._keys.grow(n))

"""Ids and their columns by slot: what nodes and clients have in common."""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from scheduler.columns import Encoded, Id, Ids, Schema, id_keys, plain_list
from scheduler.errors import InputError, UnknownNodeError
from scheduler.gate import Gate
from scheduler.layout import MISSING_KEY, Entity

OWN_ID = "id"
"""A category column of this name, taken from the table of clients or nodes, is the id itself."""

FIRST_SLOTS = 64
"""Slots of an empty table; it doubles when they are used up."""


class Table:
    """Rows of typed columns under integer or string ids.

    Slots of removed ids are used again. Columns never set are missing, but for a category `OWN_ID`, which is the
    row's id unless it was set. Calls may come from several threads; whoever reads `columns` or `ids` meanwhile
    holds the lock.

    Parameters
    ----------
    schema
        The columns.
    what
        What a row is, for messages.
    lock
        Held while the table changes; by default one of its own.
    """

    def __init__(self, schema: Schema, what: str, lock: Gate | None = None) -> None:
        self.schema = schema
        self.what = what
        self.columns = _empty(schema, FIRST_SLOTS)
        self.ids: NDArray[np.object_] = np.full(FIRST_SLOTS, None)
        own = schema.columns.get(OWN_ID)
        self.knows_own_id = own is not None and own.type == "category" and own.source != "telemetry"
        self._lock = Gate() if lock is None else lock
        self._slots: dict[Id, int] = {}
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, id_: object) -> bool:
        return id_ in self._slots

    def __iter__(self) -> Iterator[Id]:
        with self._lock:
            return iter(list(self._slots))

    def slot(self, id_: Id) -> int | None:
        """Return the slot of an id, None where the table does not hold it."""
        return self._slots.get(id_)

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
            found = np.fromiter(map(self._slots.__getitem__, flat), np.int32, len(flat))
        except (KeyError, TypeError):
            unknown = next(id_ for id_ in flat if not self._holds(id_))
            message = f"{self.what}: expected some of the {len(self)} known, found {reprlib.repr(unknown)}"
            raise UnknownNodeError(message) from None
        return found.reshape(array.shape)

    def upsert(self, ids: Ids, columns: Mapping[str, object]) -> NDArray[np.int32]:
        """Add new ids and set columns of new and known ones; columns not named stay as they are.

        Parameters
        ----------
        ids
            (n,) distinct integers or strings.
        columns
            Raw values by column, each (n,), a vector (n, size).

        Returns
        -------
        (n,) int32 slots.

        Raises
        ------
        InputError
            If an id occurs twice or is missing, or a column is unknown, of a wrong length, type or range.
            Nothing has changed then.
        """
        names, keys = self._check_ids(ids)
        encoded = {name: self.schema.encode(name, raw, len(names)) for name, raw in columns.items()}
        own = Encoded(self.schema.codes(OWN_ID, keys)[:, None], keys) if self.knows_own_id else None
        with self._lock:
            new = np.fromiter((name not in self._slots for name in names), np.bool_, len(names))
            slots = np.fromiter(map(self._place, names), np.int32, len(names))
            self.columns.keys[slots, 0] = keys
            if own is not None:
                self._write(OWN_ID, own.take(new), slots[new])
            for name, column in encoded.items():
                self._write(name, column, slots)
        return slots

    def remove(self, ids: Ids) -> NDArray[np.int32]:
        """Forget ids and return the slots they had.

        Raises
        ------
        UnknownNodeError
            If the table does not hold one of them; nothing has changed then.
        """
        names, _ = self._check_ids(ids)
        with self._lock:
            slots = self.slots(names)
            for id_, slot in zip(names, slots.tolist(), strict=True):
                del self._slots[id_]
                self._free.append(slot)
            self.ids[slots] = None
            self.columns.values[slots] = np.nan
            self.columns.keys[slots] = MISSING_KEY
        return slots

    def _holds(self, id_: object) -> bool:
        try:
            return id_ in self._slots
        except TypeError:  # not even hashable
            return False

    def _check_ids(self, ids: Ids) -> tuple[list[Id], NDArray[np.uint64]]:
        names = plain_list(ids, self.what)
        keys = id_keys(names)
        if (keys == MISSING_KEY).any():
            message = f"{self.what}: expected ids, found a missing one at {int((keys == MISSING_KEY).argmax())}"
            raise InputError(message)
        if len(set(names)) != len(names):
            twice = Counter(names).most_common(1)[0][0]
            message = f"{self.what}: expected distinct ids, found {twice!r} twice"
            raise InputError(message)
        return names, keys

    def _place(self, id_: Id) -> int:
        slot = self._slots.get(id_)
        if slot is None:
            slot = self._free.pop() if self._free else len(self._slots)
            if slot >= len(self.ids):
                self._grow(2 * len(self.ids))
            self._slots[id_] = slot
            self.ids[slot] = id_
        return slot

    def _write(self, name: str, column: Encoded, slots: NDArray[np.int32]) -> None:
        at = self.schema.offsets[name]
        self.columns.values[slots, at : at + column.values.shape[1]] = column.values
        if column.keys is not None:
            self.columns.keys[slots, self.schema.key_columns[name]] = column.keys

    def _grow(self, n: int) -> None:
        bigger = _empty(self.schema, n)
        for new, old in zip(bigger, self.columns, strict=True):
            new[: len(old)] = old
        self.columns = bigger
        self.ids = np.append(self.ids, np.full(n - len(self.ids), None))


def _empty(schema: Schema, n: int) -> Entity:
    return Entity(np.full((n, schema.width), np.nan), np.zeros((n, schema.n_keys), np.uint64))

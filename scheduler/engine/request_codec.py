"""Requests as callers pass them, checked and turned into what kernels read: one at a time or many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.arrays import MISSING_KEY, ColumnArrays
from scheduler.columns.id_table import OWN_ID, IdTable
from scheduler.columns.ids import Id, id_key, id_keys, plain_list, remembered_key
from scheduler.columns.schema import ALL, Encoded, Schema
from scheduler.columns.values import names_of, plain
from scheduler.engine.arrays import RequestArrays
from scheduler.errors import InputError, shown

NO_SLOT = -1
"""In place of the slot of a client that the table does not hold."""


class Requests(NamedTuple):
    """What many requests carry: (n,) ids of clients, their keys, and columns ready for kernels by name."""

    ids: list[Id]
    keys: NDArray[np.uint64]
    columns: dict[str, Encoded]


class RequestBuffer:
    """Memory for one request; each thread has its own.

    Attributes
    ----------
    arrays
        What the kernel reads.
    values, keys, is_set
        The same memory as Python writes it: items of a memoryview are set several times faster than an array's.
    """

    def __init__(self, schema: Schema) -> None:
        width, n_keys = schema.width, schema.n_keys
        self.arrays = RequestArrays(np.empty(width), np.empty(n_keys, np.uint64), np.empty(width + n_keys, np.uint8))
        self.values: Any = self.arrays.values.data
        self.keys: Any = self.arrays.keys.data
        self.is_set: Any = self.arrays.is_set.data
        self._nothing = bytes(width + n_keys)

    def clear(self) -> None:
        """Make the request carry nothing."""
        self.is_set[:] = self._nothing


class RequestCodec:
    """The rules of a spec by which requests are read: the client's id, and columns in place of the client's own.

    Parameters
    ----------
    schema
        The columns of requests.
    client
        Name under which a request carries its client's id.
    """

    def __init__(self, schema: Schema, client: str) -> None:
        self._schema, self._client = schema, client
        kinds = {name: column.type for name, column in schema.columns.items()}
        self._numbers = {
            name: (schema.offsets[name], schema.rules[name].one) for name, kind in kinds.items() if kind == "number"
        }
        self._vectors = {name for name, kind in kinds.items() if kind == "vector"}
        self._keys, self._first_key = schema.key_columns, schema.width

    def write(self, request: object, clients: IdTable, buffer: RequestBuffer) -> int:
        """Write what one request carries, and return the slot of its client, `NO_SLOT` if ``clients`` lacks it.

        Raises
        ------
        InputError
            If the client's id or a value is missing or wrong, or a column is unknown. The buffer may hold anything
            then.
        """
        carried = request if type(request) is dict and self._client in request else self._mapping(request)
        id_ = carried[self._client]
        if type(id_) is not int and type(id_) is not str:
            id_ = self._plain_id(id_)
        buffer.clear()
        slot = clients.slot(id_)
        if slot is None:
            slot = NO_SLOT
            self._write_unknown_client(id_, clients, buffer)
        values, is_set = buffer.values, buffer.is_set
        for name, value in carried.items():
            if number := self._numbers.get(name):
                at, one = number
                values[at] = one(value)
                is_set[at] = 1
            elif name in self._keys:
                self._write_key(self._keys[name], value, buffer)
            elif name in self._vectors:
                self._write_vector(name, value, buffer)
            elif name != self._client:
                raise self._schema.unknown(name)
        return slot

    def rows(self, requests: object, clients: IdTable) -> ColumnArrays:
        """Return many requests as kernels read them: what is known of their clients, and over it what they carry.

        Raises as `read`.
        """
        return self.known_rows(self.read(requests), ALL, clients)

    def read(self, requests: object) -> Requests:
        """Return what many requests carry.

        Parameters
        ----------
        requests
            Columns by name, each (n,); the client's id among them.

        Raises
        ------
        InputError
            As `write`, and if columns differ in length.
        """
        carried = self._mapping(requests)
        ids = plain_list(carried[self._client], f"request {self._client!r}")
        keys = id_keys(ids)
        if (keys == MISSING_KEY).any():
            raise self._without_id()
        columns = {
            name: self._schema.encode(name, raw, len(ids))
            for name, raw in carried.items()
            if name != self._client or name in self._schema.columns
        }
        return Requests(ids, keys, columns)

    def known_rows(self, requests: Requests, at: slice, clients: IdTable) -> ColumnArrays:
        """Return some of many requests as kernels read them; ``clients`` is what is known of clients."""
        ids, keys = requests.ids[at], requests.keys[at]
        slots = np.array([NO_SLOT if (slot := clients.slot(id_)) is None else slot for id_ in ids], np.int32)
        rows = ColumnArrays(clients.columns.values[slots], clients.columns.keys[slots])  # copies
        unknown = slots < 0
        rows.values[unknown] = np.nan
        rows.keys[unknown] = MISSING_KEY
        rows.keys[:, 0] = keys
        if clients.knows_own_id:
            rows.keys[unknown, self._keys[OWN_ID]] = keys[unknown]
        for name, column in requests.columns.items():
            self._schema.write(rows, name, column[at])
        return rows

    def client_of(self, request: Mapping[str, Any]) -> Any:  # noqa: ANN401 - as callers pass it
        """Return what a request, or many, name the client by."""
        return request[self._client]

    def _mapping(self, request: object) -> Mapping[str, Any]:
        if isinstance(request, Mapping) and self._client in request:
            return request
        found = names_of(request) if isinstance(request, Mapping) else shown(request)
        message = f"request: expected the client's id as {self._client!r}, found only {found or 'nothing'}"
        raise InputError(message)

    def _plain_id(self, id_: object) -> Id:
        """Return an id of another type than Python's integers and texts as one of these."""
        if id_key(id_) == MISSING_KEY:
            raise self._without_id()
        return cast(Id, plain(id_))

    def _without_id(self) -> InputError:
        return InputError(f"request {self._client!r}: expected an id, found a missing one")

    def _write_unknown_client(self, id_: Id, clients: IdTable, buffer: RequestBuffer) -> None:
        """Write the id of a client that the table does not hold, and the column that equals the id."""
        for column in (0, self._keys[OWN_ID]) if clients.knows_own_id else (0,):
            self._write_key(column, id_, buffer)

    def _write_key(self, column: int, value: object, buffer: RequestBuffer) -> None:
        is_plain = type(value) is int or type(value) is str
        buffer.keys[column] = remembered_key(value) if is_plain else id_key(value)
        buffer.is_set[self._first_key + column] = 1

    def _write_vector(self, name: str, value: object, buffer: RequestBuffer) -> None:
        at, size = self._schema.offsets[name], self._schema.columns[name].size
        buffer.values[at : at + size] = self._schema.rules[name].vector(value, size).data
        buffer.is_set[at : at + size] = b"\1" * size

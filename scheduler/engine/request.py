"""What callers pass in, checked and turned into what kernels read; nothing here changes any state."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.arrays import MISSING_KEY, ColumnArrays
from scheduler.columns.id_table import OWN_ID, IdTable
from scheduler.columns.ids import as_numbers, id_keys, plain_list
from scheduler.columns.schema import Schema
from scheduler.engine.arrays import RequestArrays
from scheduler.errors import InputError
from scheduler.retrieval.arrays import BLOCKED_COLUMN, BLOCKED_KEY, NO_BLOCKLIST

LAST_TIME = 1e15
"""Seconds either side of 0: 30 million years. Beyond, float64 no longer tells seconds apart."""


def check_time(now: object) -> float:
    """Return a time in seconds; raise `InputError` unless it is a number up to `LAST_TIME`."""
    if isinstance(now, np.generic):
        now = now.item()
    if isinstance(now, float | int) and -LAST_TIME <= now <= LAST_TIME:  # false for NaN too
        return float(now)
    message = f"now: expected a finite time in seconds, found {reprlib.repr(now)}"
    raise InputError(message)


def check_times(now: object, n: int) -> NDArray[np.float64]:
    """Return (n,) times from one or ``n``; raise `InputError` unless all are numbers up to `LAST_TIME`."""
    times = as_numbers(now, "now")
    if times.shape not in ((), (n,)) or not (np.abs(times) <= LAST_TIME).all():
        message = f"now: expected one or {n} finite times in seconds, found {reprlib.repr(now)}"
        raise InputError(message)
    out = np.empty(n)
    out[:] = times
    return out


def column_of_one(values: object, what: str) -> dict[str, list[object]]:
    """Return columns of one row from single values by name; ``what`` names them in messages.

    Raises
    ------
    InputError
        If they come in no mapping.
    """
    if not isinstance(values, Mapping):
        message = f"{what}: expected values by name, found {reprlib.repr(values)}"
        raise InputError(message)
    return {name: [value] for name, value in values.items()}


def request_rows(requests: object, client: str, clients: IdTable) -> ColumnArrays:
    """Return requests as kernels read them: what is known of their clients, and over it what they carry.

    Parameters
    ----------
    requests
        Columns by name, each (n,); the client's id under ``client``.
    clients
        What is known of clients.

    Raises
    ------
    InputError
        If the client's id or a value is missing or wrong, or a column is unknown.
    """
    if not isinstance(requests, Mapping) or client not in requests:
        found = ", ".join(map(str, requests)) if isinstance(requests, Mapping) else reprlib.repr(requests)
        message = f"request: expected the client's id as {client!r}, found only {found or 'nothing'}"
        raise InputError(message)
    names = plain_list(requests[client], f"request {client!r}")
    keys = id_keys(names)
    if (keys == MISSING_KEY).any():
        message = f"request {client!r}: expected ids, found a missing one"
        raise InputError(message)
    known = [clients.slot(id_) for id_ in names]
    slots = np.array([-1 if slot is None else slot for slot in known], np.int32)
    entity = ColumnArrays(clients.columns.values[slots], clients.columns.keys[slots])  # copies
    entity.values[slots < 0] = np.nan
    entity.keys[slots < 0] = MISSING_KEY
    entity.keys[:, 0] = keys
    if clients.knows_own_id and (slots < 0).any():
        _fill_unknown_clients(entity, clients.schema, slots < 0)
    for name, raw in requests.items():
        if name != client or name in clients.schema.columns:
            _lay_over(entity, clients.schema, name, raw)
    return entity


def _fill_unknown_clients(entity: ColumnArrays, schema: Schema, unknown: NDArray[np.bool_]) -> None:
    """Write the column that is the client's id for clients that the table does not hold."""
    keys = entity.keys[unknown, 0]
    entity.values[unknown, schema.offsets[OWN_ID]] = schema.codes(OWN_ID, keys)
    entity.keys[unknown, schema.key_columns[OWN_ID]] = keys


def _lay_over(entity: ColumnArrays, schema: Schema, name: str, raw: object) -> None:
    """Write a column of all requests."""
    column = schema.encode(name, raw, len(entity.keys))
    at = schema.offsets[name]
    entity.values[:, at : at + column.values.shape[1]] = column.values
    if column.keys is not None:
        entity.keys[:, schema.key_columns[name]] = column.keys


def candidate_slots(candidates: object, nodes: IdTable, n: int) -> NDArray[np.int32]:
    """Return the slots of ``n`` requests' candidates, -1 where an object array is padded with None.

    Raises
    ------
    InputError
        If there are not ``n`` rows of one length, or a row holds an id twice.
    UnknownNodeError
        If an id is not held.
    """
    try:
        rows = candidates if isinstance(candidates, np.ndarray) else np.array(candidates, dtype=object)
    except ValueError:  # ragged
        rows = np.array(None)
    if rows.ndim != 2 or len(rows) != n or rows.dtype.kind not in "iuUO":  # noqa: PLR2004
        found = f"{rows.dtype} of {rows.shape}" if rows.ndim else reprlib.repr(candidates)
        message = f"candidates: expected ids of shape ({n}, n_candidates), found {found}"
        raise InputError(message)
    if rows.dtype.kind != "O":
        slots = nodes.slots(rows)
    else:
        slots = np.full(rows.shape, -1, np.int32)
        given = np.not_equal(rows, np.array(None))
        slots[given] = nodes.slots(rows[given])
    ordered = np.sort(slots, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    if twice.any():
        message = f"candidates: expected distinct ids, found {nodes.id_at(ordered[:, 1:][twice][0])!r} twice"
        raise InputError(message)
    return slots


def read_blocklist(exclude: object, block: object, nodes: Schema, n: int) -> NDArray[np.uint64]:
    """Return what ``n`` requests do not want, as `BAR_COLUMN` says.

    Parameters
    ----------
    exclude
        For each request its node ids, None for none. The fleet need not hold them: a node may have left since.
    block
        The same by category column of nodes.

    Raises
    ------
    InputError
        If there are not ``n`` rows, a column is no category of nodes, or a value is neither integer nor text.
    """
    columns = {} if exclude is None else {"exclude": (0, exclude)}
    if not isinstance(block, Mapping | None):
        message = f"block: expected values by node column, found {reprlib.repr(block)}"
        raise InputError(message)
    for name, rows in (block or {}).items():
        if name not in nodes.blockable:
            message = f"block: expected one of {', '.join(nodes.blockable) or '(none)'}, found {name!r}"
            raise InputError(message)
        columns[f"block {name!r}"] = (nodes.blockable[name], rows)
    parts = [_bar_rows(what, column, rows, n) for what, (column, rows) in columns.items()]
    return np.concatenate(parts, axis=1) if parts else NO_BLOCKLIST


def _bar_rows(what: str, column: int, rows: object, n: int) -> NDArray[np.uint64]:
    """Return (n, longest row, 2) bars of one column."""
    if isinstance(rows, np.ndarray):
        rows = list(np.atleast_1d(rows))
    if not isinstance(rows, Sequence) or len(rows) != n:
        message = f"{what}: expected {n} rows, found {reprlib.repr(rows)}"
        raise InputError(message)
    keys = [id_keys(plain_list([] if row is None else row, what)) for row in rows]
    blocklist = np.zeros((n, max(map(len, keys), default=0), 2), np.uint64)
    blocklist[:, :, BLOCKED_COLUMN] = column
    for i, row in enumerate(keys):
        blocklist[i, : len(row), BLOCKED_KEY] = row
    return blocklist


_NO_SLOT = -1


class RequestBuffer:
    """Room for one request.

    Attributes
    ----------
    arrays
        What the kernel reads.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema, self._width = schema, schema.width
        self._numbers = {
            name: (schema.offsets[name], *schema.bounds[name])
            for name, column in schema.columns.items()
            if column.type != "category" and column.size == 1
        }
        self._categories = {name: (schema.offsets[name], key) for name, key in schema.key_columns.items()}
        n_keys = schema.n_keys
        self.arrays = RequestArrays(
            np.empty(self._width), np.empty(n_keys, np.uint64), np.empty(self._width + n_keys, np.uint8)
        )
        # Items of a memoryview are set several times faster than an array's.
        self._values: Any = self.arrays.values.data
        self._keys: Any = self.arrays.keys.data
        self._carried = self.arrays.carried.data
        self._nothing = bytes(self._width + n_keys)

    def write(self, request: object, client: str, clients: IdTable) -> int:
        """Write a dict of Python numbers and texts and return its client's slot; -1 for any other, or a stranger's.

        ``client`` is the name of the client's id; ``clients`` are of this question's schema. After -1 anything may have
        been written.
        """
        if type(request) is not dict:
            return _NO_SLOT
        id_ = request.get(client)
        slot = clients.slot(id_) if type(id_) is int or type(id_) is str else None
        if slot is None:
            return _NO_SLOT
        values, carried = self._values, self._carried
        carried[:] = self._nothing
        for name, value in request.items():
            kind = type(value)
            if number := self._numbers.get(name):
                at, low, high = number
                if (kind is not float and kind is not int) or not low <= value <= high:
                    return _NO_SLOT
                values[at] = value
                carried[at] = 1
            elif (category := self._categories.get(name)) and (kind is int or kind is str):
                at, key = category
                try:
                    values[at], self._keys[key] = self._schema.encode_one(name, value)
                except InputError:  # the way of batches says which
                    return _NO_SLOT
                carried[at] = carried[self._width + key] = 1
            elif name != client:
                return _NO_SLOT
        return slot

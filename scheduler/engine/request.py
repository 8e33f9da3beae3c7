"""What callers pass in, checked and turned into what kernels read; nothing here changes any state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.arrays import MISSING_KEY
from scheduler.columns.id_table import IdTable
from scheduler.columns.ids import id_keys, plain_list
from scheduler.columns.values import as_mapping, is_single, items_of, plain
from scheduler.errors import InputError, shown
from scheduler.retrieval.arrays import BLOCKED_COLUMN, BLOCKED_KEY, NO_BLOCKLIST

LAST_TIME = 1e15
"""Seconds either side of 0: 30 million years. Beyond, float64 no longer tells seconds apart."""


def check_time(now: object) -> float:
    """Return a time in seconds; raise `InputError` unless it is a number up to `LAST_TIME`."""
    if type(now) is float and -LAST_TIME <= now <= LAST_TIME:
        return now
    now = plain(now)
    if isinstance(now, float | int) and -LAST_TIME <= now <= LAST_TIME:  # false for NaN too
        return float(now)
    message = f"now: expected a finite time in seconds, found {shown(now)}"
    raise InputError(message)


def check_times(now: object, n: int) -> NDArray[np.float64]:
    """Return (n,) times from one or ``n``; raise `InputError` unless all are numbers up to `LAST_TIME`."""
    if is_single(now):
        return np.full(n, check_time(now[()] if isinstance(now, np.ndarray) else now))
    if isinstance(now, np.ndarray) and now.dtype == np.float64 and now.shape == (n,) and (abs(now) <= LAST_TIME).all():
        return now.copy()
    return np.array([check_time(one) for one in items_of(now, n, "now")])


def column_of_one(values: object, what: str) -> dict[str, list[object]]:
    """Return columns of one row from single values by name; ``what`` names them in messages.

    Raises
    ------
    InputError
        If they come in no mapping.
    """
    return {name: [value] for name, value in as_mapping(values, what).items()}


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
        found = f"{rows.dtype} of {rows.shape}" if rows.ndim else shown(candidates)
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


def read_blocklist(exclude: object, block: object, nodes: IdTable, n: int) -> NDArray[np.uint64]:
    """Return what ``n`` requests do not want, as `BLOCKED_COLUMN` says.

    Parameters
    ----------
    exclude
        For each request its node ids, None for none. The fleet need not hold them: a node may have left since. Those
        that it does not hold exclude nobody, whatever their keys.
    block
        The same by category column of nodes.

    Raises
    ------
    InputError
        If there are not ``n`` rows, a column is no category of nodes, or a value is neither integer nor text.
    """
    columns = {} if exclude is None else {"exclude": (0, exclude)}
    if not isinstance(block, Mapping | None):
        message = f"block: expected values by node column, found {shown(block)}"
        raise InputError(message)
    for name, rows in (block or {}).items():
        if name not in nodes.schema.blockable:
            message = f"block: expected one of {', '.join(nodes.schema.blockable) or '(none)'}, found {shown(name)}"
            raise InputError(message)
        columns[f"block {name!r}"] = (nodes.schema.blockable[name], rows)
    parts = [_block_rows(what, column, rows, n, nodes) for what, (column, rows) in columns.items()]
    return np.concatenate(parts, axis=1) if parts else NO_BLOCKLIST


def _block_rows(what: str, column: int, rows: object, n: int, nodes: IdTable) -> NDArray[np.uint64]:
    """Return (n, longest row, 2) blocks of one column; column 0 is the ids of nodes."""
    if isinstance(rows, np.ndarray):
        rows = list(np.atleast_1d(rows))
    if not isinstance(rows, Sequence) or len(rows) != n:
        message = f"{what}: expected {n} rows, found {shown(rows)}"
        raise InputError(message)
    items = [plain_list([] if row is None else row, what) for row in rows]
    keys = [id_keys(row) for row in items]
    if column == 0:
        for ids, found in zip(items, keys, strict=True):
            found[nodes.find(ids) < 0] = MISSING_KEY
    blocklist = np.zeros((n, max(map(len, keys), default=0), 2), np.uint64)
    blocklist[:, :, BLOCKED_COLUMN] = column
    for i, row in enumerate(keys):
        blocklist[i, : len(row), BLOCKED_KEY] = row
    return blocklist

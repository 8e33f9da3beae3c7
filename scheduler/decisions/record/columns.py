"""Columns of records: arrays, texts and lists of these, joined and cut."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray


class Ragged(NamedTuple):
    """A list in each row: (n + 1,) int32 starts, and the values of all, (k,), (k, width) or k texts."""

    starts: NDArray[np.int32]
    values: NDArray[Any] | list[str]

    def row(self, i: int) -> Any:  # noqa: ANN401 - an array or a list
        """Return the list of row ``i``."""
        return self.values[self.starts[i] : self.starts[i + 1]]


Column: TypeAlias = "NDArray[Any] | list[str] | Ragged"
"""(n,) numbers, (n, width) numbers, n texts, or n lists."""

Columns: TypeAlias = "dict[str, Column]"

Kind: TypeAlias = "tuple[str | int, ...]"
"""What a column holds: ``("float64",)``, ``("float64", width)``, ``("text",)``, or ``("list", ...)`` of one of them."""

TEXT, LIST = "text", "list"


def n_rows(columns: Columns) -> int:
    """Return how many rows columns have."""
    column = next(iter(columns.values()))
    return len(column.starts) - 1 if isinstance(column, Ragged) else len(column)


def n_bytes(columns: Columns) -> int:
    """Return about how much memory columns take."""
    return sum(_size(column) for column in columns.values())


def _size(column: Column) -> int:
    if isinstance(column, Ragged):
        return column.starts.nbytes + _size(column.values)
    return column.nbytes if isinstance(column, np.ndarray) else 64 * len(column)


def kind_of(column: Column) -> Kind:
    """Return what a column holds."""
    if isinstance(column, Ragged):
        return (LIST, *kind_of(column.values))
    if isinstance(column, list):
        return (TEXT,)
    return (str(column.dtype), *column.shape[1:])


def kinds_of(columns: Columns) -> dict[str, Kind]:
    """Return what each column holds."""
    return {name: kind_of(column) for name, column in columns.items()}


def fitted(columns: Columns, kinds: dict[str, Kind]) -> Columns | None:
    """Return columns padded to the widths of some kinds; None where they do not fit."""
    found: Columns = {}
    for name, column in columns.items():
        kind, wanted = kind_of(column), kinds.get(name, ())
        if isinstance(column, np.ndarray) and len(kind) == len(wanted) == 2 and column.shape[1] < int(wanted[1]):  # noqa: PLR2004
            found[name] = padded(column, int(wanted[1]))
        elif kind == wanted:
            found[name] = column
        else:
            return None
    return found


def starts_of(counts: NDArray[np.integer] | Sequence[int]) -> NDArray[np.int32]:
    """Return the (n + 1,) starts of n lists from their lengths."""
    starts = np.zeros(len(counts) + 1, np.int32)
    np.cumsum(counts, out=starts[1:])
    return starts


def ragged(rows: Sequence[NDArray[Any]] | Sequence[list[str]]) -> Ragged:
    """Return lists as a column; there is at least one."""
    starts = starts_of([len(row) for row in rows])
    if isinstance(rows[0], list):
        return Ragged(starts, list(chain.from_iterable(rows)))
    return Ragged(starts, np.concatenate(rows))


def joined(parts: Sequence[Columns]) -> Columns:
    """Return the rows of several parts one after another; narrow rows are padded to the widest, see `padded`."""
    return {name: _joined([part[name] for part in parts]) for name in parts[0]}


def _joined(columns: Sequence[Any]) -> Column:
    if len(columns) == 1:
        return columns[0]
    if isinstance(columns[0], Ragged):
        sizes = np.concatenate([np.diff(column.starts) for column in columns])
        values: Any = _joined([column.values for column in columns])
        return Ragged(starts_of(sizes), values)
    if isinstance(columns[0], list):
        return list(chain.from_iterable(columns))
    if columns[0].ndim > 1:
        width = max(column.shape[1] for column in columns)
        columns = [padded(column, width) for column in columns]
    return np.concatenate(columns)


def padded(column: NDArray[Any], width: int) -> NDArray[Any]:
    """Return rows that are ``width`` wide, filled up with NaN, 0 or -1 for float, unsigned and signed numbers."""
    if column.shape[1] == width:
        return column
    fill = {"f": np.nan, "u": 0}.get(column.dtype.kind, -1)
    wide = np.full((len(column), width), fill, column.dtype)
    wide[:, : column.shape[1]] = column
    return wide


def cut(columns: Columns, first: int, end: int) -> Columns:
    """Return some consecutive rows."""
    return {name: _cut(column, first, end) for name, column in columns.items()}


def _cut(column: Any, first: int, end: int) -> Column:  # noqa: ANN401 - of any kind
    if isinstance(column, Ragged):
        starts = column.starts[first : end + 1]
        return Ragged(starts - starts[0], column.values[starts[0] : starts[-1]])
    return column[first:end]


def some_rows(columns: Columns, which: NDArray[np.int64]) -> Columns:
    """Return some rows of columns, by their numbers."""
    return {name: _taken(column, which) for name, column in columns.items()}


def _taken(column: Any, which: NDArray[np.int64]) -> Column:  # noqa: ANN401 - of any kind
    if isinstance(column, list):
        return [column[i] for i in which.tolist()]
    if not isinstance(column, Ragged):
        return column[which]
    counts = np.diff(column.starts)[which]
    starts = starts_of(counts)
    at = np.repeat(column.starts[which] - starts[:-1], counts) + np.arange(starts[-1])
    values: Any = _taken(column.values, at)
    return Ragged(starts, values)

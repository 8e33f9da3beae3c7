"""What comes out of a telemetry directory: plain arrays, one entry a row, and two tables of entities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.ids import Id


class Categories(NamedTuple):
    """A category column: (n,) int32 codes into the distinct raw values, -1 where there was none."""

    codes: NDArray[np.int32]
    values: tuple[Id, ...]

    def take(self, rows: slice | NDArray[Any]) -> Categories:
        """Return the column at some rows; the codes keep their meaning."""
        return Categories(self.codes[rows], self.values)

    def recoded(self, places: Mapping[Id, int]) -> NDArray[np.int32]:
        """Return the codes with which another column of these values names them."""
        return np.array([*(places[value] for value in self.values), -1], np.int32)[self.codes]

    def raw(self) -> list[Id | None]:
        """Return the raw values, None where there was none."""
        return [None if code < 0 else self.values[code] for code in self.codes.tolist()]


Columns: TypeAlias = dict[str, "NDArray[np.float64] | Categories"]
"""Columns by name: numbers as (n,) float64 with NaN for null, vectors as (n, size), categories."""


def at_rows(column: NDArray[np.float64] | Categories, rows: slice | NDArray[Any]) -> NDArray[np.float64] | Categories:
    """Return a column at some rows."""
    return column.take(rows) if isinstance(column, Categories) else column[rows]


def concatenated(parts: Sequence[Columns]) -> Columns:
    """Return columns of the same tables one after the other: the codes of a category mean the same in all parts."""
    return {name: _joined([part[name] for part in parts]) for name in parts[0]}


def _joined(parts: Sequence[NDArray[np.float64] | Categories]) -> NDArray[np.float64] | Categories:
    if isinstance(parts[0], Categories):
        codes = [part.codes for part in parts if isinstance(part, Categories)]
        return Categories(np.concatenate(codes), parts[0].values)
    return np.concatenate([part for part in parts if not isinstance(part, Categories)])


@dataclass(frozen=True, kw_only=True)
class Entities:
    """A table of clients or nodes.

    ``ids`` are (n,) int64 or an object array of strings, in the file's order; ``columns`` are those the spec
    takes from this table.
    """

    ids: NDArray[Any]
    columns: Columns

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, kw_only=True)
class Telemetry:
    """Accepted rows, sorted by time, slice, client and node; rows equal in all four keep the files' order.

    Attributes
    ----------
    time
        (n,) float64 seconds: when the decision was made. Epoch seconds where the column holds dates.
    arrival
        (n,) float64 seconds: when the outcome was known, never before ``time``. Infinite where nobody ever learned it,
        such as that of a timeout: the row is a target, and no history or policy may learn from it.
    slice
        (n,) int32.
    client, node
        (n,) int32 positions in ``clients`` and ``nodes``.
    ok
        (n,) bool.
    outcomes
        (n,) float32 each, NaN where not measured: the spec's outcomes, ``failed`` (0 or 1) and ``cost``.
    request, node_state
        The request's and the node's columns that the telemetry itself holds, as of the decision.
    clients, nodes
        The two tables.
    rejected
        How many rows each rule rejected; a row that breaks two rules counts twice. Rules without such rows are
        left out.
    n_read
        How many rows were looked at; ``len`` of the telemetry is how many were accepted.
    propensity
        (n,) float64 probabilities with which the logging scheduler drew the nodes, NaN where unknown; None without the
        column.
    slice_seconds
        How long a slice lasts, see `training.telemetry.units.slice_seconds`; None for as long as the spec says.
    cold_shares
        Shares of nodes and clients that were left out on purpose, as a manifest's window names them.
    """

    time: NDArray[np.float64]
    arrival: NDArray[np.float64]
    slice: NDArray[np.int32]
    client: NDArray[np.int32]
    node: NDArray[np.int32]
    ok: NDArray[np.bool_]
    outcomes: dict[str, NDArray[np.float32]]
    request: Columns
    node_state: Columns
    clients: Entities
    nodes: Entities
    rejected: dict[str, int]
    n_read: int
    propensity: NDArray[np.float64] | None = None
    slice_seconds: float | None = None
    cold_shares: dict[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.time)

    def where(self, keep: NDArray[np.bool_]) -> Telemetry:
        """Return the rows to keep; without copying where they are the first ones, as they mostly are."""
        n = int(keep.sum())
        rows: slice | NDArray[np.bool_] = slice(n) if keep[:n].all() else keep
        columns = ("time", "arrival", "slice", "client", "node", "ok")
        return replace(
            self,
            **{name: getattr(self, name)[rows] for name in columns},
            outcomes={name: values[rows] for name, values in self.outcomes.items()},
            request={name: at_rows(c, rows) for name, c in self.request.items()},
            node_state={name: at_rows(c, rows) for name, c in self.node_state.items()},
            propensity=None if self.propensity is None else self.propensity[rows],
        )

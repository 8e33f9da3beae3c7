"""The decision log of a snapshot, to which records add decisions and outcomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.arrays import MISSING_KEY
from scheduler.decisions.arrays import ANSWERED, FIRST_ID, FIRST_NUMBER, N_LEARNED, N_OUTCOMES, NEXT, OPEN, SPARE

Rows: TypeAlias = "dict[str, NDArray[Any]]"
"""Columns of numbers by name."""

_BY_PLACE = ("node_keys", "state", "held")


@dataclass
class LogColumns:
    """Decisions that are remembered, in the order of their numbers.

    Attributes
    ----------
    size
        How many may be remembered.
    number
        (n,) int64.
    rows
        Columns of `scheduler.decisions.arrays.DecisionLog` by name, (n, ...); those by place (n, places, ...).
    first_new
        Id of the first decision that the last `add` could have added.
    """

    size: int
    number: NDArray[np.int64]
    rows: Rows
    first_new: int = 0

    @classmethod
    def of(cls, columns: Rows) -> Self:
        """Return the log of a snapshot without the decisions that were made while it was written."""
        counters, ids = columns["log.counters"], columns["log.id"]
        size, last = len(ids), int(counters[NEXT]) - 1
        number = last - (last - np.arange(size)) % size
        known = np.flatnonzero((ids >= 0) & (ids < _next_id(counters)) & (number >= 0))
        order = known[np.argsort(number[known])]
        names = ("id", "time", "length", "request_keys", "node_keys", "state", "held")
        return cls(size, number[order], {name: columns[f"log.{name}"][order] for name in names})

    def add(self, decisions: Rows, counters: NDArray[np.int64]) -> int:
        """Add decisions that the log does not know, raise the next number, and return how many were added."""
        ids = decisions["id"]
        self.first_new = _next_id(counters)
        new = ids >= self.first_new
        if not new.any():
            return 0
        rows = _log_rows({name: column[new] for name, column in decisions.items()}, self.rows)
        places = max(rows["state"].shape[1], self.rows["state"].shape[1])
        old, rows = (_widened(part, places) for part in (self.rows, rows))
        number = rows["id"] - counters[FIRST_ID] + counters[FIRST_NUMBER]
        self.rows = {name: np.concatenate([old[name], rows[name]]) for name in old}
        self.number = np.concatenate([self.number, number])
        counters[NEXT] = number[-1] + 1
        return int(new.sum())

    def answer(self, decision: NDArray[np.int64], keys: NDArray[np.uint64]) -> None:
        """Close the places of (n,) decisions whose node has one of (n,) keys, and end what is reserved for them."""
        order = np.argsort(self.rows["id"])
        at = np.searchsorted(self.rows["id"][order], decision)
        at = order[np.minimum(at, len(order) - 1)] if len(order) else at
        known = self.rows["id"][at] == decision if len(order) else np.zeros(len(decision), np.bool_)
        at, keys = at[known], keys[known]
        is_place = (self.rows["node_keys"][at, :, 0] == keys[:, None]) & (self.rows["state"][at] != 0)
        found = is_place.any(axis=1)
        place = is_place.argmax(axis=1)
        self.rows["state"][at[found], place[found]] = ANSWERED
        self.rows["held"][at[found], place[found]] = 0.0

    def forget(self, counters: NDArray[np.int64]) -> int:
        """Forget decisions whose row a later one has taken, and return how many of their places were open."""
        stays = self.number >= counters[NEXT] - self.size
        n_open = int((self.rows["state"][~stays] == OPEN).sum())
        self.number = self.number[stays]
        self.rows = {name: column[stays] for name, column in self.rows.items()}
        return n_open

    def unknown(self, decisions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which decisions are not remembered."""
        return ~np.isin(decisions, self.rows["id"])

    def columns(self) -> Rows:
        """Return the columns as a snapshot has them."""
        out: Rows = {}
        for name, column in self.rows.items():
            out[f"log.{name}"] = np.zeros((self.size, *column.shape[1:]), column.dtype)
            out[f"log.{name}"][self.number % self.size] = column
        ids = np.full(self.size, -1, np.int64)
        ids[self.number % self.size] = self.rows["id"]
        return out | {"log.id": ids}


def _next_id(counters: NDArray[np.int64]) -> int:
    return int(counters[FIRST_ID] + counters[NEXT] - counters[FIRST_NUMBER])


def _log_rows(decisions: Rows, like: Rows) -> Rows:
    """Return recorded decisions as the log has them: alternatives follow the slate, and nothing is reserved."""
    n, n_keys = len(decisions["id"]), like["node_keys"].shape[2]
    keys = decisions["node_keys"].reshape(n, -1, n_keys)
    holds = keys[:, :, 0] != MISSING_KEY
    order = np.argsort(~holds, axis=1, kind="stable")
    place = np.arange(keys.shape[1])
    length = decisions["n_slate"].astype(np.int32)
    state = np.where(place < length[:, None], OPEN, SPARE) * (place < holds.sum(axis=1)[:, None])
    return {
        "id": decisions["id"],
        "time": decisions["time"],
        "length": length,
        "request_keys": decisions["request_keys"],
        "node_keys": np.take_along_axis(keys, order[:, :, None], axis=1),
        "state": state.astype(np.int8),
        "held": np.zeros(state.shape),
    }


def _widened(rows: Rows, places: int) -> Rows:
    """Return rows with room for so many nodes each."""
    more = places - rows["state"].shape[1]
    if not more:
        return rows
    return rows | {
        name: np.pad(rows[name], [(0, 0), (0, more), *[(0, 0)] * (rows[name].ndim - 2)]) for name in _BY_PLACE
    }


def with_answers(columns: Rows) -> Rows:
    """Return the columns of a snapshot with the outcomes that were told while it was written."""
    if "answered.id" not in columns:
        return columns
    log, id_, node = LogColumns.of(columns), columns["answered.id"], columns["answered.node"]
    log.answer(id_, node)
    counters, other = columns["log.counters"].copy(), log.unknown(id_)
    counters[[N_OUTCOMES, N_LEARNED]] = columns["answered.counters"]
    seen = {
        "seen.id": np.append(columns["seen.id"], id_[other]),
        "seen.node": np.append(columns["seen.node"], node[other]),
    }
    return columns | log.columns() | seen | {"log.counters": counters}

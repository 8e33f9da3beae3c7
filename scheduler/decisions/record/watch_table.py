"""The chosen nodes that are waited for, as columns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.decisions.record.watch_totals import Groups

(IN_TIME, LATE, AGAIN, UNWATCHED) = range(4)
"""Verdicts on outcomes: the first of its node, within the window; the first, after the timeout; not the first; of a
decision or node that is not watched: one outside the slate, one that nobody told of yet, or one too long ago."""

(OPEN, ANSWERED, TIMED_OUT) = range(3)
"""States of a chosen node."""


class WatchTable(NamedTuple):
    """Chosen nodes by id of their decision, those of one decision side by side in the order of their places.

    Attributes
    ----------
    id
        (n,) int64.
    deadline, until
        (n,) float64, end of the window, and when the node is watched no more, in seconds.
    version, workload, carrier
        (n,) int16, see `Groups`.
    state
        (n,) uint8, see `OPEN`.
    predicted
        (n, n_heads) float32.
    """

    id: NDArray[np.int64]
    deadline: NDArray[np.float64]
    until: NDArray[np.float64]
    version: NDArray[np.int16]
    workload: NDArray[np.int16]
    carrier: NDArray[np.int16]
    state: NDArray[np.uint8]
    predicted: NDArray[np.float32]

    @classmethod
    def empty(cls, n_heads: int) -> WatchTable:
        """Return a table without rows."""
        numbers = (np.int64, np.float64, np.float64, np.int16, np.int16, np.int16, np.uint8)
        return cls._make([*(np.empty(0, kind) for kind in numbers), np.empty((0, n_heads), np.float32)])

    def at(self, rows: NDArray[np.intp] | NDArray[np.bool_] | slice) -> WatchTable:
        """Return copies of some rows."""
        return WatchTable._make(array[rows].copy() for array in self)

    def with_rows(self, new: WatchTable) -> WatchTable:
        """Return the table with further rows; only those of no smaller id than a new one are sorted anew."""
        if not new.id.size:
            return self
        pairs: Iterable[Any] = zip(self, new, strict=True)
        joined = WatchTable._make(map(np.concatenate, pairs))
        first = np.searchsorted(self.id, new.id.min())
        order = np.argsort(joined.id[first:], kind="stable")
        for array in joined:
            array[first:] = array[first:][order]
        return joined

    def groups(self, rows: NDArray[np.intp]) -> Groups:
        """Return to which totals rows belong."""
        return Groups(self.version[rows], self.workload[rows], self.carrier[rows])

    def find(
        self, decision: NDArray[np.int64], place: NDArray[np.int32], since: float
    ) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Return the row of each outcome's node, 0 where it is not watched, and whether it is.

        Rows that were over at ``since`` are watched no more, whether or not they were taken out.
        """
        rows = np.searchsorted(self.id, decision) + place
        is_watched = (place >= 0) & (rows < len(self.id))
        rows = np.where(is_watched, rows, 0)
        if self.id.size:
            is_watched &= (self.id[rows] == decision) & (self.until[rows] >= since)
        return np.where(is_watched, rows, 0), is_watched

    def judge(
        self, time: NDArray[np.float64], rows: NDArray[np.intp], is_watched: NDArray[np.bool_]
    ) -> NDArray[np.uint8]:
        """Return a verdict on each outcome, (n,) by its time of arrival and its row."""
        verdict = np.where(is_watched, AGAIN, UNWATCHED).astype(np.uint8)
        watched = np.flatnonzero(is_watched)
        first = watched[np.unique(rows[watched], return_index=True)[1]]
        state = self.state[rows[first]]
        in_time = (state == OPEN) & (time[first] <= self.deadline[rows[first]])
        verdict[first[in_time]] = IN_TIME
        verdict[first[~in_time & (state != ANSWERED)]] = LATE
        return verdict

    def close(self, now: float, rows: NDArray[np.intp], verdict: NDArray[np.uint8]) -> NDArray[np.intp]:
        """Write who answered and who timed out; return the rows of the latter in order."""
        is_overdue = (self.state == OPEN) & (self.deadline < now)
        is_overdue[rows[verdict == IN_TIME]] = False
        late = rows[verdict == LATE]
        is_overdue[late] = self.state[late] == OPEN
        self.state[is_overdue] = TIMED_OUT
        self.state[rows[verdict <= LATE]] = ANSWERED
        return np.flatnonzero(is_overdue)

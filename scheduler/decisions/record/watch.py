"""Open decisions that wait for outcomes: who did not answer in time, and how well it was predicted who does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from scheduler.decisions.record.watch_table import IN_TIME, LATE, OPEN, WatchTable
from scheduler.decisions.record.watch_totals import WatchTotals
from scheduler.errors import InputError, shown
from scheduler.history.head_outcomes import head_outcomes
from scheduler.history.outcomes import outcome_names
from scheduler.spec import FAILED, Profile, Spec, seconds

LIMIT: Final = 1 << 20
"""Chosen nodes that are watched at most, 45 MB with three heads: twice the default window at 17,000 a second."""

MOST_EARLY: Final = 1 << 16
"""Outcomes kept at most until the next call, because their decisions have not been told yet."""

MOST_ARMS: Final = 1_024
"""Arms that are known at most, the latest: each change of the policy is one. Rows of an earlier one are refused."""

DEFAULT_CLASS: Final = "default"
"""Workload class of requests that meet the conditions of no profile."""


class WatchedDecisions(NamedTuple):
    """Decisions, in any order, none told twice; those for the origin may be left out.

    Attributes
    ----------
    id, time
        (n,) int64 and float64 seconds.
    arm, profile
        (n,) int32: which arm decided, as of `Watch.know_arm`; number of the weight profile.
    n_slate
        (n,) uint8, chosen nodes.
    carrier
        (n, places) uint64, key of each node's carrier, or one number for all where there are no carriers.
    predicted
        (n, places, n_heads) calibrated head values. Places beyond the slate are not read.
    """

    id: NDArray[np.int64]
    time: NDArray[np.float64]
    arm: NDArray[np.int32]
    profile: NDArray[np.int32]
    n_slate: NDArray[np.uint8]
    carrier: NDArray[np.uint64]
    predicted: NDArray[np.float32] | NDArray[np.float64]


class WatchedOutcomes(NamedTuple):
    """Outcomes, in order of arrival.

    Attributes
    ----------
    decision, place
        (n,) int64 and int32: of which decision, and of which node of its slate.
    time
        (n,) float64, when it arrived, in seconds.
    outcomes
        (n, n_outcomes) float32 in the order of `scheduler.history.outcomes.outcome_names`.
    """

    decision: NDArray[np.int64]
    place: NDArray[np.int32]
    time: NDArray[np.float64]
    outcomes: NDArray[np.float32]


class Timeouts(NamedTuple):
    """Chosen nodes whose window passed without an outcome.

    Attributes
    ----------
    decision, place
        (n,) int64 and int32, as of `WatchedOutcomes`.
    time
        (n,) float64, end of the window.
    """

    decision: NDArray[np.int64]
    place: NDArray[np.int32]
    time: NDArray[np.float64]


class Verdicts(NamedTuple):
    """What a call of `Watch.add` found: timeouts, and of each outcome passed a verdict, (n,) uint8; see `IN_TIME`."""

    timeouts: Timeouts
    verdict: NDArray[np.uint8]


class ArmRules(NamedTuple):
    """What a spec says of the watching: by weight profile windows in seconds, (n,), and names of workload classes."""

    windows: NDArray[np.float64]
    classes: tuple[str, ...]

    @classmethod
    def of(cls, spec: Spec) -> Self:
        """Read a spec; the last profile is that of requests which meet no condition."""
        profiles = (*spec.utility.profiles, Profile(when={}))
        windows = [seconds(profile.window or spec.watch.window) for profile in profiles]
        classes = [",".join(f"{name}={value}" for name, value in p.when.items()) or DEFAULT_CLASS for p in profiles]
        return cls(np.array(windows), tuple(classes))


def carrier_column(spec: Spec) -> str | None:
    """Return the category of nodes by which missing outcomes are counted, None for none."""
    return spec.watch.carrier or spec.evaluation.carrier


class _Arm(NamedTuple):
    """An arm's windows, and the places of its version and its classes in the totals."""

    windows: NDArray[np.float64]
    version: int
    workloads: NDArray[np.int16]


class Watch:
    """Joins decisions and outcomes while they come in; one thread calls, others may read the totals.

    A chosen node is watched from its decision until twice its window has passed. An outcome is in time if it arrived
    within the window and is told before a time after the window's end is. Each chosen node is due once, and missing at
    most once. Its first outcome counts in the totals of its heads, also if it is late.

    Parameters
    ----------
    spec
        Names heads and outcomes; each arm brings windows of its own.
    limit
        Chosen nodes that are watched at most; beyond it the oldest are forgotten.

    Attributes
    ----------
    totals
        Predicted against actual, and missing outcomes.
    n_forgotten
        Chosen nodes that were forgotten while they waited.
    """

    def __init__(self, spec: Spec, limit: int = LIMIT) -> None:
        self._spec, self._limit = spec, limit
        self._failed = outcome_names(spec).index(FAILED)
        self._quantiles = np.array([np.nan if h.quantile is None else h.quantile for h in spec.heads.values()])
        self._arms: dict[int, _Arm] = {}
        self._table = WatchTable.empty(len(spec.heads))
        self._early = _no_outcomes(len(outcome_names(spec)))
        self._now = -np.inf
        self.totals, self.n_forgotten = WatchTotals(tuple(spec.heads)), 0

    def __len__(self) -> int:
        """How many chosen nodes are watched, those included that are waited for no more."""
        return len(self._table.id)

    def no_outcomes(self) -> WatchedOutcomes:
        """Return no outcomes, for a call that has none."""
        return _no_outcomes(len(outcome_names(self._spec)))

    def know_arm(self, arm: int, version: str, spec: Spec) -> None:
        """Learn of an arm before the first of its decisions is told: the version of its model, its policy's spec."""
        rules = ArmRules.of(spec)
        place, is_taken = self.totals.version(version)
        if is_taken:  # what is left of the version that had the place is not told apart
            self._table.version[self._table.version == place] = 0
            self._arms = {n: a._replace(version=0) if a.version == place else a for n, a in self._arms.items()}
        workloads = np.array([self.totals.workload(name) for name in rules.classes], np.int16)
        self._arms.pop(arm, None)
        self._arms[arm] = _Arm(rules.windows, place, workloads)
        for old in list(self._arms)[:-MOST_ARMS]:
            del self._arms[old]

    def add(self, decisions: WatchedDecisions, outcomes: WatchedOutcomes, now: float) -> Verdicts:
        """Take in what happened since the last call.

        Parameters
        ----------
        decisions
            Those made. An outcome may be told one call before its decision; then it counts, with the verdict
            `UNWATCHED`.
        outcomes
            Those that arrived.
        now
            In the seconds of decisions and outcomes.

        Returns
        -------
        Verdicts
            Each chosen node times out once at most.

        Raises
        ------
        InputError
            If an arm is unknown. Nothing changed.
        """
        table = self._table.with_rows(self._rows(decisions))
        n_early = len(self._early.decision)
        pairs: Iterable[Any] = zip(self._early, outcomes, strict=True)
        told = WatchedOutcomes._make(map(np.concatenate, pairs))
        rows, is_watched = table.find(told.decision, told.place, self._now)
        verdict = table.judge(told.time, rows, is_watched)
        overdue = table.close(now, rows, verdict)
        self._count(table, told, rows, verdict, overdue)
        self._early = _unknown(table, outcomes)
        place = (overdue - np.searchsorted(table.id, table.id[overdue])).astype(np.int32)
        timeouts = Timeouts(table.id[overdue], place, table.deadline[overdue])
        self._table, self._now = self._bounded(table, now), now
        return Verdicts(timeouts, verdict[n_early:])

    def _rows(self, decisions: WatchedDecisions) -> WatchTable:
        """Return a row for each chosen node."""
        numbers, which = np.unique(decisions.arm, return_inverse=True)
        unknown = [n for n in numbers.tolist() if n not in self._arms]
        if unknown:
            message = f"arm: expected one of those told of by know_arm, found {shown(unknown)}"
            raise InputError(message)
        windows, versions, workloads = (
            np.empty(which.size),
            np.empty(which.size, np.int16),
            np.empty(which.size, np.int16),
        )
        for w, number in enumerate(numbers.tolist()):
            arm, by = self._arms[number], which == w
            profile = decisions.profile[by]
            windows[by], versions[by], workloads[by] = arm.windows[profile], arm.version, arm.workloads[profile]
        n_slate = decisions.n_slate.astype(np.int64)  # unsigned differences would be floats
        of = np.repeat(np.arange(which.size), n_slate)
        place = np.arange(of.size) - np.repeat(np.cumsum(n_slate) - n_slate, n_slate)
        carriers = np.broadcast_to(decisions.carrier, decisions.predicted.shape[:2])
        return WatchTable(
            id=decisions.id[of],
            deadline=(decisions.time + windows)[of],
            until=(decisions.time + 2.0 * windows)[of],
            version=versions[of],
            workload=workloads[of],
            carrier=self.totals.carriers(carriers[of, place]),
            state=np.full(of.size, OPEN, np.uint8),
            predicted=decisions.predicted[of, place].astype(np.float32),
        )

    def _count(
        self,
        table: WatchTable,
        told: WatchedOutcomes,
        rows: NDArray[np.intp],
        verdict: NDArray[np.uint8],
        overdue: NDArray[np.intp],
    ) -> None:
        in_time, late = rows[verdict == IN_TIME], rows[verdict == LATE]
        due = np.concatenate([in_time, overdue])
        self.totals.add_carriers(table.groups(due), table.groups(overdue), table.groups(late))
        first = verdict <= LATE
        if not first.any():
            return
        measured = told.outcomes[first]
        by_head = head_outcomes(self._spec, measured, measured[:, self._failed] == 0.0)
        actual = np.column_stack(list(by_head.values())).astype(np.float64)
        predicted = table.predicted[rows[first]].astype(np.float64)
        counted = ~(np.isnan(actual) | np.isnan(predicted))
        is_quantile = ~np.isnan(self._quantiles)
        actual = np.where(is_quantile, actual <= predicted, actual)
        predicted = np.where(is_quantile, self._quantiles, predicted)
        self.totals.add_heads(table.groups(rows[first]), predicted, actual, counted)

    def _bounded(self, table: WatchTable, now: float) -> WatchTable:
        """Return the table without what is over, if that is much of it, and without the oldest rows above the limit."""
        kept = table.until >= now
        if 4 * np.count_nonzero(kept) < 3 * kept.size or kept.size > self._limit:
            table = table.at(kept)
        excess = len(table.id) - self._limit
        if excess > 0:
            first = int(np.searchsorted(table.id, table.id[excess - 1], "right"))
            self.n_forgotten += int(np.count_nonzero(table.state[:first] == OPEN))
            table = table.at(slice(first, None))
        return table


def _unknown(table: WatchTable, outcomes: WatchedOutcomes) -> WatchedOutcomes:
    """Return the last outcomes whose decisions are not in the table."""
    at = np.searchsorted(table.id, outcomes.decision)
    is_new = at == len(table.id)
    is_new[~is_new] = table.id[at[~is_new]] != outcomes.decision[~is_new]
    is_new &= outcomes.decision >= 0  # others were measured elsewhere
    rows = np.flatnonzero(is_new)[-MOST_EARLY:]
    return WatchedOutcomes._make(array[rows] for array in outcomes)


def _no_outcomes(width: int) -> WatchedOutcomes:
    return WatchedOutcomes(np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0), np.empty((0, width), np.float32))

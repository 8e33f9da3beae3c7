"""Sums of what was predicted, of what came, and of what did not come, by version, class and carrier."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.decisions.counts import MOST_VERSIONS, OLDER
from scheduler.runtime.forks import ForkedLock

OTHER: Final = "other"
"""Name of all classes beyond `MOST_CLASSES` together, and of all carriers beyond `MOST_CARRIERS`."""

MOST_CLASSES: Final = 64
"""Workload classes that are told apart: a class is a series for each head and version."""

MOST_CARRIERS: Final = 64
"""Carriers that are told apart; most countries have fewer."""


class HeadTotal(NamedTuple):
    """Predictions and outcomes of a head, of one version's decisions for one workload class.

    Attributes
    ----------
    version, workload, head
        Whose predictions, for which requests; a workload class is named after its profile's conditions.
    n
        Outcomes that the head predicts something of: those of failures are left out where it is of successes.
    predicted, actual
        Sums. A head with a ``quantile`` predicts that share of outcomes at or below its value: then ``predicted`` sums
        the quantile, and ``actual`` counts such outcomes.
    """

    version: str
    workload: str
    head: str
    n: int
    predicted: float
    actual: float


class CarrierTotal(NamedTuple):
    """Outcomes of one version's decisions for nodes of one carrier.

    Attributes
    ----------
    version, carrier
        Whose decisions, and the key of the carrier: `MISSING_KEY` if unknown, None for all that are not told apart.
    due, missing, late
        Chosen nodes whose outcome came or whose window passed; those whose window passed first; those of the latter
        whose outcome came later.
    """

    version: str
    carrier: int | None
    due: int
    missing: int
    late: int


class Groups(NamedTuple):
    """Of each of n rows, (n,) int16: places of its version, class and carrier, as `WatchTotals` has them."""

    version: NDArray[np.int16]
    workload: NDArray[np.int16]
    carrier: NDArray[np.int16]


class WatchTotals:
    """Sums in arrays of fixed size. One thread adds, others read.

    Place 0 of versions, classes and carriers is for all that are not told apart.

    Parameters
    ----------
    heads
        Names of the heads.
    """

    def __init__(self, heads: tuple[str, ...]) -> None:
        self._heads, self._lock = heads, ForkedLock()
        self._versions = [OLDER]
        self._classes: dict[str, int] = {OTHER: 0}
        self._carriers: dict[int | None, int] = {None: 0}
        self._latest: list[int] = []  # places of versions, oldest first
        by_class = (MOST_VERSIONS + 1, MOST_CLASSES + 1, len(heads))
        self._n = np.zeros(by_class, np.int64)
        self._sums = np.zeros((2, *by_class))
        self._by_carrier = np.zeros((3, MOST_VERSIONS + 1, MOST_CARRIERS + 1), np.int64)

    def version(self, name: str) -> tuple[int, bool]:
        """Return the place of a version, and whether it was another one's, which is not told apart any more."""
        if name in self._versions[1:]:
            at, is_taken = self._versions.index(name, 1), False
            self._latest.remove(at)
        elif len(self._versions) <= MOST_VERSIONS:
            at, is_taken = len(self._versions), False
            self._versions.append(name)
        else:
            at, is_taken = self._latest.pop(0), True
            with self._lock:
                self._merge(at)
                self._versions[at] = name
        self._latest.append(at)
        return at, is_taken

    def workload(self, name: str) -> int:
        """Return the place of a workload class."""
        if name not in self._classes and len(self._classes) > MOST_CLASSES:
            return 0
        return self._classes.setdefault(name, len(self._classes))

    def carriers(self, keys: NDArray[np.uint64]) -> NDArray[np.int16]:
        """Return the places of carriers by key, (n,)."""
        distinct, of = np.unique(keys, return_inverse=True)
        return np.array([self._carrier(key) for key in distinct.tolist()], np.int16)[of]

    def add_heads(
        self, of: Groups, predicted: NDArray[np.float64], actual: NDArray[np.float64], counted: NDArray[np.bool_]
    ) -> None:
        """Add outcomes of n rows: (n, n_heads) predictions, outcomes, and where both are known."""
        place = of.version.astype(np.int64) * self._n.shape[1] + of.workload
        size = self._n.shape[0] * self._n.shape[1]
        with self._lock:
            for h in range(len(self._heads)):
                rows = counted[:, h]
                at = place[rows]
                self._n[:, :, h] += np.bincount(at, minlength=size).reshape(self._n.shape[:2])
                for sums, values in zip(self._sums, (predicted, actual), strict=True):
                    sums[:, :, h] += np.bincount(at, values[rows, h], size).reshape(self._n.shape[:2])

    def add_carriers(self, due: Groups, missing: Groups, late: Groups) -> None:
        """Add rows that were due, those of them that were missing, and those that came late."""
        shape = self._by_carrier.shape[1:]
        with self._lock:
            for t, of in enumerate((due, missing, late)):
                place = of.version.astype(np.int64) * shape[1] + of.carrier
                self._by_carrier[t] += np.bincount(place, minlength=shape[0] * shape[1]).reshape(shape)

    def by_head(self) -> list[HeadTotal]:
        """Return all totals of heads that are not 0."""
        classes = list(self._classes)
        with self._lock:
            versions, n, (predicted, actual) = self._versions.copy(), self._n.copy(), self._sums.copy()
        return [
            HeadTotal(
                versions[v],
                classes[c],
                self._heads[h],
                int(n[v, c, h]),
                float(predicted[v, c, h]),
                float(actual[v, c, h]),
            )
            for v, c, h in np.argwhere(n).tolist()
        ]

    def by_carrier(self) -> list[CarrierTotal]:
        """Return all totals of carriers that are not 0."""
        carriers = list(self._carriers)
        with self._lock:
            versions, totals = self._versions.copy(), self._by_carrier.copy()
        return [
            CarrierTotal(versions[v], carriers[k], *totals[:, v, k].tolist())
            for v, k in np.argwhere(totals.any(axis=0)).tolist()
        ]

    def _carrier(self, key: int) -> int:
        if key not in self._carriers and len(self._carriers) > MOST_CARRIERS:
            return 0
        return self._carriers.setdefault(key, len(self._carriers))

    def _merge(self, at: int) -> None:
        for total in (self._n, *self._sums, *self._by_carrier):
            total[0] += total[at]
            total[at] = 0

"""How much each version of the model decided, as kernels count it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scheduler.decisions.arrays import DROPS, LEAST_LATENCY, N_LATENCIES, REASONS, DecisionCounts

MOST_VERSIONS: Final = 16
"""Versions that are counted apart, those of arms that decide among them: of a weekly model four months."""

OLDER: Final = "older"
"""Name under which versions are counted together that are not counted apart any more."""


def latency_bounds() -> NDArray[np.int64]:
    """Return the upper bounds of all buckets of latencies but the last, in nanoseconds, (N_LATENCIES,)."""
    octaves = LEAST_LATENCY << np.arange(N_LATENCIES // 2 + 1, dtype=np.int64)
    return np.column_stack([octaves, octaves + octaves // 2]).ravel()[:N_LATENCIES]


def new_counts() -> DecisionCounts:
    """Return counts of nothing."""
    return DecisionCounts(
        reasons=np.zeros(len(REASONS), np.int64),
        dropped=np.zeros(len(DROPS), np.int64),
        latencies=np.zeros(N_LATENCIES + 1, np.int64),
        nanoseconds=np.zeros(1, np.int64),
    )


class VersionCounts:
    """Counts by version, which outlive the arms that counted. Arms of one version count in the same arrays."""

    def __init__(self) -> None:
        self._counts: dict[str, DecisionCounts] = {}

    def of(self, version: str, used: Iterable[str]) -> DecisionCounts:
        """Return the counts of a version, which becomes the latest; the caller holds the state's lock as a writer.

        Parameters
        ----------
        version
            Of the model.
        used
            Versions whose arms may decide; they stay apart.
        """
        counts = self._counts.copy()
        found = counts.pop(version, None) or new_counts()
        older, used = counts.pop(OLDER, None), {*used, version}
        for name in [name for name in counts if name not in used][: max(len(counts) + 1 - MOST_VERSIONS, 0)]:
            gone = counts.pop(name)
            older = gone if older is None else DecisionCounts(*(a + b for a, b in zip(older, gone, strict=True)))
        if older is not None:
            counts = {OLDER: older} | counts
        self._counts = counts | {version: found}  # one assignment: who reads meanwhile sees all versions, none twice
        return found

    def items(self) -> list[tuple[str, DecisionCounts]]:
        """Return versions and their counts; needs no lock."""
        return list(self._counts.items())

"""The tables of history as words of 64 bits, as they are copied out and in."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.history.arrays import HistoryArrays
from scheduler.history.store import CHANGE_POINTS, HISTORY, LATENT_FACTORS


class TableWords(NamedTuple):
    """One table.

    Attributes
    ----------
    keys, placement, seen, counters
        As of `HistoryArrays`.
    words
        (slots, width) uint64, what stands beside each key, by name.
    """

    keys: NDArray[np.uint64]
    placement: NDArray[np.uint64]
    seen: NDArray[np.float64]
    counters: NDArray[np.int64]
    words: dict[str, NDArray[np.uint64]]


def tables_of(history: HistoryArrays) -> dict[str, TableWords]:
    """Return the tables by name; they share memory with ``history``."""
    factors, points = history.latent_factors, history.change_points
    return {
        HISTORY: TableWords(
            history.keys, history.placement, history.seen, history.counters, {"rows": history.rows.view(np.uint64)}
        ),
        LATENT_FACTORS: TableWords(
            factors.keys, factors.placement, factors.seen, factors.counters, {"rows": factors.rows.view(np.uint64)}
        ),
        CHANGE_POINTS: TableWords(
            points.keys,
            points.placement,
            points.seen,
            points.counters,
            {"rows": points.rows.view(np.uint64), "edges": points.edges.view(np.uint64)},
        ),
    }

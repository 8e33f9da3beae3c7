"""Arrays and constants of change points; see `scheduler.history.kernels.change_points`."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

(CHANGE_POINT_FRESH, CHANGE_POINT_AGE, CHANGE_POINT_ENDED) = range(3)
CHANGE_POINT_PARTS: Final = ("fresh", "age", "ended")
"""What a feature may read from change points."""

SPANS: Final = 32
"""Spans of time in which the last change may lie. The first span holds everything older."""

SPANS_A_LENGTH: Final = 16
"""A span lasts at least the median time between changes divided by this number. So all spans together reach back two
median times, however many outcomes arrive."""

SURPRISE: Final = 1e-3
"""Probability that a value differs although its group has not changed: one outlier must not rule out all spans."""

(LENGTH, SAME, TOLERANCE) = range(3)
"""Numbers of a kind of group: median time between changes in seconds, probability that a value is the same after a
change, and tolerance within which values are the same."""


class ChangePointArrays(NamedTuple):
    """Groups whose members change together, in a table like that of history.

    Attributes
    ----------
    keys, placement, seen, counters
        As of `scheduler.history.arrays.HistoryArrays`; ``seen`` is the time up to which the probabilities
        are computed.
    rows
        (slots, width) float32: two that hold ``seen``; for each span the probability that the last change lies in it;
        1, or 0 if the group is new; padding.
    edges
        (slots, `SPANS`) float64, ascending: the end of each span, at which the next one begins.
    numbers
        (n_kinds, 3) float64, see `LENGTH`.
    shape
        (n_kinds,) int32, how regular the times between changes are.
    """

    keys: NDArray[np.uint64]
    placement: NDArray[np.uint64]
    seen: NDArray[np.float64]
    rows: NDArray[np.float32]
    counters: NDArray[np.int64]
    edges: NDArray[np.float64]
    numbers: NDArray[np.float64]
    shape: NDArray[np.int32]

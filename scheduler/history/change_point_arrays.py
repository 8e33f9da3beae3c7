"""What kernels see of change_points: arrays and constants; see `scheduler.history.kernels.change_points`."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

(CHANGE_POINT_FRESH, CHANGE_POINT_AGE, CHANGE_POINT_ENDED) = range(3)
CHANGE_POINT_PARTS: Final = ("fresh", "age", "ended")
"""What a feature may take from change_points."""

SPANS: Final = 32
"""Spans of time in which the last change may lie. What is older is one span."""

SPANS_A_LENGTH: Final = 16
"""A span is at least so small a part of a regime's length, so that all reach back two lengths, however many outcomes
come in that time."""

SURPRISE: Final = 1e-3
"""Probability that a value has changed though its group has not: one that is off is not to rule out all else."""

(LENGTH, SAME, TOLERANCE) = range(3)
"""Numbers of a kind of regime: its median length in seconds, the probability that a value is the same after a change,
and what counts as the same."""


class ChangePointArrays(NamedTuple):
    """Groups whose members change together, in a table like that of history.

    Attributes
    ----------
    keys, seen, counters
        As of `scheduler.history.arrays.HistoryArrays`; ``seen`` is the time up to which changes were thought of.
    rows
        (slots, width) float32: two that hold ``seen``, then the probability of each span that the last change lies in
        it, then 1, or 0 where the group is new, then padding.
    edges
        (slots, `SPANS`) float64, the end of each span, where the next one begins; rising.
    numbers
        (n_kinds, 3) float64, see `LENGTH`.
    shape
        (n_kinds,) int32, how regular lengths are.
    """

    keys: NDArray[np.uint64]
    seen: NDArray[np.float64]
    rows: NDArray[np.float32]
    counters: NDArray[np.int64]
    edges: NDArray[np.float64]
    numbers: NDArray[np.float64]
    shape: NDArray[np.int32]

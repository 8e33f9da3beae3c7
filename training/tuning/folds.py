"""Time-ordered folds: each trains on the past and is judged on the slices after it."""

from __future__ import annotations

from itertools import count
from typing import NamedTuple

import numpy as np

from scheduler.errors import DataError
from training.features.split import FEWEST
from training.telemetry import Telemetry

JUDGED = 0.3
"""Share of the slices, the last, that the folds judge on, one fold after the other: the rest is past enough for the
first fold to learn from, and what it judges on is recent."""


class Fold(NamedTuple):
    """Slices before ``start`` are the past, those from it and before ``stop`` judge."""

    number: int
    start: int
    stop: int


def time_folds(telemetry: Telemetry, n: int, fewest: int = FEWEST) -> list[Fold]:
    """Return ``n`` folds over the last slices, the earliest first, which leaves ``fewest`` slices to train on.

    Raises
    ------
    DataError
        If there are too few slices.
    """
    present = np.unique(telemetry.slice)
    width, first = _cut(present.size, n)
    if not _is_enough(present.size, n, fewest):
        enough = next(size for size in count(n + fewest) if _is_enough(size, n, fewest))
        raise DataError(f"tuning: expected at least {enough} slices for {n} folds, found {present.size}")
    ends = [*present[first::width].tolist(), int(present[-1]) + 1]  # the last may be the largest 32-bit number
    return [Fold(k, ends[k], ends[k + 1]) for k in range(n)]


def _cut(size: int, n: int) -> tuple[int, int]:
    """Return how many slices each of n folds judges, and how many come before the first."""
    width = max(1, int(JUDGED * size / n))
    return width, size - n * width


def _is_enough(size: int, n: int, fewest: int) -> bool:
    width, first = _cut(size, n)
    return first >= max(fewest, 2 * width)

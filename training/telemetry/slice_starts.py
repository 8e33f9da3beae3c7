"""When slices begin."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scheduler.spec import Spec
from training.telemetry.telemetry import Telemetry


def slice_starts(telemetry: Telemetry, spec: Spec) -> dict[int, float]:
    """Return when each slice with rows begins, in order; see `starts_of`."""
    return starts_of(telemetry.slice, telemetry.time, slice_length(telemetry, spec))


def starts_of(slices: NDArray[np.int32], times: NDArray[np.float64], seconds: float) -> dict[int, float]:
    """Return when each slice begins, in order.

    That is its earliest row's time rounded down to a whole number of slice lengths. Where the slice before begins then
    or later, it is one length after it, but never more than one length after that time, except that no slice
    begins before an earlier one. So requests stay near the rows that answer them, however uneven slices are.

    Parameters
    ----------
    slices, times
        (n,) of rows: all, or at least the earliest of each slice.
    seconds
        How long a slice is.
    """
    numbers, at = np.unique(slices, return_inverse=True)
    first_times = np.full(len(numbers), np.inf)
    np.minimum.at(first_times, at, times)
    starts: dict[int, float] = {}
    begin = -np.inf
    for number, first in zip(numbers.tolist(), first_times.tolist(), strict=True):
        own = first // seconds * seconds
        begin = max(own, begin, min(begin, own) + seconds)
        starts[number] = begin
    return starts


def slice_length(telemetry: Telemetry, spec: Spec) -> float:
    """Return how long a slice is by the telemetry, or by the spec where that does not say, in seconds."""
    return telemetry.slice_seconds or spec.telemetry.slice.seconds

"""When slices begin."""

from __future__ import annotations

import numpy as np

from scheduler.spec import Spec
from training.telemetry.telemetry import Telemetry


def slice_starts(telemetry: Telemetry, spec: Spec) -> dict[int, float]:
    """Return when each slice with rows begins, in order.

    That is its earliest row's time rounded down to a whole number of slice lengths. Where the slice before begins then
    or later, it is one length after it, but never more than one length after that time, except that no slice
    begins before an earlier one. So requests stay near the rows that answer them, however uneven slices are.
    """
    seconds = slice_length(telemetry, spec)
    numbers, at = np.unique(telemetry.slice, return_inverse=True)
    first_times = np.full(len(numbers), np.inf)
    np.minimum.at(first_times, at, telemetry.time)
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

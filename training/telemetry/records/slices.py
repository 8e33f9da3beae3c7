"""Numbers the slices of recorded decisions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scheduler.errors import InputError
from scheduler.spec import Slice

_MOST = 2.0**31
"""Slices are numbered with 32 bits."""


def record_slices(decisions: dict[str, Any], rules: Slice, origin: float | None = None) -> NDArray[np.int64]:
    """Return the slice of each recorded decision.

    Parameters
    ----------
    decisions
        Columns of all recorded decisions, as `training.telemetry.records.collect.Collected` has them.
    rules
        Of the spec. Where slices follow from times, they are numbered from its ``origin``.
    origin
        When slice 0 begins where a column numbers slices; by default a whole number of slices, with the first decision
        in slice 0.

    Raises
    ------
    InputError
        If ``origin`` is no time before the first decision, or the spec says itself when slices begin.
    """
    time, seconds = np.asarray(decisions["time"]), rules.seconds
    if origin is not None and rules.column is None:
        raise InputError(f"origin: expected none, as the spec has telemetry.slice.origin, found {origin}")
    if origin is not None and not (origin <= time.min() and time.max() - origin < _MOST * seconds):
        raise InputError(f"origin: expected seconds up to the first decision, at {time.min():.0f}, found {origin}")
    if rules.column is None:
        begin = rules.origin
    else:
        begin = float(np.floor(time.min() / seconds) * seconds) if origin is None else origin
    return np.floor((time - begin) / seconds).astype(np.int64)

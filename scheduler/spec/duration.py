"""Read durations."""

from __future__ import annotations

import re

from scheduler.errors import SpecError, shown
from scheduler.spec.bounds import LEAST_SECONDS, MOST_SECONDS

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


def seconds(duration: str) -> float:
    """Return a duration such as ``90s``, ``15m``, ``6h`` or ``2d`` in seconds; raise `SpecError` for any other text."""
    match = _DURATION.fullmatch(duration)
    if match is None or float(match[1]) == 0:
        message = f"duration {shown(duration)}: expected a positive number and one of s, m, h, d, such as '15m'"
        raise SpecError(message)
    length = float(match[1]) * _UNITS[match[2]]
    if not LEAST_SECONDS <= length <= MOST_SECONDS:
        message = (
            f"duration {shown(duration)}: expected {LEAST_SECONDS:g} to {MOST_SECONDS:g} seconds, found {length:g}"
        )
        raise SpecError(message)
    return length

"""Where last values and statistics stand in a row of history, by number; see `scheduler.history.row_layout`."""

from __future__ import annotations

from scheduler.history.arrays import STATISTICS, TIME_FLOATS
from scheduler.runtime.jit import inlined


@inlined
def last_value_at(value: int) -> int:
    """Return the place of a value's last measured number."""
    return TIME_FLOATS + value


@inlined
def statistics_at(n_values: int, n_half_lives: int, value: int, half_life: int) -> int:
    """Return the place at which the statistics of a value and a half-life begin; see `WEIGHT`."""
    return TIME_FLOATS + n_values + (value * n_half_lives + half_life) * STATISTICS

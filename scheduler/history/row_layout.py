"""Places of a spec's values and half-lives in a row of history."""

from __future__ import annotations

from scheduler.history.arrays import WEIGHT
from scheduler.history.kernels.row_layout import last_value_at, statistics_at
from scheduler.spec import Spec, seconds


def row_floats(spec: Spec) -> int:
    """Return the number of floats in a row, without padding."""
    n_values, n_half_lives = len(spec.history.values), len(spec.history.half_lives)
    return statistics_at(n_values, n_half_lives, n_values, 0)


def last_value_place(value: int) -> int:
    """Return the place of a value's last measured number, by the value's number in the spec."""
    return last_value_at(value)


def statistics_place(spec: Spec, value: int, half_life: int) -> int:
    """Return the place at which the statistics of a value and a half-life begin, both by their number in the spec."""
    return statistics_at(len(spec.history.values), len(spec.history.half_lives), value, half_life)


def slowest_half_life(spec: Spec) -> int:
    """Return the number of the longest half-life."""
    half_lives = spec.history.half_lives
    return max(range(len(half_lives)), key=lambda h: seconds(half_lives[h]))


def slowest_weight_place(spec: Spec, value: int) -> int:
    """Return the place of a value's weight with the longest half-life; it is above 0 if the value was ever measured."""
    return statistics_place(spec, value, slowest_half_life(spec)) + WEIGHT

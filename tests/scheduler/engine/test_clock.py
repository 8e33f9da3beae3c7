"""The clock follows right times and survives wrong ones."""

import math
from contextlib import suppress

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from scheduler import ClockError
from scheduler.engine.clock import INSISTENCE, MAX_JUMP, MAX_SKEW, Clock

NOW = 1_704_067_200.0


def clock_at(time):
    clock = Clock()
    clock.check(time)
    clock.latest[0] = time
    return clock


def test_the_first_time_may_be_any():
    for time in (-1e15, 0.0, NOW, 1e15):
        clock_at(time)


@pytest.mark.parametrize(("factor", "unit"), [(1e3, "milliseconds"), (1e6, "microseconds"), (1e9, "nanoseconds")])
def test_a_time_in_another_unit_is_refused_with_that_unit(factor, unit):
    clock = clock_at(NOW)
    with pytest.raises(ClockError, match=f"expected at most 2.592e.06 s from.*are these {unit}"):
        clock.check((NOW + 60) * factor)
    assert clock.latest.item() == NOW
    clock.check(NOW + 1)


def test_a_jump_within_the_bound_is_followed():
    clock_at(NOW).check(NOW + MAX_JUMP)


def test_a_wrong_caller_among_right_ones_never_moves_the_clock():
    clock = clock_at(NOW)
    for i in range(10 * INSISTENCE):
        with pytest.raises(ClockError):
            clock.check(NOW * 1_000 + i)
        clock.check(NOW + i)


def test_calls_that_agree_on_a_far_time_are_followed_after_a_few():
    """A scheduler that was idle for months comes back."""
    clock, later = clock_at(NOW), NOW + 2 * MAX_JUMP
    for i in range(INSISTENCE):
        with pytest.raises(ClockError):
            clock.check(later + i)
    clock.check(later + INSISTENCE)


def test_calls_that_disagree_on_a_far_time_are_never_followed():
    clock = clock_at(NOW)
    for i in range(10 * INSISTENCE):
        with pytest.raises(ClockError):
            clock.check(NOW + (2 + 2 * i) * MAX_JUMP)


def test_a_clock_that_steps_back_is_counted_and_followed():
    clock = clock_at(NOW)
    clock.check(NOW - MAX_SKEW)
    assert clock.steps_back == 0
    clock.check(NOW - 3_600)
    assert (clock.steps_back, clock.latest.item()) == (1, NOW - 3_600)


def test_a_time_far_behind_moves_nothing():
    clock = clock_at(NOW)
    for i in range(10 * INSISTENCE):
        with pytest.raises(ClockError, match=r"expected at most 2.592e\+06 s from"):
            clock.check(i)  # a machine in 1970
        clock.check(NOW + i)
    assert (clock.steps_back, clock.latest.item()) == (0, NOW)


def test_a_scheduler_that_took_milliseconds_first_comes_back_after_a_few_calls():
    clock = clock_at(NOW * 1_000)
    for i in range(INSISTENCE):
        with pytest.raises(ClockError):
            clock.check(NOW + i)
    clock.check(NOW)
    assert clock.latest.item() == NOW


def test_old_outcomes_of_a_batch_are_counted_and_set_no_clock_back():
    clock = clock_at(NOW)
    clock.check_all(np.array([NOW - 2 * MAX_JUMP, NOW - 3_600, NOW + 1]))
    assert (clock.steps_back, clock.latest.item()) == (1, NOW)
    clock.check_all(np.array([NOW + 1, NOW + 60]))  # a batch may span some time
    assert clock.steps_back == 1


def test_a_batch_whose_last_time_is_far_off_is_refused():
    clock = clock_at(NOW)
    for times in ([NOW, NOW + 2 * MAX_JUMP], [0.0, 1.0]):
        with pytest.raises(ClockError):
            clock.check_all(np.array(times))
    assert (clock.steps_back, clock.latest.item()) == (0, NOW)


@given(st.lists(st.floats(-1e15, 1e15), min_size=1))
def test_any_times_leave_a_clock_that_right_times_move(times):
    clock = Clock()
    for time in (*times, *(NOW + i for i in range(INSISTENCE + 1))):
        with suppress(ClockError):
            clock.check(time)
            clock.latest[0] = max(clock.latest[0], time)
    assert math.isfinite(clock.latest.item())
    clock.check(NOW + INSISTENCE + 1)

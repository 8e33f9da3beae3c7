"""ChangePoints: when a group's values last changed, from members that come again."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from scheduler.history.arrays import TIME_FLOATS, WAYS
from scheduler.history.change_point_arrays import CHANGE_POINT_PARTS, SPANS
from scheduler.history.kernels.change_points import part, update
from scheduler.history.kernels.hash_table import find
from scheduler.history.store import new_history
from tests import models
from tests.twins import Group

LENGTH = 120.0
KIND = {"length": "2m", "shape": 3, "same": 0.25, "tolerance": 0.5}
NAN = math.nan

times = st.floats(-1e9, 1e10)
values = st.floats(-3e38, 3e38) | st.sampled_from([NAN, math.inf, -math.inf, 0.0, 0.5, 1.0])
steps = st.lists(st.tuples(st.integers(1, 3), values, values, times, times), max_size=40)


def fresh():
    return new_history(models.spec(models.EXTENDED)).change_points


def tell(change_points, x, last, seen, now, group=7):
    update(change_points, 0, np.uint64(group), float(x), float(last), float(seen), float(now))


def ask(change_points, which, now=0.0, seen=NAN, group=7):
    return part(
        change_points,
        0,
        CHANGE_POINT_PARTS.index(which),
        find(change_points, np.uint64(group)),
        float(seen),
        float(now),
    )


def chances(change_points, group=7):
    return change_points.rows[find(change_points, np.uint64(group)), TIME_FLOATS : TIME_FLOATS + SPANS]


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(steps)
def test_whatever_comes_chances_stay_chances_and_edges_rise(outcomes):
    change_points = fresh()
    for group, x, last, seen, now in outcomes:
        tell(change_points, x, last, seen, now, group)
    for slot in np.flatnonzero(change_points.keys):
        row = change_points.rows[slot, TIME_FLOATS : TIME_FLOATS + SPANS]
        assert (row >= 0).all()
        assert row.sum() == pytest.approx(1, abs=1e-4)
        assert (np.diff(change_points.edges[slot]) >= 0).all()
        for which in range(len(CHANGE_POINT_PARTS)):
            found = part(change_points, 0, which, slot, 5.0, 1e10)
            assert 0 <= found <= (2e10 if which == CHANGE_POINT_PARTS.index("age") else 1.001)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 60), st.integers(0, 2)), max_size=80))
def test_it_follows_its_plain_twin(outcomes):
    change_points, twin, now = fresh(), None, 1e9
    known = {}
    for member, wait, x in outcomes:
        now += wait
        last, seen = known.get(member, (NAN, NAN))
        tell(change_points, x, last, seen, now)
        if twin is None:
            twin = Group(KIND, now)
        else:
            twin.learn(float(x), last, seen, now)
        known[member] = float(x), now
    for which in CHANGE_POINT_PARTS if twin else ():
        for time in (seen for _, seen in known.values()):
            expected = twin.part(which, time, now + 10)
            assert ask(change_points, which, now + 10, time) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_value_that_changed_dates_the_change_between_its_two_outcomes():
    change_points = fresh()
    for now in range(0, 60, 10):
        tell(change_points, 1, NAN, NAN, now)
    tell(change_points, 3, 1, 20, 60)
    assert ask(change_points, "fresh", seen=20) < 0.02
    assert ask(change_points, "fresh", seen=60) == pytest.approx(1)
    assert 0.05 < ask(change_points, "fresh", seen=40) < 0.95
    assert ask(change_points, "age", 60) < 42


def test_what_comes_again_the_same_makes_a_change_since_unlikely():
    change_points = fresh()
    for now in range(0, 101, 20):
        tell(change_points, 1, NAN, NAN, now)
    before = ask(change_points, "fresh", seen=0)
    for now in (110, 111, 112):
        tell(change_points, 1.4, 1, 20, now)  # within the tolerance
    assert ask(change_points, "fresh", seen=20) > before
    assert ask(change_points, "fresh", seen=20) > 0.95


def test_a_change_grows_more_probable_with_time_and_half_of_all_regimes_have_ended_after_their_length():
    change_points = fresh()
    tell(change_points, 1, NAN, NAN, 0)
    ended = [ask(change_points, "ended", now) for now in (0, LENGTH / 2, LENGTH, 4 * LENGTH)]
    assert ended == sorted(ended)
    assert ended[0] == 0
    assert ended[2] == pytest.approx(0.5)
    assert ended[3] > 0.999


def test_it_finds_the_changes_of_a_made_up_client():
    rng, change_points = np.random.default_rng(0), fresh()
    now, change, truth = 1e9, 1e9, rng.normal(0, 5, 20)
    known, right, n = {}, 0, 0
    for _ in range(2_000):
        now += rng.exponential(8)
        if now - change > LENGTH * 1.05:
            change, truth = now - 1, rng.normal(0, 5, 20)
        member = rng.integers(20)
        last, seen = known.get(member, (NAN, NAN))
        tell(change_points, truth[member], last, seen, now)
        known[member] = truth[member], now
        other = known.get(rng.integers(20))
        if other is not None:
            n += 1
            right += (ask(change_points, "fresh", seen=other[1]) > 0.5) == (other[1] > change)
    assert right / n > 0.9


def test_many_outcomes_at_once_do_not_push_out_what_was_before():
    change_points = fresh()
    for now in range(0, 100, 10):
        tell(change_points, 1, NAN, NAN, now)
    for k in range(1_000):
        tell(change_points, 1, NAN, NAN, 100 + k / 1_000)
    held = change_points.edges[find(change_points, np.uint64(7))]
    assert (held[:-1] < 100).sum() >= 10
    assert ask(change_points, "fresh", seen=50) < 1


def test_an_outcome_from_the_past_counts_as_of_the_latest():
    one, other = fresh(), fresh()
    for change_points, now in ((one, 50), (other, 100)):
        tell(change_points, 1, NAN, NAN, 0)
        tell(change_points, 1, NAN, NAN, 100)
        tell(change_points, 3, 1, 0, now)
    np.testing.assert_array_equal(chances(one), chances(other))


@pytest.mark.parametrize(("group", "x"), [(0, 1.0), (7, NAN)])
def test_without_a_group_or_a_value_nothing_is_learned(group, x):
    change_points = fresh()
    tell(change_points, x, 1.0, 0.0, 10.0, group)
    assert not change_points.keys.any()
    assert all(math.isnan(ask(change_points, which, 10, 5)) for which in CHANGE_POINT_PARTS)


def test_a_member_that_was_never_seen_has_no_freshness():
    change_points = fresh()
    tell(change_points, 1, NAN, NAN, 0)
    assert math.isnan(ask(change_points, "fresh", seen=NAN))


@pytest.mark.slow
def test_memory_is_bounded_and_a_group_that_was_let_go_begins_anew():
    change_points = fresh()
    size, rng = change_points.keys.size, np.random.default_rng(0)
    for now in range(4 * size):
        tell(change_points, 1, NAN, NAN, now, rng.integers(1, 2**63))
    assert change_points.keys.size == size
    assert size % WAYS == 0
    assert change_points.counters[1] > 0
    held = change_points.rows[change_points.keys != 0, TIME_FLOATS : TIME_FLOATS + SPANS]
    np.testing.assert_allclose(held.sum(axis=1), 1, rtol=1e-5)

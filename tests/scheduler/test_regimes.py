"""Regimes: when a group's values last changed, from members that come again."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from scheduler.history import new_history
from scheduler.kernels.history import find
from scheduler.kernels.regimes import part, update
from scheduler.layout import TIME_FLOATS, WAYS
from scheduler.regime_layout import REGIME_PARTS, SPANS
from tests import models
from tests.twins import Group

LENGTH = 120.0
KIND = {"length": "2m", "shape": 3, "same": 0.25, "tolerance": 0.5}
NAN = math.nan

times = st.floats(-1e9, 1e10)
values = st.floats(-3e38, 3e38) | st.sampled_from([NAN, math.inf, -math.inf, 0.0, 0.5, 1.0])
steps = st.lists(st.tuples(st.integers(1, 3), values, values, times, times), max_size=40)


def fresh():
    return new_history(models.spec(models.EXTENDED)).regimes


def tell(regimes, x, last, seen, now, group=7):
    update(regimes, 0, np.uint64(group), float(x), float(last), float(seen), float(now))


def ask(regimes, which, now=0.0, seen=NAN, group=7):
    return part(regimes, 0, REGIME_PARTS.index(which), find(regimes, np.uint64(group)), float(seen), float(now))


def chances(regimes, group=7):
    return regimes.rows[find(regimes, np.uint64(group)), TIME_FLOATS : TIME_FLOATS + SPANS]


@settings(max_examples=100, deadline=None)
@given(steps)
def test_whatever_comes_chances_stay_chances_and_edges_rise(outcomes):
    regimes = fresh()
    for group, x, last, seen, now in outcomes:
        tell(regimes, x, last, seen, now, group)
    for slot in np.flatnonzero(regimes.keys):
        row = regimes.rows[slot, TIME_FLOATS : TIME_FLOATS + SPANS]
        assert (row >= 0).all()
        assert row.sum() == pytest.approx(1, abs=1e-4)
        assert (np.diff(regimes.edges[slot]) >= 0).all()
        for which in range(len(REGIME_PARTS)):
            found = part(regimes, 0, which, slot, 5.0, 1e10)
            assert 0 <= found <= (2e10 if which == REGIME_PARTS.index("age") else 1.001)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 60), st.integers(0, 2)), max_size=80))
def test_it_follows_its_plain_twin(outcomes):
    regimes, twin, now = fresh(), None, 1e9
    known = {}
    for member, wait, x in outcomes:
        now += wait
        last, seen = known.get(member, (NAN, NAN))
        tell(regimes, x, last, seen, now)
        if twin is None:
            twin = Group(KIND, now)
        else:
            twin.learn(float(x), last, seen, now)
        known[member] = float(x), now
    for which in REGIME_PARTS if twin else ():
        for time in (seen for _, seen in known.values()):
            expected = twin.part(which, time, now + 10)
            assert ask(regimes, which, now + 10, time) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_value_that_changed_dates_the_change_between_its_two_outcomes():
    regimes = fresh()
    for now in range(0, 60, 10):
        tell(regimes, 1, NAN, NAN, now)
    tell(regimes, 3, 1, 20, 60)
    assert ask(regimes, "fresh", seen=20) < 0.02
    assert ask(regimes, "fresh", seen=60) == pytest.approx(1)
    assert 0.05 < ask(regimes, "fresh", seen=40) < 0.95
    assert ask(regimes, "age", 60) < 42


def test_what_comes_again_the_same_makes_a_change_since_unlikely():
    regimes = fresh()
    for now in range(0, 101, 20):
        tell(regimes, 1, NAN, NAN, now)
    before = ask(regimes, "fresh", seen=0)
    for now in (110, 111, 112):
        tell(regimes, 1.4, 1, 20, now)  # within the tolerance
    assert ask(regimes, "fresh", seen=20) > before
    assert ask(regimes, "fresh", seen=20) > 0.95


def test_a_change_grows_more_probable_with_time_and_half_of_all_regimes_have_ended_after_their_length():
    regimes = fresh()
    tell(regimes, 1, NAN, NAN, 0)
    ended = [ask(regimes, "ended", now) for now in (0, LENGTH / 2, LENGTH, 4 * LENGTH)]
    assert ended == sorted(ended)
    assert ended[0] == 0
    assert ended[2] == pytest.approx(0.5)
    assert ended[3] > 0.999


def test_it_finds_the_changes_of_a_made_up_client():
    rng, regimes = np.random.default_rng(0), fresh()
    now, change, truth = 1e9, 1e9, rng.normal(0, 5, 20)
    known, right, n = {}, 0, 0
    for _ in range(2_000):
        now += rng.exponential(8)
        if now - change > LENGTH * 1.05:
            change, truth = now - 1, rng.normal(0, 5, 20)
        member = rng.integers(20)
        last, seen = known.get(member, (NAN, NAN))
        tell(regimes, truth[member], last, seen, now)
        known[member] = truth[member], now
        other = known.get(rng.integers(20))
        if other is not None:
            n += 1
            right += (ask(regimes, "fresh", seen=other[1]) > 0.5) == (other[1] > change)
    assert right / n > 0.9


def test_many_outcomes_at_once_do_not_push_out_what_was_before():
    regimes = fresh()
    for now in range(0, 100, 10):
        tell(regimes, 1, NAN, NAN, now)
    for k in range(1_000):
        tell(regimes, 1, NAN, NAN, 100 + k / 1_000)
    held = regimes.edges[find(regimes, np.uint64(7))]
    assert (held[:-1] < 100).sum() >= 10
    assert ask(regimes, "fresh", seen=50) < 1


def test_an_outcome_from_the_past_counts_as_of_the_latest():
    one, other = fresh(), fresh()
    for regimes, now in ((one, 50), (other, 100)):
        tell(regimes, 1, NAN, NAN, 0)
        tell(regimes, 1, NAN, NAN, 100)
        tell(regimes, 3, 1, 0, now)
    np.testing.assert_array_equal(chances(one), chances(other))


@pytest.mark.parametrize(("group", "x"), [(0, 1.0), (7, NAN)])
def test_without_a_group_or_a_value_nothing_is_learned(group, x):
    regimes = fresh()
    tell(regimes, x, 1.0, 0.0, 10.0, group)
    assert not regimes.keys.any()
    assert all(math.isnan(ask(regimes, which, 10, 5)) for which in REGIME_PARTS)


def test_a_member_that_was_never_seen_has_no_freshness():
    regimes = fresh()
    tell(regimes, 1, NAN, NAN, 0)
    assert math.isnan(ask(regimes, "fresh", seen=NAN))


def test_memory_is_bounded_and_a_group_that_was_let_go_begins_anew():
    regimes = fresh()
    size, rng = regimes.keys.size, np.random.default_rng(0)
    for now in range(4 * size):
        tell(regimes, 1, NAN, NAN, now, rng.integers(1, 2**63))
    assert regimes.keys.size == size
    assert size % WAYS == 0
    assert regimes.counters[1] > 0
    held = regimes.rows[regimes.keys != 0, TIME_FLOATS : TIME_FLOATS + SPANS]
    np.testing.assert_allclose(held.sum(axis=1), 1, rtol=1e-5)

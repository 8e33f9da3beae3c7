"""Running statistics against plain dicts, and the bounds of the table that holds them."""

import math

import hypothesis.strategies as st
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings

from scheduler.history.arrays import TIME_FLOATS, WAYS
from scheduler.history.kernels.hash_table import find
from scheduler.history.kernels.statistics import update
from scheduler.history.store import capacities, new_history
from scheduler.runtime.hashing import PUBLIC_MULTIPLIER
from tests import models, twins

SPEC = models.spec()
HALF_LIVES = [60.0, 3600.0]
N_VALUES = 3

measured = st.floats(-1e6, 1e6) | st.just(math.nan)
wild = st.floats(-3e38, 3e38) | st.just(math.nan)
times = st.floats(-1e9, 1e10) | st.sampled_from([0.0, 1.0, 60.0])


def events(values, keys):
    return st.lists(st.tuples(keys, st.tuples(*[values] * N_VALUES), times), max_size=40)


def sharing_a_bucket(history, n):
    """The first keys whose product with the multiplier has the same high bits."""
    n_buckets, multiplier = history.keys.size // WAYS, int(PUBLIC_MULTIPLIER)
    return [key for key in range(1, 2 * n * n_buckets) if key * multiplier % 2**64 * n_buckets >> 64 == 5][:n]


def fresh():
    return new_history(SPEC)


def entry(history, key):
    """What the table holds under a key: last values and [value][half-life] of weight, mean, squares."""
    slot = find(history, np.uint64(key))
    row = history.rows[slot, TIME_FLOATS:].astype(float)
    return row[:N_VALUES], row[N_VALUES : N_VALUES * 7].reshape(N_VALUES, 2, 3)


def fold(history, steps):
    for key, values, now in steps:
        update(history, np.uint64(key), np.array(values, np.float32).astype(float), now)


def plain(steps):
    """Weighted mean and variance from their definition: every outcome, faded from its time to the last."""
    seen = {}
    for key, values, now in steps:
        at = max(now, seen[key][-1][1]) if key in seen else now
        seen.setdefault(key, []).append((np.array(values, np.float32).astype(float), at))
    return seen


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(events(measured, st.integers(1, 5)))
def test_it_steps_like_float32_dicts(steps):
    history, twin = fresh(), {}
    fold(history, steps)
    for key, values, now in steps:
        new = twins.Entry(N_VALUES, 2, now)
        twin.setdefault(key, new).update([float(np.float32(v)) for v in values], [1 / h for h in HALF_LIVES], now)
    for key, expected in twin.items():
        last, stats = entry(history, key)
        seen = ~np.isnan(expected.last)
        np.testing.assert_array_equal(last[seen], np.array(expected.last)[seen])
        np.testing.assert_array_equal(stats[..., 0], expected.weight)
        np.testing.assert_array_equal(stats[..., 1], expected.mean)
        np.testing.assert_array_equal(stats[..., 2], expected.squares)
        assert history.seen[find(history, np.uint64(key))] == expected.seen


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.tuples(*[st.floats(0, 20)] * N_VALUES), st.floats(0, 500)),
        max_size=30,
    )
)
def test_it_is_the_faded_mean_and_variance_of_all_outcomes(steps):
    history = fresh()
    fold(history, steps)
    for key, outcomes in plain(steps).items():
        _, stats = entry(history, key)
        last = outcomes[-1][1]
        for v in range(N_VALUES):
            for h, half_life in enumerate(HALF_LIVES):
                weights = [0.5 ** ((last - at) / half_life) for _, at in outcomes]
                total = math.fsum(weights)
                mean = math.fsum(w * x[v] for w, (x, _) in zip(weights, outcomes, strict=True)) / total
                squares = math.fsum(w * (x[v] - mean) ** 2 for w, (x, _) in zip(weights, outcomes, strict=True))
                np.testing.assert_allclose(stats[v, h], [total, mean, squares], rtol=1e-4, atol=1e-3)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(events(wild, st.integers(1, 3)))
def test_no_run_of_finite_outcomes_leaves_a_statistic_that_is_not_finite(steps):
    history = fresh()
    fold(history, steps)
    held = history.keys != 0
    assert np.isfinite(history.rows[held, TIME_FLOATS:]).all()
    assert np.isfinite(history.seen[held]).all()


def test_a_missing_value_only_fades():
    history = fresh()
    fold(history, [(5, (1.0, 2.0, 3.0), 0.0), (5, (math.nan,) * 3, 60.0)])
    last, stats = entry(history, 5)
    assert last.tolist() == [1, 2, 3]
    assert stats[:, 0, 0].tolist() == [0.5] * 3
    assert stats[:, 0, 1].tolist() == [1, 2, 3]


def test_an_outcome_older_than_the_last_counts_as_if_it_came_with_it():
    late, together = fresh(), fresh()
    fold(late, [(5, (1.0, 2.0, 3.0), 100.0), (5, (3.0, 4.0, 5.0), 40.0)])
    fold(together, [(5, (1.0, 2.0, 3.0), 100.0), (5, (3.0, 4.0, 5.0), 100.0)])
    np.testing.assert_array_equal(late.rows, together.rows)
    assert late.seen[find(late, np.uint64(5))] == 100


def test_a_missing_key_is_neither_stored_nor_found():
    history = fresh()
    fold(history, [(0, (1.0, 2.0, 3.0), 0.0)])
    assert find(history, np.uint64(0)) == -1
    assert not history.keys.any()


def test_a_full_bucket_lets_go_of_the_key_with_the_oldest_outcome():
    history = fresh()
    keys = sharing_a_bucket(history, WAYS + 1)
    ages = [50 + (i * 7) % WAYS for i in range(WAYS)]
    fold(history, [(key, (9.0, 9.0, 9.0), float(now)) for key, now in zip(keys[:WAYS], ages, strict=True)])
    fold(history, [(keys[WAYS], (1.0, 1.0, math.nan), 20.0)])
    oldest = keys[ages.index(min(ages))]
    assert [key for key in keys if find(history, np.uint64(key)) < 0] == [oldest]
    last, stats = entry(history, keys[WAYS])
    assert last[:2].tolist() == [1, 1]
    assert stats[0, 0].tolist() == [1, 1, 0]
    assert stats[2].ravel().tolist() == [0] * 6
    assert history.counters.tolist() == [WAYS, 1]


def test_memory_is_bounded_however_many_keys_come():
    history = fresh()
    size = history.rows.nbytes
    random = np.random.default_rng(0)
    values = np.array([1.0, 0.0, 2.0])
    for key in random.integers(1, 2**63, 3 * history.keys.size, dtype=np.uint64):
        update(history, key, values, 1.0)
    assert history.rows.nbytes == size
    assert history.counters.sum() == 3 * history.keys.size
    assert np.count_nonzero(history.keys) == history.counters[0] <= history.keys.size


def test_where_no_data_sizes_it_there_is_room_for_a_million():
    spec = models.spec(models.EXTENDED.replace("capacity = 1_024\n", "").replace("capacity = 64\n", ""))
    spec = msgspec.structs.replace(spec, history=msgspec.structs.replace(spec.history, capacity="auto"))
    assert capacities(spec) == {"history": 1_000_000, "latent_factors": 2 * 65_536, "change_points": 2 * 16_384}
    assert new_history(spec).keys.size == 2**21
    assert capacities(SPEC) == {"history": 4_096}


@pytest.mark.parametrize("capacity", [16, 17, 1000])
def test_room_is_made_for_twice_the_capacity_at_least(capacity):
    text = models.SPEC.replace("capacity = 4_096", f"capacity = {capacity}")
    slots = new_history(models.spec(text)).keys.size
    assert new_history(SPEC, capacity).keys.size == slots
    assert 2 * capacity <= slots < 4 * capacity + WAYS

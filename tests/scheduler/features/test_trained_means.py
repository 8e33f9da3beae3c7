"""The table of means of training against a dictionary, also where keys crowd; how a model serves them."""

import math
import tomllib

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from scheduler import Model, Scheduler
from scheduler.errors import InputError
from scheduler.features.kernels.trained_means import add, find, shrink
from scheduler.features.trained_means import (
    MOST_STEPS,
    MeansByKey,
    means_by_key,
    new_trained_means,
    trained_keys,
    trained_values,
)
from scheduler.history.arrays import LARGEST
from tests import models, twins

PLAIN = tomllib.loads(models.TRAINED)
SPEC = models.spec(models.TRAINED)
COLUMNS = np.array([0, 2], np.int32)

crowded = st.integers(1, 6).map(lambda i: (i << 32) | 5)
"""Keys that begin their search at the same place."""
keys = st.sets(st.integers(1, 2**64 - 1) | st.integers(1, 40) | crowded, max_size=40)


def table_of(known):
    order = np.array(sorted(known), np.uint64)
    rows = np.arange(4 * order.size, dtype=np.float32).reshape(-1, 4) + 1.0
    return MeansByKey(order, rows)


@settings(deadline=None)
@given(keys, st.sets(st.integers(0, 2**64 - 1) | crowded, max_size=20))
def test_every_key_is_found_with_its_row_and_no_other_key_is(known, others):
    means = table_of(known)
    table = new_trained_means(means)
    assert table.keys.size >= 2 * len(known)
    for i, key in enumerate(means.keys):
        np.testing.assert_array_equal(table.rows[find(table, key)], means.rows[i])
    for key in others - known:
        assert find(table, np.uint64(key)) == -1
    for ours, theirs in zip(means_by_key(table), means, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_keys_that_crowd_are_placed_up_to_a_bound_and_refused_beyond_it():
    def crowding(n):
        keys = (np.arange(1, n + 1, dtype=np.uint64) << np.uint64(32)) | np.uint64(5)
        return MeansByKey(keys, np.ones((n, 4), np.float32))

    table = new_trained_means(crowding(MOST_STEPS + 1))
    assert all(find(table, key) >= 0 for key in crowding(MOST_STEPS + 1).keys)
    with pytest.raises(InputError, match="expected hashes as keys, found keys of which more than 1,000 crowd"):
        new_trained_means(crowding(MOST_STEPS + 2))


numbers = st.floats(width=32, allow_nan=True, allow_infinity=True)


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([3, 2**40 + 3, 9, 77]), numbers, numbers), max_size=30))
def test_means_are_those_of_all_outcomes_of_a_key_that_has_a_place(outcomes):
    known = np.array([3, 9, 2**40 + 3], np.uint64)
    table = new_trained_means(MeansByKey(known, np.zeros((3, 4), np.float32)))
    for key, x, y in outcomes:
        add(table, np.uint64(key), np.array([x, 1.0, y]), COLUMNS)
    for key in known:
        row = table.rows[find(table, key)]
        for v in range(2):
            seen = [np.clip(one[1 + v], -LARGEST, LARGEST) for one in outcomes if one[0] == key]
            seen = [x for x in seen if not math.isnan(x)]
            assert row[2 * v] == len(seen)
            if seen:
                largest = max(map(abs, seen))
                assert row[2 * v + 1] == pytest.approx(math.fsum(x / len(seen) for x in seen), abs=1e-5 * largest)
    assert find(table, np.uint64(77)) == -1
    assert np.isfinite(table.rows).all()


def test_keys_without_an_outcome_are_not_kept():
    table = new_trained_means(MeansByKey(np.array([1, 2], np.uint64), np.array([[0, 0], [1, 3]], np.float32)))
    assert means_by_key(table).keys.tolist() == [2]


@pytest.mark.parametrize(
    ("n", "coarse", "expected"),
    [(0.0, 5.0, 5.0), (0.0, math.nan, math.nan), (3.0, math.nan, 2.0), (3.0, 6.0, (3 * 2.0 + 1.5 * 6.0) / 4.5)],
)
def test_a_mean_is_drawn_to_the_coarser_one_by_its_strength(n, coarse, expected):
    table = new_trained_means(MeansByKey(np.array([7], np.uint64), np.array([[n, 2.0]], np.float32)))
    assert shrink(table, 0 if n < 0 else find(table, np.uint64(7)), 0, 1.5, coarse) == pytest.approx(
        expected, nan_ok=True
    )
    assert shrink(table, -1, 0, 1.5, coarse) == pytest.approx(coarse, nan_ok=True)


def test_keys_and_values_are_those_that_features_read_in_the_order_of_the_spec():
    assert trained_keys(SPEC) == ["node", "client", "pair", "kind_node"]
    assert trained_values(SPEC) == ["log1p(rtt_ms)", "failed"]
    assert trained_keys(models.spec(models.EXTENDED)) == trained_values(models.spec(models.EXTENDED)) == []


def test_what_is_observed_changes_no_mean_of_training_and_what_history_forgets_stays(tmp_path):
    known = twins.History(PLAIN)
    nodes = [f"n{i}" for i in range(30)]
    for i, node in enumerate(nodes):
        known.train({"id": 1, "kind": "live"}, {"id": node}, [float(i), math.nan, math.nan, math.nan])
    model = Model.load(models.write_small(tmp_path / "small", models.TRAINED, known=known))
    at = model.features.names.index("trained")
    feature = PLAIN["features"]["trained"]
    sched = Scheduler(model, history_capacity=16)
    sched.fleet.upsert(nodes)
    request = {"client_id": 1, "kind": "live"}
    columns = {name: [value] for name, value in request.items()}
    for now in range(60):
        decision = sched.decide(request, nodes, now=float(now))
        sched.observe(decision.id, {"ok": True, "rtt_ms": 10.0, "speed": 1.0}, now=now + 0.5)
    found = sched.features(columns, [nodes], now=61.0)[0, :, at]
    expected = [known.trained(feature, {"id": 1, "kind": "live"}, {"id": node}, 61.0) for node in nodes]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))

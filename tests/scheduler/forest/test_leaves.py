"""The forest finds LightGBM's own leaf for every kind of split and value."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.scheduler.forest import twin
from tests.scheduler.forest.models import (
    SPECIAL,
    booster_of,
    join,
    random_model,
    random_owners,
    random_rows,
    text_of,
    trained,
)
from tests.thorough import THOROUGH
from training.heads.lightgbm_trees import forest_from_lightgbm

pytestmark = pytest.mark.usefixtures("cost_of_masks")


def assert_same(forest, boosters, x):
    """Leaves and double sums equal LightGBM's, bit for bit."""
    expected = [booster.predict(x, pred_leaf=True).reshape(len(x), -1) for booster in boosters]
    np.testing.assert_array_equal(forest.leaves(x), np.hstack(expected))
    raw = np.column_stack([booster.predict(x, raw_score=True) for booster in boosters])
    np.testing.assert_array_equal(forest.predict(x), raw)


@pytest.mark.slow
@given(st.integers(0, 2**32), st.integers(1, 20), st.integers(1, 64), st.integers(1, 8), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_random_models_agree_with_lightgbm_and_the_twin(seed, n_trees, max_leaves, n_features, n_heads):
    rng = np.random.default_rng(seed)
    texts = [random_model(rng, n_trees, max_leaves, n_features) for _ in range(n_heads)]
    boosters = [booster_of(text) for text in texts]
    x = random_rows(rng, 100, n_features, "".join(texts))
    forest = forest_from_lightgbm(boosters, **random_owners(rng, n_features))
    assert_same(forest, boosters, x)
    trees = [tree for text in texts for tree in twin.read_text(text)]
    assert forest.leaves(x[:10]).tolist() == twin.leaves(trees, x[:10])
    expected = np.column_stack([twin.scores(twin.read_text(text), x[:10]) for text in texts])
    np.testing.assert_array_equal(forest.predict(x[:10]), expected)


@pytest.mark.parametrize("missing", [0, 1, 2])
@pytest.mark.parametrize("default_left", [0, 1])
@pytest.mark.parametrize("threshold", [0.0, -0.0, 1e-36, -1e-36, 1e-35, -1e-35, 1.5, -1.5, 1e300, -1e300])
def test_each_corner_of_a_numerical_split(missing, default_left, threshold):
    tree = {
        "num_leaves": 2,
        "num_cat": 0,
        "split_feature": 0,
        "split_gain": 1,
        "threshold": repr(threshold),
        "decision_type": 4 * missing + 2 * default_left,
        "left_child": -1,
        "right_child": -2,
        "leaf_value": "0.25 0.5",
    }
    text = text_of([tree], 1)
    x = np.concatenate([SPECIAL, [threshold, np.nextafter(threshold, 9e9), np.nextafter(threshold, -9e9)]])[:, None]
    assert_same(forest_from_lightgbm(booster_of(text), node=[0]), [booster_of(text)], x)
    np.testing.assert_array_equal(
        forest_from_lightgbm(booster_of(text), pair=[0]).leaves(x), twin.leaves(twin.read_text(text), x)
    )


@pytest.mark.parametrize("members", [[0], [1], [31], [32], [0, 1, 2, 5], [63, 64, 95], list(range(96))])
def test_each_corner_of_a_categorical_split(members):
    bits = [sum(1 << (m - 32 * w) for m in members if m // 32 == w) for w in range(3)]
    tree = {
        "num_leaves": 2,
        "num_cat": 1,
        "split_feature": 0,
        "split_gain": 1,
        "threshold": 0,
        "decision_type": 1,
        "left_child": -1,
        "right_child": -2,
        "leaf_value": "0.25 0.5",
        "cat_boundaries": "0 3",
        "cat_threshold": join(bits),
    }
    text = text_of([tree], 1)
    near = np.array(members, float)
    x = np.concatenate([SPECIAL, np.arange(-2, 100, 0.5), np.nextafter(near, -9), np.nextafter(near + 1, -9)])[:, None]
    assert_same(forest_from_lightgbm(booster_of(text), request=[0]), [booster_of(text)], x)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"use_missing": False},
        {"zero_as_missing": True},
        {"max_bin": 1000, "num_leaves": 64},
        {"max_bin": 8},
        {"boosting": "dart", "num_leaves": 2},
        {"num_leaves": 33, "linear_tree": False},
        {"objective": "binary"},
    ],
    ids=str,
)
def test_trained_models_agree_with_lightgbm(params):
    booster, x = trained(**params) if params.get("objective") != "binary" else _binary()
    rng = np.random.default_rng(1)
    x = np.vstack([x, random_rows(rng, 1000, x.shape[1], booster.model_to_string())])
    assert_same(forest_from_lightgbm(booster, **random_owners(rng, x.shape[1])), [booster], x)


def _binary():
    import lightgbm as lgb  # noqa: PLC0415

    rng = np.random.default_rng(5)
    x = rng.normal(size=(2000, 9))
    params = {"objective": "binary", "verbose": -1, "num_leaves": 15, "num_threads": 1}
    return lgb.train(params, lgb.Dataset(x, x[:, 0] > 0), 10), x


def test_a_feature_may_be_categorical_in_one_head_only():
    rng = np.random.default_rng(2)
    texts = [random_model(rng, 8, 20, 3) for _ in range(4)]
    boosters = [booster_of(text) for text in texts]
    x = random_rows(rng, 500, 3, "".join(texts))
    assert_same(forest_from_lightgbm(boosters, request=[1], node=[2], pair=[0]), boosters, x)


def test_constant_and_one_leaf_trees():
    import lightgbm as lgb  # noqa: PLC0415

    x = np.ones((100, 2))
    booster = lgb.train({"verbose": -1}, lgb.Dataset(x, np.full(100, 3.5)), 3)
    forest = forest_from_lightgbm(booster, node=[0, 1])
    assert_same(forest, [booster], x)
    assert forest.node_words == 0
    rows = forest.node_rows(x)
    got = forest.score(forest.request_row([]), rows, np.array([3, 4]), np.empty((2, 0)))
    np.testing.assert_array_equal(got, np.full((2, 1), 3.5, np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("num_leaves", [31, 63])
def test_100_000_random_rows_have_lightgbms_leaves(num_leaves):
    booster, x = trained(3, n=20_000, n_features=20, n_trees=100, num_leaves=num_leaves)
    rng = np.random.default_rng(4)
    rows = np.vstack([random_rows(rng, 50_000, 20, booster.model_to_string()), rng.choice(x, 50_000)])
    with np.errstate(over="ignore"):
        rows[::7] = rows[::7].astype(np.float32)
    assert_same(forest_from_lightgbm(booster, **random_owners(rng, 20)), [booster], rows)


@pytest.mark.slow
def test_many_random_models():
    for seed, n_features in itertools.product(range(300 if THOROUGH else 30), (2, 6, 15)):
        rng = np.random.default_rng((seed, n_features))
        text = random_model(rng, 30, 64, n_features)
        x = random_rows(rng, 1000, n_features, text)
        booster = booster_of(text)
        assert_same(forest_from_lightgbm(booster, **random_owners(rng, n_features)), [booster], x)

"""Shapley values of pairs of rows: against all coalitions, against shap, and what they must never do."""

from itertools import permutations
from math import factorial

import lightgbm as lgb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.audit.shapley import response_of, shapley_of
from scheduler.forest.forest import Forest
from tests.scheduler.forest.models import booster_of, random_model, random_rows, trained
from training.heads.lightgbm_trees import trees_from_lightgbm


def by_all_orders(predict, x, z):
    """Shapley values by their definition: the mean over all orders of what a feature adds when it joins."""
    n = len(x)
    hybrids = np.array([[x[f] if mask >> f & 1 else z[f] for f in range(n)] for mask in range(2**n)])
    worth, out = predict(hybrids), np.zeros(n)
    for order in permutations(range(n)):
        mask = 0
        for f in order:
            out[f] += worth[mask | 1 << f] - worth[mask]
            mask |= 1 << f
    return out / factorial(n)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_trees=st.integers(0, 6), leaves=st.integers(1, 64))
def test_values_are_those_of_all_coalitions(seed, n_trees, leaves):
    rng = np.random.default_rng(seed)
    text = random_model(rng, n_trees, leaves, 5)
    trees = trees_from_lightgbm(booster_of(text))
    forest = Forest.build(trees, node=range(5))
    x, z = (random_rows(rng, 3, 5, text) for _ in range(2))
    found = shapley_of(trees, x, z)
    for i in range(3):
        expected = by_all_orders(lambda rows: forest.predict(rows)[:, 0], x[i], z[i])
        np.testing.assert_allclose(found[i], expected, atol=1e-12, rtol=0)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_features_that_are_equal_get_exactly_nothing_and_the_sum_is_the_difference(seed):
    rng = np.random.default_rng(seed)
    text = random_model(rng, 20, 64, 8)
    trees = trees_from_lightgbm(booster_of(text))
    x, z = (random_rows(rng, 20, 8, text) for _ in range(2))
    same = rng.random(x.shape) < 0.5
    z[same] = x[same]
    found = shapley_of(trees, x, z)
    assert np.all(found[same] == 0.0)
    raw = Forest.build(trees, node=range(8)).predict(np.concatenate([x, z]))[:, 0]
    np.testing.assert_allclose(found.sum(axis=1), raw[:20] - raw[20:], atol=1e-10)


def test_a_row_against_itself_and_swapped_rows():
    booster, x = trained(n_trees=10)
    trees = trees_from_lightgbm(booster)
    assert not shapley_of(trees, x[:50], x[:50]).any()
    np.testing.assert_allclose(shapley_of(trees, x[:50], x[50:100]), -shapley_of(trees, x[50:100], x[:50]), atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("missing", [False, True], ids=["whole", "missing"])
def test_values_are_those_of_shap(missing):
    shap = pytest.importorskip("shap")
    rng = np.random.default_rng(3)
    x = rng.normal(size=(4_000, 12))
    if missing:
        x[rng.random(x.shape) < 0.1] = np.nan
    y = np.nan_to_num(x) @ rng.normal(size=12) + np.nan_to_num(x[:, 0] * x[:, 1])
    options = {"num_leaves": 31, "verbose": -1, "num_threads": 1, "seed": 3}
    booster = lgb.train(options, lgb.Dataset(x, y), 100)
    trees = trees_from_lightgbm(booster)
    for background in x[:3]:
        explainer = shap.TreeExplainer(booster, background[None], feature_perturbation="interventional")
        expected = explainer.shap_values(x[100:200], check_additivity=False)
        found = shapley_of(trees, x[100:200], np.tile(background, (100, 1)))
        np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), feature=st.integers(0, 5))
def test_a_response_is_the_score_with_each_value_in_place(seed, feature):
    rng = np.random.default_rng(seed)
    text = random_model(rng, 8, 64, 6)
    trees = trees_from_lightgbm(booster_of(text))
    x, values = random_rows(rng, 1, 6, text)[0], random_rows(rng, 40, 6, text)[:, feature]
    rows = np.tile(x, (40, 1))
    rows[:, feature] = values
    expected = Forest.build(trees, node=range(6)).predict(rows)[:, 0]
    np.testing.assert_allclose(response_of(trees, x, feature, values), expected, atol=1e-12)

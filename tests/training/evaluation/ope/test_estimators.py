"""Estimators: equal to plain loops and to vw-estimators, with the algebra that the papers promise."""

import numpy as np
import pytest
from estimators.bandits import ips as vw_ips
from estimators.bandits import snips as vw_snips
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation.ope.estimators import (
    direct_method,
    doubly_robust,
    importance_weights,
    ips,
    logged_mean,
    slate_probability,
    snips,
    switch_dr,
    switch_threshold,
)

COSTS = st.floats(-1e4, 1e4)
CHANCES = st.floats(1e-3, 1.0)


@st.composite
def logs(draw):
    """Return cost, propensity, target, predicted and expected of a few rows."""
    n = draw(st.integers(1, 20))
    columns = [COSTS, CHANCES, st.floats(0.0, 1.0), COSTS, COSTS]
    return [np.array(draw(st.lists(values, min_size=n, max_size=n))) for values in columns]


@pytest.mark.slow
@given(logs())
def test_inverse_propensities_are_those_of_vw_estimators(log):
    cost, propensity, target, _, _ = log
    oracles = vw_ips.Estimator(), vw_snips.Estimator()
    for row in zip(propensity.tolist(), cost.tolist(), target.tolist(), strict=True):
        for oracle in oracles:
            oracle.add_example(*row)
    weight = importance_weights(propensity, target)
    assert ips(cost, weight).value == pytest.approx(oracles[0].get(), rel=1e-9, abs=1e-6)
    if weight.sum() > 0.0:
        assert snips(cost, weight).value == pytest.approx(oracles[1].get(), rel=1e-9, abs=1e-6)
    else:
        assert np.isnan(snips(cost, weight).value)


@pytest.mark.slow
@given(logs(), st.floats(0.1, 100.0))
def test_all_estimators_are_what_plain_loops_make_of_the_formulas(log, bound):
    cost, propensity, target, predicted, expected = log
    whole, weight = importance_weights(propensity, target), importance_weights(propensity, target, bound)
    found = [
        ips(cost, weight).value,
        direct_method(expected).value,
        doubly_robust(cost, weight, predicted, expected).value,
        switch_dr(cost, whole, predicted, expected, bound).value,
        logged_mean(cost).value,
    ]
    sums = [0.0] * len(found)
    for c, mu, pi, q, v in zip(*(column.tolist() for column in log), strict=True):
        cut, switched = min(pi / mu, bound), pi / mu if pi / mu <= bound else 0.0
        for k, term in enumerate((cut * c, v, v + cut * (c - q), v + switched * (c - q), c)):
            sums[k] += term
    assert found == pytest.approx([total / len(cost) for total in sums], rel=1e-9, abs=1e-6)


@pytest.mark.slow
@given(logs())
def test_with_a_threshold_above_all_weights_switch_dr_is_dr_and_with_one_below_the_direct_method(log):
    cost, propensity, target, predicted, expected = log
    weight = importance_weights(propensity, target)
    robust = doubly_robust(cost, weight, predicted, expected).value
    assert switch_dr(cost, weight, predicted, expected, np.inf).value == robust
    assert switch_dr(cost, weight, predicted, expected, -1.0).value == direct_method(expected).value


@pytest.mark.slow
@given(logs())
def test_doubly_robust_is_exact_with_a_right_model_and_is_ips_without_one(log):
    cost, propensity, target, _, expected = log
    weight, nothing = importance_weights(propensity, target), np.zeros(len(cost))
    assert doubly_robust(cost, weight, cost, expected).value == direct_method(expected).value
    assert doubly_robust(cost, weight, nothing, nothing).value == ips(cost, weight).value


@pytest.mark.slow
@given(logs(), st.floats(-100.0, 100.0))
def test_the_self_normalised_estimate_moves_along_with_all_costs_and_stays_in_their_range(log, step):
    cost, propensity, target, _, _ = log
    weight = importance_weights(propensity, target + 1e-6)
    value = snips(cost, weight).value
    assert snips(cost + step, weight).value == pytest.approx(value + step, rel=1e-9, abs=1e-6)
    assert cost.min() - 1e-6 <= value <= cost.max() + 1e-6


def test_the_threshold_leaves_large_weights_to_a_good_model_and_none_to_a_bad_one():
    rng = np.random.default_rng(0)
    cost, weight = rng.normal(10.0, 1.0, 1_000), np.where(rng.random(1_000) < 0.005, 200.0, 0.5)
    good, bad = cost + rng.normal(0.0, 0.001, 1_000), np.full(1_000, -1_000.0)
    expected = np.full(1_000, 10.0)
    assert switch_threshold(cost, weight, bad, expected) == 200.0
    noisy = good + np.where(weight > 1.0, rng.normal(0.0, 0.5, 1_000), 0.0)
    assert switch_threshold(cost, weight, noisy, expected) in (0.5, 200.0)


def test_a_slate_has_the_probability_of_its_first_node_where_the_target_lets_the_same_others_follow():
    logged = np.array([[3, 1, -1], [3, 1, -1], [5, -1, -1]])
    target = np.array([[3, 1, -1], [3, 2, -1], [5, -1, -1]])
    assert slate_probability(np.array([0.5, 0.25, 1.0]), logged, target).tolist() == [0.5, 0.0, 1.0]

"""Intervals: equal to plain loops, and they cover what they should where the truth is known."""

import numpy as np
import pytest
from estimators.bandits import gaussian
from scipy import stats

from training.evaluation.ope.estimators import Terms, importance_weights, ips, logged_mean, snips
from training.evaluation.ope.intervals import around, bootstrap, change, difference, empirical_bernstein, estimate


def a_log(n=400, seed=0):
    rng = np.random.default_rng(seed)
    propensity, target = rng.uniform(0.05, 1.0, n), rng.uniform(0.0, 1.0, n)
    return (
        rng.exponential(10.0, n),
        importance_weights(propensity, target),
        rng.integers(12, size=n),
        np.arange(n) // 40,
    )


def test_without_groups_and_skewness_the_interval_is_the_gaussian_one_of_vw_estimators():
    cost, weight, _, _ = a_log(5_000)
    oracle = gaussian.Interval()
    for c, w in zip(cost.tolist(), weight.tolist(), strict=True):
        oracle.add_example(0.01, c, 0.01 * w)
    found = around(estimate(ips(cost, weight)), skew=False)
    assert [found.low, found.high] == pytest.approx(oracle.get(0.05), rel=1e-4)  # a normal quantile for Student's


def test_the_error_over_two_groups_is_what_plain_loops_add_up():
    cost, weight, client, slices = a_log()
    terms = snips(cost, weight)
    total = weight.sum()

    def squares(key):
        sums = {}
        for k, c, w in zip(key, cost, weight, strict=True):
            sums[k] = sums.get(k, 0.0) + w * (c - terms.value) / total
        return sum(s * s for s in sums.values()), len(sums)

    (a, n), (b, m), (both, _) = (squares(key) for key in (client, slices, list(zip(client, slices, strict=True))))
    a, b = a * n / (n - 1), b * m / (m - 1)
    freedom = (a + b) ** 2 / (a**2 / (n - 1) + b**2 / (m - 1))
    half = stats.t.ppf(0.975, freedom) * np.sqrt(max(a + b - both, a, b))
    found = around(estimate(terms), (client, slices), skew=False)
    assert (found.low, found.high) == pytest.approx((terms.value - half, terms.value + half))


def test_a_skewed_figure_has_a_longer_side_and_a_symmetric_one_has_none():
    moved = np.random.default_rng(0).exponential(1.0, 300)
    skewed, plain = (around(estimate(logged_mean(moved)), skew=skew) for skew in (True, False))
    assert skewed.high > plain.high
    assert skewed.low > plain.low
    even = np.concatenate([moved, -moved])
    assert around(estimate(logged_mean(even))) == pytest.approx(around(estimate(logged_mean(even)), skew=False))


def test_changes_and_differences_are_those_of_the_estimates_and_their_errors_those_of_resamples():
    cost, weight, _, _ = a_log(2_000)
    new, old = snips(cost, weight), logged_mean(cost)
    assert change(new, old).value == pytest.approx(new.value / old.value - 1.0)
    assert difference(new, old).value == pytest.approx(new.value - old.value)
    rng, drawn = np.random.default_rng(1), []
    for _ in range(400):
        rows = rng.integers(cost.size, size=cost.size)
        a, b = (Terms(t.numerator[rows], t.denominator[rows]).value for t in (new, old))
        drawn.append((a / b - 1.0, a - b))
    for figure, values in zip((change(new, old), difference(new, old)), np.transpose(drawn), strict=True):
        assert np.sqrt((figure.moved**2).sum()) == pytest.approx(values.std(), rel=0.15)
        assert figure.moved.sum() == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("groups", [0, 1, 2])
def test_where_nothing_can_be_drawn_anew_rows_are_and_a_single_row_has_no_bounds(groups):
    cost, weight, client, _ = a_log()
    one = np.zeros(cost.size, int)
    terms = snips(cost, weight)
    assert around(estimate(terms), (one, one)[:groups]) == around(estimate(terms))
    assert around(estimate(terms), (client, one)) == around(estimate(terms), (client,))
    alone = around(estimate(snips(cost[:1], np.ones(1))), (client[:1],) * groups)
    assert (alone.low, alone.high) == (-np.inf, np.inf)


def test_without_any_weight_there_is_no_estimate_and_there_are_no_bounds():
    found = around(estimate(snips(np.ones(5), np.zeros(5))))
    assert np.isnan(found.value)
    assert (found.low, found.high) == (-np.inf, np.inf)


def covered(interval, n_samples=400, groups=30):
    """Share of samples whose interval holds the mean, of clients that share their luck."""
    hits = 0
    for seed in range(n_samples):
        rng = np.random.default_rng(seed)
        client = np.repeat(np.arange(groups), 20)
        cost = rng.exponential(1.0, groups)[client] + rng.exponential(1.0, client.size)
        found = interval(logged_mean(cost), client)
        hits += found.low <= 2.0 <= found.high
    return hits / n_samples


@pytest.mark.slow
def test_intervals_over_clients_cover_where_those_over_rows_do_not():
    assert covered(lambda terms, client: around(estimate(terms), (client,))) == pytest.approx(0.95, abs=0.03)
    assert covered(lambda terms, _: around(estimate(terms))) < 0.6


@pytest.mark.slow
def test_resampled_clients_give_about_the_same_interval():
    cost, weight, client, _ = a_log(4_000)
    by_luck, by_formula = bootstrap(snips(cost, weight), client), around(estimate(snips(cost, weight)), (client,))
    assert by_luck.value == by_formula.value
    assert by_luck.half == pytest.approx(by_formula.half, rel=0.3)
    rows, formula = bootstrap(snips(cost, weight)), around(estimate(snips(cost, weight)))
    assert rows.half == pytest.approx(formula.half, rel=0.1)


def test_empirical_bernstein_holds_for_few_rows_and_refuses_what_it_does_not_hold_for():
    hits = 0
    for seed in range(300):
        values = (np.random.default_rng(seed).random(30) < 0.1).astype(float)
        found = empirical_bernstein(logged_mean(values), 0.0, 1.0)
        assert 0.0 <= found.low <= found.value <= found.high <= 1.0
        hits += found.low <= 0.1 <= found.high
    assert hits == 300
    with pytest.raises(ValueError, match="expected the terms of a mean"):
        empirical_bernstein(snips(np.ones(3), np.array([1.0, 2.0, 1.0])), 0.0, 2.0)
    with pytest.raises(ValueError, match=r"expected terms from 0 to 1, found 1 to 3"):
        empirical_bernstein(logged_mean(np.array([1.0, 3.0])), 0.0, 1.0)

"""Expected values from raw scores, judged against known truths, and metrics against plain twins."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from scheduler.model.calibration import calibration_table, head_values
from training.heads.calibration import calibrate, calibrate_quantile
from training.heads.metrics import BINS, head_metrics, log_loss, log_odds, quantile_metrics, reliability

N = 20_000


def values(calibration, raw):
    return head_values(raw[:, None], calibration_table([calibration]))[:, 0]


def raw_scores(n=N, seed=0):
    return np.random.default_rng(seed).normal(size=n)


def test_the_mean_of_log_predictions_is_the_mean_of_the_outcomes():
    """Scores fitted to logarithms give the median; of a log-normal the mean is exp(variance / 2) higher."""
    rng, raw = np.random.default_rng(1), raw_scores()
    outcome = np.expm1(4.0 + 0.5 * raw + rng.normal(scale=1.0, size=N)).clip(0)
    naive = np.expm1(4.0 + 0.5 * raw)
    calibrated = values(calibrate("log", raw, outcome), raw)
    assert naive.mean() < 0.7 * outcome.mean()
    assert calibrated.mean() == pytest.approx(outcome.mean(), rel=1e-4)
    truth = np.exp(4.0 + 0.5 * raw + 0.5)  # the true conditional mean
    assert np.abs(calibrated / truth - 1).mean() < 0.05


def test_log_calibration_finds_the_true_line():
    rng, raw = np.random.default_rng(2), raw_scores()
    outcome = np.exp(2.0 + 0.7 * raw) * rng.gamma(4.0, 0.25, N)  # mean 1
    found = calibrate("log", raw, outcome)
    assert (found.intercept, found.slope) == (pytest.approx(2.0, abs=0.02), pytest.approx(0.7, abs=0.02))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e9])
def test_log_calibration_does_not_depend_on_the_unit(scale):
    raw = raw_scores(500)
    outcome = np.exp(0.5 * raw) * np.random.default_rng(3).gamma(4.0, 0.25, 500)
    one, other = calibrate("log", raw, outcome), calibrate("log", raw, scale * outcome)
    assert other.slope == pytest.approx(one.slope, rel=1e-9)
    assert other.intercept == pytest.approx(one.intercept + math.log(scale), rel=1e-9)


def platt(raw, outcome):
    """Newton's method on the log-likelihood of a logistic line, in plain steps."""
    a = b = 0.0
    for _ in range(50):
        p = 1 / (1 + np.exp(-(a + b * raw)))
        w, r = p * (1 - p), outcome - p
        h = np.array([[w.sum(), (w * raw).sum()], [(w * raw).sum(), (w * raw * raw).sum()]])
        step = np.linalg.solve(h, [r.sum(), (r * raw).sum()])
        a, b = a + step[0], b + step[1]
    return a, b


def test_failures_are_calibrated_by_platts_scaling():
    rng, raw = np.random.default_rng(4), raw_scores()
    outcome = (rng.random(N) < 1 / (1 + np.exp(2.0 - 1.5 * raw))).astype(float)
    found = calibrate("logistic", raw, outcome)
    assert (found.intercept, found.slope) == (pytest.approx(-2.0, abs=0.1), pytest.approx(1.5, abs=0.1))
    assert (found.intercept, found.slope) == pytest.approx(platt(raw, outcome), rel=1e-3)
    assert values(found, raw).mean() == pytest.approx(outcome.mean(), rel=1e-3)


def test_identity_is_calibrated_by_least_squares():
    raw = raw_scores(500)
    outcome = 3.0 + 2.0 * raw + np.random.default_rng(5).normal(size=500)
    found = calibrate("identity", raw, outcome)
    assert (found.slope, found.intercept) == pytest.approx(tuple(np.polyfit(raw, outcome, 1)), rel=1e-9)


@pytest.mark.parametrize("link", ["logistic", "log", "identity"])
@pytest.mark.parametrize("raw", [-raw_scores(400), np.zeros(400)], ids=["against the outcomes", "all the same"])
def test_scores_that_know_nothing_give_the_mean_outcome(link, raw):
    outcome = (raw_scores(400) > 0.5).astype(float)
    found = calibrate(link, raw, outcome)
    assert found.slope == 0.0
    np.testing.assert_allclose(values(found, raw), outcome.mean(), rtol=1e-9)


@pytest.mark.parametrize("outcome", [0.0, 1.0])
def test_with_one_kind_of_outcome_failure_scores_are_taken_as_they_are(outcome):
    found = calibrate("logistic", raw_scores(50), np.full(50, outcome))
    assert (found.intercept, found.slope) == (0.0, 1.0)


def test_outcomes_that_are_all_zero_give_about_zero():
    found = calibrate("log", raw_scores(50), np.zeros(50))
    assert (values(found, raw_scores(50)) < 1e-9).all()


def test_a_reliability_curve_has_bins_of_equal_counts():
    rng = np.random.default_rng(6)
    predicted = rng.random(1_003)
    outcome = (rng.random(1_003) < predicted).astype(float)
    curve = reliability(predicted, outcome)
    assert len(curve.counts) == BINS
    assert (curve.counts.sum(), np.ptp(curve.counts)) == (1_003, 1)
    assert (np.diff(curve.predicted) > 0).all()
    assert np.average(curve.observed, weights=curve.counts) == pytest.approx(outcome.mean())
    assert np.abs(curve.predicted - curve.observed).max() < 4 * 0.5 / math.sqrt(50)


def test_a_reliability_curve_leaves_out_rows_with_a_nan():
    rng = np.random.default_rng(0)
    predicted = rng.random(1_000)
    outcome = (rng.random(1_000) < predicted).astype(np.float32)
    outcome[:10], predicted[10:15] = np.nan, np.nan
    curve = reliability(predicted, outcome, n_bins=15)
    assert (len(curve.counts), curve.counts.sum()) == (15, 985)
    assert np.average(curve.observed, weights=curve.counts) == pytest.approx(outcome[15:].mean())
    assert [len(part) for part in reliability(np.full(3, np.nan), np.ones(3))] == [0, 0, 0]


@pytest.mark.slow
@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.5, np.inf]), st.booleans()), min_size=1), st.randoms())
def test_a_reliability_curve_does_not_depend_on_the_order_of_rows(rows, random):
    curve = reliability(*np.array(rows, float).T)
    random.shuffle(rows)
    again = reliability(*np.array(rows, float).T)
    assert curve.counts.sum() == len(rows)
    assert curve.counts.tolist() == again.counts.tolist()
    np.testing.assert_allclose(curve.observed, again.observed)


def test_equal_predictions_are_one_bin():
    curve = reliability(np.full(50, 0.2), np.arange(50) % 2)
    assert (curve.observed.tolist(), curve.counts.tolist()) == ([0.5], [50])


@pytest.mark.slow
@given(st.lists(st.tuples(st.floats(0.0, 1.0), st.sampled_from([0.0, 1.0])), min_size=1))
def test_log_loss_is_that_of_scikit_learn_and_stays_finite_for_certainty_that_was_wrong(rows):
    predicted, outcome = np.array(rows).T
    clipped = np.clip(predicted, 1e-15, 1.0 - 1e-15)
    expected = metrics.log_loss(outcome, clipped, labels=[0.0, 1.0])
    assert log_loss(log_odds(predicted), outcome) == pytest.approx(expected, abs=1e-12)


def test_the_log_loss_of_a_share_of_ones_that_is_predicted_as_it_is_is_its_entropy():
    rate = np.array([0.2])
    assert log_loss(log_odds(rate), rate) == pytest.approx(-(0.2 * math.log(0.2) + 0.8 * math.log(0.8)))


def test_fewer_rows_than_bins_have_a_bin_each():
    curve = reliability(np.array([0.3, 0.1, 0.2]), np.array([3.0, 1.0, 2.0]))
    assert curve.predicted.tolist() == [0.1, 0.2, 0.3]
    assert (curve.observed.tolist(), curve.counts.tolist()) == ([1.0, 2.0, 3.0], [1, 1, 1])


def test_failure_metrics_are_those_of_plain_sums():
    rng = np.random.default_rng(7)
    p = rng.random(300).round(2)  # with ties
    y = (rng.random(300) < p).astype(float)
    found = head_metrics("logistic", p, y)
    q = p.clip(1e-15, 1 - 1e-15)
    losses = [-math.log(a) if b else -math.log(1 - a) for a, b in zip(q, y, strict=True)]
    pairs = [(a > b) + (a == b) / 2 for a in p[y == 1] for b in p[y == 0]]
    assert found["log_loss"] == pytest.approx(sum(losses) / 300)
    assert found["brier"] == pytest.approx(((p - y) ** 2).mean())
    assert found["auc"] == pytest.approx(sum(pairs) / len(pairs))
    assert (found["n"], found["mean"]) == (300, pytest.approx(y.mean()))
    assert 0.0 <= found["calibration_error"] < 0.2


def test_without_both_kinds_there_is_no_auc():
    found = head_metrics("logistic", np.array([0.1, 0.2]), np.zeros(2))
    assert "auc" not in found
    assert math.isfinite(found["log_loss"])


def test_value_metrics_are_those_of_plain_sums():
    rng = np.random.default_rng(8)
    p, y = rng.random(300), rng.random(300)
    found = head_metrics("log", p, y)
    assert found["mae"] == pytest.approx(np.abs(p - y).mean())
    assert found["rmse"] == pytest.approx(math.sqrt(((p - y) ** 2).mean()))
    assert found["bias"] == pytest.approx(p.mean() / y.mean())


def test_a_perfect_prediction_has_no_calibration_error():
    y = np.random.default_rng(9).random(300)
    found = head_metrics("identity", y, y)
    assert (found["calibration_error"], found["mae"], found["bias"]) == pytest.approx((0.0, 0.0, 1.0))


def test_the_bias_of_outcomes_that_are_all_zero_is_not_defined():
    assert math.isnan(head_metrics("log", np.ones(5), np.zeros(5))["bias"])


@pytest.mark.parametrize("link", ["log", "identity"])
@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_a_quantile_covers_its_share_of_new_outcomes_however_wrong_the_scores_are(link, quantile):
    rng, raw = np.random.default_rng(5), raw_scores()
    outcome = np.exp(2.0 + 0.7 * raw + rng.normal(scale=0.5, size=N))
    half = N // 2
    found = calibrate_quantile(link, quantile, 3.0 + raw[:half], outcome[:half])
    predicted = values(found, 3.0 + raw[half:])
    covered = quantile_metrics(quantile, predicted, outcome[half:])["coverage"]
    assert covered == pytest.approx(quantile, abs=4 * math.sqrt(quantile * (1 - quantile) / half) * math.sqrt(2))


def test_a_quantile_of_few_rows_is_the_smallest_that_is_safe():
    found = calibrate_quantile("identity", 0.5, np.zeros(4), np.array([4.0, 1.0, 3.0, 2.0]))
    assert (found.intercept, found.slope) == (3.0, 1.0)  # the third of four: ceil(5 / 2)
    assert calibrate_quantile("identity", 0.9, np.zeros(2), np.array([1.0, 2.0])).intercept == 2.0


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_weighted_rows_give_the_quantile_of_the_rows_that_they_stand_for(quantile):
    """Rows are kept by a chance that rises with the outcome, and weigh its inverse."""
    rng, raw = np.random.default_rng(7), raw_scores(2 * N)
    outcome = raw + rng.normal(size=2 * N)
    propensity = 1.0 / (1.0 + np.exp(-outcome))
    kept = rng.random(2 * N) < propensity
    found = calibrate_quantile("identity", quantile, raw[kept], outcome[kept], 1.0 / propensity[kept])
    assert (outcome <= values(found, raw)).mean() == pytest.approx(quantile, abs=0.015)
    alike = calibrate_quantile("identity", quantile, raw[kept], outcome[kept])
    assert (outcome <= values(alike, raw)).mean() > quantile + 0.03


@given(
    steps=st.lists(st.floats(-10, 10), min_size=1, max_size=30),
    quantile=st.floats(0.01, 0.99),
    weight=st.floats(1e-3, 1e3),
)
def test_equal_weights_change_no_quantile(steps, quantile, weight):
    raw, outcome = np.zeros(len(steps)), np.array(steps)
    found = calibrate_quantile("identity", quantile, raw, outcome, np.full(len(steps), weight))
    assert found == calibrate_quantile("identity", quantile, raw, outcome)
    place = min(math.ceil(round((len(steps) + 1) * quantile, 6)), len(steps))
    assert found.intercept == sorted(steps)[place - 1]


def test_quantile_metrics_are_those_of_a_plain_loop():
    rng = np.random.default_rng(6)
    predicted, outcome = rng.normal(size=100), rng.normal(size=100)
    found = quantile_metrics(0.8, predicted, outcome)
    losses = [0.8 * (y - p) if y > p else 0.2 * (p - y) for p, y in zip(predicted, outcome, strict=True)]
    assert found["pinball"] == pytest.approx(sum(losses) / 100)
    assert found["coverage"] == sum(y <= p for p, y in zip(predicted, outcome, strict=True)) / 100

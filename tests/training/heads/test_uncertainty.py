"""Variances of leaves against a plain loop, and what is fitted to them: how large errors are, and the mean's part."""

import math

import lightgbm as lgb
import numpy as np
import pytest

from scheduler.model.manifest import Calibration
from training.heads.calibration import calibrate
from training.heads.lightgbm_trees import trees_from_lightgbm
from training.heads.uncertainty import (
    PRIOR,
    Errors,
    FittedRows,
    Rows,
    VarianceScale,
    error_level,
    find_errors,
    fit_variance_scale,
    leaf_variances,
    score_variances,
    uncertainty_metrics,
)


def fitted(objective, n=1_500, start=None):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    y = x[:, 0] + rng.normal(size=n)
    y = (y > 0.5 if objective == "binary" else y).astype(np.float32)
    params = {"objective": objective, "num_leaves": 6, "verbose": -1, "num_threads": 1, "learning_rate": 0.3}
    booster = lgb.train(params, lgb.Dataset(x, y, init_score=start), 4)
    return booster, trees_from_lightgbm(booster), x, y


def by_hand(booster, trees, x, y, *, logistic, offset=None):
    """Row by row and tree by tree: gradients and curvatures of each leaf's rows at the score before its tree."""
    leaf = booster.predict(x, pred_leaf=True).astype(int)
    start = math.log(y.mean() / (1 - y.mean())) if logistic else y.mean()
    out = []
    for t in range(trees.n_trees):
        values = trees.leaf_value[trees.leaf_start[t] : trees.leaf_start[t + 1]]
        squares, slopes = {}, {}
        for i in range(len(y)):
            before = 0.0 if t == 0 else booster.predict(x[[i]], raw_score=True, num_iteration=t)[0]
            before += offset[i] if offset is not None else start if t == 0 else 0.0
            mean = 1 / (1 + math.exp(-before)) if logistic else before
            squares.setdefault(leaf[i, t], []).append((y[i] - mean) ** 2)
            slopes.setdefault(leaf[i, t], []).append(mean * (1 - mean) if logistic else 1.0)
        whole = [sum(map(sum, part.values())) / len(y) for part in (squares, slopes)]
        for one in range(len(values)):
            n = len(squares[one])
            square, slope = (
                (sum(part[one]) + PRIOR * mean) / (n + PRIOR)
                for part, mean in zip((squares, slopes), whole, strict=True)
            )
            out.append(square / n / slope**2)
    return np.array(out)


@pytest.mark.parametrize("objective", ["regression", "binary"])
def test_a_leaf_has_the_variance_of_its_newton_step(objective):
    booster, trees, x, y = fitted(objective, 300)
    logistic = objective == "binary"
    found = leaf_variances(booster, trees, FittedRows(x, y), logistic=logistic, threads=1)
    np.testing.assert_allclose(found, by_hand(booster, trees, x, y, logistic=logistic), rtol=1e-6)
    trees = trees._replace(leaf_variance=found)
    sums = score_variances(booster, trees, x[:7], threads=1)
    at = booster.predict(x[:7], pred_leaf=True).astype(int) + trees.leaf_start[:-1]
    np.testing.assert_allclose(sums, found[at].sum(axis=1))


@pytest.mark.parametrize("objective", ["regression", "binary"])
def test_a_leaf_has_the_variance_of_its_step_from_an_offset_too(objective):
    offset = np.random.default_rng(5).normal(size=300)
    booster, trees, x, y = fitted(objective, 300, offset)
    logistic = objective == "binary"
    found = leaf_variances(booster, trees, FittedRows(x, y, offset), logistic=logistic, threads=1)
    np.testing.assert_allclose(found, by_hand(booster, trees, x, y, logistic=logistic, offset=offset), rtol=1e-6)


def test_a_sample_of_the_rows_says_about_the_same(monkeypatch):
    booster, trees, x, y = fitted("regression")
    every = leaf_variances(booster, trees, FittedRows(x, y), logistic=False, threads=1)
    monkeypatch.setattr("training.heads.uncertainty.SAMPLE", 500)
    monkeypatch.setattr("training.heads.uncertainty.CHUNK", 64)
    some = leaf_variances(booster, trees, FittedRows(x, y), logistic=False, threads=1)
    assert np.abs(np.log(some / every)).mean() < 0.3


def world(n=20_000, seed=0):
    """Errors of which a quarter is the mean's, growing with the 0.7th power of the variance."""
    rng = np.random.default_rng(seed)
    variance = np.exp(rng.normal(size=n))
    scale = np.sqrt(0.3 * variance**0.7)
    mean, own, again = scale * rng.normal(size=(3, n)) * np.sqrt([[0.25], [0.75], [0.75]])
    again[rng.random(n) < 0.5] = -mean[0] + np.nan
    return Errors(mean + own, mean + again, variance, np.ones(n))


def test_factor_power_and_the_share_of_the_mean_are_found():
    scale = fit_variance_scale(world())
    assert scale == pytest.approx((0.3, 0.7, 0.25), rel=0.1)
    assert scale.into(Calibration(link="log")) == Calibration(
        link="log", uncertainty=scale.factor * scale.share, power=scale.power
    )
    metrics = uncertainty_metrics("log", scale, world(seed=1))
    assert metrics["covered_68"] == pytest.approx(0.683, abs=0.01)
    assert metrics["covered_95"] == pytest.approx(0.95, abs=0.01)
    assert metrics["mean_ratio"] == pytest.approx(1.0, abs=0.1)
    assert metrics["mean_share"] == scale.share
    assert uncertainty_metrics("log", scale._replace(factor=0.15), world(seed=1))["mean_ratio"] == pytest.approx(
        2, abs=0.2
    )


def test_without_next_outcomes_all_of_the_error_is_the_means():
    found = world()._replace(again=np.full(20_000, np.nan))
    assert fit_variance_scale(found).share == 1.0
    assert math.isnan(uncertainty_metrics("log", fit_variance_scale(found), found)["mean_ratio"])


@pytest.mark.parametrize("variance", [np.ones(500), np.zeros(500)])
def test_variances_that_tell_nothing_leave_one_size_for_all(variance):
    own = np.random.default_rng(0).normal(size=500)
    scale = fit_variance_scale(Errors(own, -own, variance, np.ones(500)))
    assert scale == (pytest.approx((own**2).mean()), 0.0, 0.0)
    assert math.isnan(uncertainty_metrics("identity", scale, Errors(own, own, variance, np.ones(500)))["mean_ratio"])


def test_larger_variance_is_never_taken_for_smaller_error():
    rng = np.random.default_rng(0)
    variance = np.exp(rng.normal(size=2_000))
    own = rng.normal(size=2_000) / variance
    assert fit_variance_scale(Errors(own, own, variance, np.ones(2_000))).power == 0.0


def test_a_drift_between_calibration_and_judged_rows_shows_in_the_coverage():
    """With their own mean error taken off, judged rows of any drift would look covered."""
    rng = np.random.default_rng(0)
    raw = rng.normal(3.0, 0.5, 20_000)
    noise, again = rng.normal(0.0, 0.3, (2, raw.size))
    drift = 0.6

    def rows(by):
        return Rows(raw, np.expm1(raw + noise + by), np.ones(raw.size), np.expm1(raw + again + by))

    calibration = Calibration(link="log")
    level = error_level(calibration, rows(0.1))
    scale = fit_variance_scale(find_errors(calibration, rows(0.1), level))
    calm, drifted = (
        uncertainty_metrics("log", scale, find_errors(calibration, rows(0.1 + by), level)) for by in (0.0, drift)
    )
    assert calm["covered_95"] == pytest.approx(0.95, abs=0.01)
    assert drifted["covered_95"] < 0.6
    assert drifted["covered_68"] < 0.2


def test_the_share_of_the_mean_comes_from_rows_that_repeat_where_the_calibrating_ones_do_not():
    alone = world()._replace(again=np.full(20_000, np.nan))
    assert fit_variance_scale(alone).share == 1.0
    assert fit_variance_scale(alone, world(seed=2)).share == pytest.approx(0.25, rel=0.1)


def test_errors_stand_in_the_space_of_the_raw_score():
    rng = np.random.default_rng(0)
    raw, nothing = rng.normal(size=50_000), np.full(50_000, np.nan)
    p = 1 / (1 + np.exp(-(2 * raw - 1)))
    failed = (rng.random(raw.size) < p).astype(float)
    found = find_errors(Calibration(link="logistic", intercept=-1.0, slope=2.0), Rows(raw, failed, raw, nothing), 0.0)
    np.testing.assert_allclose(found.own, (failed - p) / (2 * p * (1 - p)))
    np.testing.assert_allclose(found.weight, p * (1 - p))
    assert np.isnan(found.again).all()
    found = find_errors(Calibration(link="log"), Rows(raw, np.expm1(np.abs(raw)), raw, np.expm1(np.abs(raw) + 1)), 0.0)
    np.testing.assert_allclose(found.own - found.own[0], (np.abs(raw) - raw) - (np.abs(raw) - raw)[0], atol=1e-9)
    np.testing.assert_allclose(found.again - found.own, 1.0)
    assert VarianceScale(2.0, 0.5, 1.0).of(np.array([4.0]))[0] == 4.0


@pytest.mark.parametrize("steep", [0.5, 1.0, 2.0])
def test_the_error_of_a_mean_is_told_whatever_the_slope_that_calibrates(steep):
    """Raw scores are spread ``steep`` times as far as logs of outcomes; means are off by 0.3, outcomes by 0.2."""
    rng, n = np.random.default_rng(0), 40_000
    expected, off = rng.normal(5.0, 0.7, n), rng.normal(0.0, 0.3, n)
    own, again = (np.expm1(np.maximum(expected + off + rng.normal(0.0, 0.2, n), 0.0)) for _ in range(2))
    rows = Rows(5.0 + steep * (expected - 5.0), own, np.full(n, 0.1) * np.exp(rng.normal(0.0, 0.1, n)), again)
    line = calibrate("log", rows.raw, rows.outcome)
    scale = fit_variance_scale(find_errors(line, rows, error_level(line, rows))).into(line)
    told = line.slope * np.sqrt(scale.uncertainty * rows.variance**scale.power)
    assert line.slope == pytest.approx(1.0 / steep, rel=0.05)
    assert told.mean() == pytest.approx(0.3, rel=0.05)

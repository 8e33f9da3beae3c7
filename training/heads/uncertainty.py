"""Estimate the uncertainty of a forest's scores: a variance per leaf, calibrated on rows that it was not fitted on.

A leaf's value is a mean over its rows and has the variance of that mean. The variances of a row's leaves are summed
over the trees (Nilsson, Johansson, Åkerblom, Haghir Chehreghani: Tree ensembles for contextual bandits, TMLR 2024).
Trees are not independent, and a leaf has rows of many pairs of client and node, so the sum says where the forest knows
less, not by how much. That is fitted: the squared error of an outcome is ``factor * sum ** power``, by a Gamma
regression with a log link. The error of the mean, as opposed to that of a single outcome, repeats in the next outcome
of the same pair: the product of two outcomes' errors from one prediction has the squared error of the mean as its
expectation, if the outcomes are independent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import GammaRegressor

from scheduler.forest.trees import Trees
from scheduler.model.manifest import Calibration
from training.sampling import evenly_spaced

if TYPE_CHECKING:
    import lightgbm as lgb

SAMPLE = 200_000
"""Fitted rows that leaf variances are estimated on, at most: enough for leaves of a thousandth of all rows."""

PRIOR = 10.0
"""Rows that a tree's mean squared gradient counts for in each of its leaves: a leaf of few rows is no surer for it."""

CHUNK = 20_000
"""Rows whose leaves in all trees are looked up together: some 50 MB."""

LEAST = 1e-30
"""Sum of variances, or squared error, that counts as one: neither has a logarithm at 0."""

ONE_SIGMA, TWO_SIGMA = 1.0, 1.959964
"""Standard deviations within which 68.3 % and 95 % of a normal variable lie."""


class Rows(NamedTuple):
    """Scores and outcomes of rows that a head was not fitted on, all (n,) float64.

    Attributes
    ----------
    raw, variance
        Raw scores and their sums of leaf variances.
    outcome, again
        Outcomes in the unit of the head's value, and the next ones of the same client and node, NaN where unknown.
    weight
        As in `training.features.dataset.Dataset`.
    """

    raw: NDArray[np.float64]
    outcome: NDArray[np.float64]
    variance: NDArray[np.float64]
    again: NDArray[np.float64]
    weight: NDArray[np.float64] | None = None


def joined_rows(parts: Sequence[Rows]) -> Rows:
    """Return all rows of several parts; without weights in all of them, rows of a part without weigh 1."""
    weights = [np.ones(part.raw.size) if part.weight is None else part.weight for part in parts]
    return Rows(
        raw=np.concatenate([part.raw for part in parts]),
        outcome=np.concatenate([part.outcome for part in parts]),
        variance=np.concatenate([part.variance for part in parts]),
        again=np.concatenate([part.again for part in parts]),
        weight=None if all(part.weight is None for part in parts) else np.concatenate(weights),
    )


class FittedRows(NamedTuple):
    """Rows that a booster was fitted on.

    Attributes
    ----------
    x, y
        (n, n_features) float32 rows, and (n,) float32 targets.
    start
        (n,) float64, what the raw scores started from; None where LightGBM began from a constant of its own.
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    start: NDArray[np.float64] | None = None


class Errors(NamedTuple):
    """Errors of rows that a head was not fitted on, in the space of the raw score.

    Attributes
    ----------
    own, again
        (n,) error of the row's outcome, and of the next outcome of its client and node from the same prediction, NaN
        where that is not known.
    variance
        (n,) sums of leaf variances.
    weight
        (n,) how much a row tells: a failure that was hardly expected is a huge error in this space, and a rare one.
    """

    own: NDArray[np.float64]
    again: NDArray[np.float64]
    variance: NDArray[np.float64]
    weight: NDArray[np.float64]


class VarianceScale(NamedTuple):
    """An outcome's squared error is about ``factor * sum ** power``; ``share`` of it is the mean's."""

    factor: float
    power: float
    share: float

    def of(self, variance: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the expected squared error of outcomes by their rows' sums of leaf variances."""
        return self.factor * np.maximum(variance, LEAST) ** self.power

    def into(self, calibration: Calibration) -> Calibration:
        """Return a head's calibration with what of it is the mean's."""
        return msgspec.structs.replace(calibration, uncertainty=self.factor * self.share, power=self.power)


def leaf_variances(
    booster: lgb.Booster, trees: Trees, fitted: FittedRows, *, logistic: bool, threads: int
) -> NDArray[np.float64]:
    """Return the variance of each leaf's Newton step, before the learning rate; `fit_variance_scale` adds that.

    That is mean(g^2) / (n mean(h)^2) over the n fitted rows in the leaf, with g and h the first and second derivative
    of the loss at the score before the tree: for squared errors the variance of the mean residual.
    """
    y = fitted.y
    rows = evenly_spaced(len(y), SAMPLE)
    target = y[rows].astype(np.float64)
    n, squares, slopes = np.zeros((3, len(trees.leaf_value)))
    for some, at in _leaves(booster, trees, fitted.x[rows], threads):
        value = trees.leaf_value[at]
        before = np.cumsum(value, axis=1) - value
        if fitted.start is None:
            before[:, 0] = _constant(target, logistic)  # the first tree carries what boosting began from
        else:
            before += fitted.start[rows][some, None]
        mean = 1.0 / (1.0 + np.exp(-before)) if logistic else before
        flat = at.ravel()
        n += np.bincount(flat, minlength=n.size)
        squares += np.bincount(flat, ((target[some, None] - mean) ** 2).ravel(), n.size)
        slopes += np.bincount(flat, (mean * (1.0 - mean)).ravel(), n.size) if logistic else 0.0
    if not logistic:
        slopes = n
    tree = np.repeat(np.arange(trees.n_trees), np.diff(trees.leaf_start))
    square, slope = (_shrunk(sums, n, tree, len(rows)) for sums in (squares, slopes))
    share = len(y) / len(rows)
    return np.asarray(square / (np.maximum(n, 1.0) * share * np.maximum(slope, LEAST) ** 2))


def _constant(target: NDArray[np.float64], logistic: bool) -> float:  # noqa: FBT001
    """Return the constant that boosting begins from."""
    mean = float(target.mean())
    if not logistic:
        return mean
    return float(np.log(mean / (1.0 - mean))) if 0.0 < mean < 1.0 else 0.0


def _shrunk(
    sums: NDArray[np.float64], n: NDArray[np.float64], tree: NDArray[np.int64], n_rows: int
) -> NDArray[np.float64]:
    """Return means by leaf, shrunk towards the mean of the leaf's tree."""
    whole = np.bincount(tree, sums)[tree] / n_rows
    return (sums + PRIOR * whole) / (n + PRIOR)


def score_variances(booster: lgb.Booster, trees: Trees, x: NDArray[np.float32], *, threads: int) -> NDArray[np.float64]:
    """Return for each row the sum of the variances of the leaves that LightGBM names."""
    out = np.zeros(len(x))
    for some, at in _leaves(booster, trees, x, threads):
        out[some] = trees.leaf_variance[at].sum(axis=1)
    return out


def _leaves(
    booster: lgb.Booster, trees: Trees, x: NDArray[np.float32], threads: int
) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """Give places of leaves, (rows, trees), of some rows at a time."""
    for start in range(0, len(x), CHUNK):
        some = slice(start, start + CHUNK)
        leaf = np.asarray(booster.predict(x[some], pred_leaf=True, num_threads=threads), np.int64)
        yield some, leaf.reshape(-1, trees.n_trees) + trees.leaf_start[:-1]


def error_level(calibration: Calibration, rows: Rows) -> float:
    """Return the mean error of rows in the space of the raw score, which the link leaves to the calibration.

    For failures it is 0: their calibration works in that space.
    """
    if calibration.link == "logistic":
        return 0.0
    return float(_raw_errors(calibration, rows.outcome, rows.raw).mean())


def _raw_errors(
    calibration: Calibration, outcome: NDArray[np.float64], raw: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how far outcomes are from the calibrated line, less its intercept, in the space of the raw score.

    A decision multiplies deviations of the raw score by the slope, so what the line leaves is divided by it; by 1 where
    the score says nothing, as then 0 is made of all.
    """
    linked = np.log1p(outcome) if calibration.link == "log" else outcome
    return (linked - calibration.slope * raw) / (calibration.slope if calibration.slope > 0.0 else 1.0)


def find_errors(calibration: Calibration, rows: Rows, level: float) -> Errors:
    """Return the errors of rows, a level taken off.

    The level is that of the rows that calibrated, for these rows and for later ones alike: one of the judged rows' own
    would hide a drift of any size. All errors are over the slope of the calibration. For failures they are the working
    residuals, (outcome - p) / (p (1 - p)), and rows weigh p (1 - p).
    """
    raw, outcomes = rows.raw, (rows.outcome, rows.again)
    if calibration.link == "logistic":
        p = 1.0 / (1.0 + np.exp(-(calibration.intercept + calibration.slope * raw)))
        weight = np.maximum(p * (1.0 - p), 1e-9)
        own, again = ((one - p) / (weight * max(calibration.slope, LEAST)) for one in outcomes)
        return Errors(own, again, rows.variance, weight)
    own, again = (_raw_errors(calibration, one, raw) for one in outcomes)
    return Errors(own - level, again - level, rows.variance, np.ones(raw.size))


def fit_variance_scale(found: Errors, repeated: Errors | None = None) -> VarianceScale:
    """Fit how large errors are by the sums of leaf variances, and which share of their squares is the mean's.

    The share comes from ``repeated``, rows with next outcomes; by default from the same rows.

    The power is not negative: where rows of larger variance do not have larger errors, all are alike. Where no next
    outcome is known the share is 1, so that no pair counts as better known than it is.
    """
    squares = np.maximum(found.own**2, LEAST)
    mean = float(np.average(squares, weights=found.weight))
    x = np.log(np.maximum(found.variance, LEAST))
    factor, power = mean, 0.0
    if float(x.std()) > 0.0:
        fitted = GammaRegressor(alpha=0.0, max_iter=1_000).fit(
            (x - x.mean())[:, None], squares / mean, sample_weight=found.weight
        )
        slope = float(fitted.coef_[0])
        if np.isfinite(slope) and slope > 0.0:
            power, factor = slope, mean * float(np.exp(fitted.intercept_ - slope * x.mean()))
    twice = found if repeated is None else repeated
    known = ~np.isnan(twice.again)
    whole = VarianceScale(factor, power, 1.0)
    if not known.any():
        return whole
    weight = twice.weight[known] / whole.of(twice.variance[known])
    own = twice.own[known]
    share = float((own * twice.again[known] * weight).sum() / max((own**2 * weight).sum(), LEAST))
    return whole._replace(share=min(max(share, 0.0), 1.0))


def uncertainty_metrics(link: str, scale: VarianceScale, found: Errors) -> dict[str, float]:
    """Return how well the fitted variances hold on other rows.

    ``mean_share`` is the share of the squared error that is the mean's, ``mean_ratio`` the squared error of the mean
    over the expected one: above 1 the model is too sure. ``covered_68`` and ``covered_95`` are the
    shares of outcomes within 1 and 1.96 standard deviations of the prediction; failures have none.
    """
    expected = scale.of(found.variance)
    known = ~np.isnan(found.again)
    ratio = float("nan")
    if known.any() and scale.share > 0.0:
        products = found.own[known] * found.again[known] / expected[known]
        ratio = float(np.average(products, weights=found.weight[known])) / scale.share
    metrics = {"mean_share": scale.share, "mean_ratio": ratio}
    if link != "logistic":
        away = np.abs(found.own) / np.sqrt(expected)
        metrics |= {"covered_68": float((away <= ONE_SIGMA).mean()), "covered_95": float((away <= TWO_SIGMA).mean())}
    return metrics

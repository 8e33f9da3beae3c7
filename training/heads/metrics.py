"""Metrics of predictions."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import (
    brier_score_loss,
    mean_absolute_error,
    mean_pinball_loss,
    roc_auc_score,
    root_mean_squared_error,
)

from scheduler.spec import Head

LEAST_PROBABILITY = 1e-15
"""Probabilities are kept this far from 0 and 1, so that one wrong certainty does not make a mean infinite."""

LEAST_RATE = 1e-9
"""Least share of ones that a constant is fitted to: it keeps the loss of outcomes that are all alike above 0."""

BINS = 20
"""Bins of a reliability curve, of about equal counts."""


class Reliability(NamedTuple):
    """A reliability curve: (n_bins,) mean predictions, mean outcomes and counts of rows binned by prediction."""

    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    counts: NDArray[np.int64]


def log_odds(probability: ArrayLike) -> NDArray[np.float64]:
    """Return the log odds of probabilities, at least `LEAST_PROBABILITY` away from 0 and 1."""
    p = np.clip(np.asarray(probability, np.float64), LEAST_PROBABILITY, 1.0 - LEAST_PROBABILITY)
    return np.log(p) - np.log1p(-p)


Weights: TypeAlias = "NDArray[np.floating] | None"
"""(n,) weights of rows, None if all count alike."""


def log_loss(raw: NDArray[np.float64], outcome: NDArray[np.floating], weight: Weights = None) -> float:
    """Return the mean negative log likelihood of 0/1 outcomes, given log odds (raw scores of a logistic head).

    An outcome between 0 and 1 is a share of ones; predicted as it is, its loss is its entropy.
    """
    return float(np.average(np.logaddexp(0.0, raw) - outcome * raw, weights=weight))


def squared_error(predicted: NDArray[np.float64], outcome: NDArray[np.floating], weight: Weights = None) -> float:
    """Return the mean squared error."""
    return float(np.average((predicted - outcome) ** 2, weights=weight))


def pinball_loss(
    predicted: NDArray[np.float64], outcome: NDArray[np.floating], quantile: float, weight: Weights = None
) -> float:
    """Return the mean pinball loss, which the quantile itself makes least."""
    return float(mean_pinball_loss(outcome, predicted, alpha=quantile, sample_weight=weight))


def head_loss(head: Head, raw: NDArray[np.float64], target: NDArray[np.floating], weight: Weights = None) -> float:
    """Return the loss that a head is fitted by, of raw scores for targets: pinball, log loss or squared error."""
    if head.quantile is not None:
        return pinball_loss(raw, target, head.quantile, weight)
    return log_loss(raw, target, weight) if head.link == "logistic" else squared_error(raw, target, weight)


def constant_loss(head: Head, target: NDArray[np.floating]) -> float:
    """Return the least loss that one raw score for all targets can have."""
    if head.quantile is not None:
        return head_loss(head, np.full(target.shape, np.quantile(target, head.quantile)), target)
    mean = target.mean(keepdims=True)
    if head.link != "logistic":
        return squared_error(mean, target)
    rate = np.clip(mean, LEAST_RATE, 1.0 - LEAST_RATE)
    return log_loss(log_odds(rate), rate)


def quantile_metrics(quantile: float, predicted: NDArray[np.float64], outcome: NDArray[np.float64]) -> dict[str, float]:
    """Return how good quantiles are: the share of outcomes they cover, and their proper score, the pinball loss."""
    return {
        "n": float(outcome.size),
        "mean": float(outcome.mean()),
        "coverage": float((outcome <= predicted).mean()),
        "pinball": pinball_loss(predicted, outcome, quantile),
    }


def reliability(predicted: NDArray[np.float64], outcome: NDArray[np.floating], *, n_bins: int = BINS) -> Reliability:
    """Return the reliability curve of rows in at most ``n_bins`` bins of about equal counts.

    Equal predictions stay in one bin, so the order of rows changes nothing. Rows with a NaN are left out.
    """
    known = ~(np.isnan(predicted) | np.isnan(outcome))
    predicted, outcome = predicted[known], outcome[known].astype(np.float64)
    shares = np.arange(1, n_bins) / n_bins
    ends = np.unique(np.quantile(predicted, shares, method="lower")) if len(predicted) else np.empty(0)
    at = np.searchsorted(ends, predicted, side="left")
    counts = np.bincount(at, minlength=len(ends) + 1)
    sums = [np.bincount(at, values, len(counts)) for values in (predicted, outcome)]
    filled = counts > 0
    return Reliability(sums[0][filled] / counts[filled], sums[1][filled] / counts[filled], counts[filled])


def head_metrics(link: str, predicted: NDArray[np.float64], outcome: NDArray[np.float64]) -> dict[str, float]:
    """Return how good predictions are.

    For failures: log loss, Brier score, area under the ROC curve (where both kinds occur) and the base rate;
    otherwise: mean absolute error, root mean squared error, bias as a ratio of means, and the rank correlation
    is left to the decision figures. ``calibration_error`` is the count-weighted mean gap of the reliability curve.
    """
    curve = reliability(predicted, outcome)
    gap = float(np.average(np.abs(curve.predicted - curve.observed), weights=curve.counts))
    metrics = {"n": float(outcome.size), "mean": float(outcome.mean()), "calibration_error": gap}
    if link == "logistic":
        labels = [0.0, 1.0]
        metrics["log_loss"] = log_loss(log_odds(predicted), outcome)
        metrics["brier"] = float(brier_score_loss(outcome, predicted, labels=labels))
        if np.unique(outcome).size == len(labels):
            metrics["auc"] = float(roc_auc_score(outcome, predicted))
        return metrics
    metrics["mae"] = float(mean_absolute_error(outcome, predicted))
    metrics["rmse"] = float(root_mean_squared_error(outcome, predicted))
    metrics["bias"] = float(predicted.mean() / outcome.mean()) if outcome.mean() else float("nan")
    return metrics

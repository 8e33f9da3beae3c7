"""Metrics of predictions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    brier_score_loss,
    log_loss,
    mean_absolute_error,
    mean_pinball_loss,
    roc_auc_score,
    root_mean_squared_error,
)


def head_loss(raw: NDArray[np.float64], y: NDArray[np.float32], *, logistic: bool) -> float:
    """Return the mean loss of raw scores: log loss for a logistic link, else the squared error."""
    return float((np.logaddexp(0.0, raw) - y * raw).mean() if logistic else ((raw - y) ** 2).mean())


BINS = 20
"""Bins of a reliability curve, of equal counts."""


class Reliability(NamedTuple):
    """Mean prediction and mean outcome of rows binned by prediction, with their counts."""

    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    counts: NDArray[np.int64]


def quantile_metrics(quantile: float, predicted: NDArray[np.float64], outcome: NDArray[np.float64]) -> dict[str, float]:
    """Return how good quantiles are: the share of outcomes they cover, and their proper score, the pinball loss."""
    return {
        "n": float(outcome.size),
        "mean": float(outcome.mean()),
        "coverage": float((outcome <= predicted).mean()),
        "pinball": float(mean_pinball_loss(outcome, predicted, alpha=quantile)),
    }


def reliability(predicted: NDArray[np.float64], outcome: NDArray[np.float64]) -> Reliability:
    """Bin rows by prediction into at most `BINS` bins of equal counts."""
    order = np.argsort(predicted, kind="stable")
    bins = [b for b in np.array_split(order, BINS) if b.size]
    return Reliability(
        np.array([predicted[b].mean() for b in bins]),
        np.array([outcome[b].mean() for b in bins]),
        np.array([b.size for b in bins]),
    )


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
        metrics["log_loss"] = float(log_loss(outcome, np.clip(predicted, 1e-15, 1 - 1e-15), labels=labels))
        metrics["brier"] = float(brier_score_loss(outcome, predicted, labels=labels))
        if np.unique(outcome).size == len(labels):
            metrics["auc"] = float(roc_auc_score(outcome, predicted))
        return metrics
    metrics["mae"] = float(mean_absolute_error(outcome, predicted))
    metrics["rmse"] = float(root_mean_squared_error(outcome, predicted))
    metrics["bias"] = float(predicted.mean() / outcome.mean()) if outcome.mean() else float("nan")
    return metrics

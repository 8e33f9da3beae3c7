"""Fit what a head starts from: a line in a mean of its target, which trees then only have to correct."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression, LogisticRegression

from scheduler.errors import DataError
from scheduler.model.manifest import Offset
from scheduler.model.offsets import offset_values
from scheduler.spec import AUTO, NO_OFFSET, Head, Spec, Transform, offset_features
from training.features.dataset import Dataset
from training.heads.metrics import head_loss
from training.sampling import evenly_spaced

Floats = NDArray[np.float64]

SAMPLE = 200_000
"""Fitted rows that a line is fitted to at most: it has two numbers, each known to far below a hundredth then."""


def starts(name: str, dataset: Dataset, rows: NDArray[np.int64], spec: Spec) -> list[Offset | None]:
    """Return what a head may start from, to be fitted each and compared: None is nothing.

    With ``offset = "auto"`` that is nothing, and of all means of the head's target the one whose line has the least
    loss on the fitted rows. With a feature's name it is that alone, or nothing where no line in it can be fitted.

    Parameters
    ----------
    rows
        Places of the rows that are fitted.

    Raises
    ------
    DataError
        If no line can be fitted for a head without trees.
    """
    head = spec.heads[name]
    known = offset_features(spec, head)
    if head.offset == NO_OFFSET or not known:
        return [None]
    wanted = known if head.offset == AUTO else {head.offset: known[head.offset]}
    some = rows[evenly_spaced(rows.size, SAMPLE)]
    y = dataset.targets[name][some].astype(np.float64)
    weight = None if dataset.weight is None else dataset.weight[some].astype(np.float64)
    columns = {feature: dataset.x[some, dataset.features.names.index(feature)] for feature in wanted}
    fitted = {
        feature: line
        for feature, transform in wanted.items()
        if (line := fit_offset(head, feature, transform, columns[feature], y, weight)) is not None
    }
    if not fitted:
        if not head.trees:
            expected = f"expected {head.target} to rise with {head.offset}, as it has no trees"
            raise DataError(f"head {name}: {expected}, found that it does not")
        return [None]
    best = min(fitted, key=lambda feature: head_loss(head, offset_values(fitted[feature], columns[feature]), y, weight))
    return [None, fitted[best]] if head.offset == AUTO else [fitted[best]]


def fit_offset(
    head: Head,
    feature: str,
    transform: Transform,
    x: NDArray[np.float32],
    y: Floats,
    weight: Floats | None = None,
) -> Offset | None:
    """Fit the line in a feature that predicts a head's target best by the head's loss.

    Where pairs have few outcomes their mean is drawn to the others by a slope below 1.

    Parameters
    ----------
    x, y
        (n,) the feature and the target.
    weight
        (n,) weights of the rows, None if all count alike.

    Returns
    -------
    Offset or None
        None where the feature is hardly ever known, is always the same, or says the opposite of the target.
    """
    known = np.isfinite(x)
    if known.sum() < 2 or (head.link == "logistic" and np.unique(y[known]).size < 2):  # noqa: PLR2004 - a line
        return None
    least, most = _limits(transform, x[known].astype(np.float64))
    if transform == "log1p" and least <= -1.0:
        return None
    flat = Offset(feature=feature, transform=transform, least=least, most=most, intercept=0.0, slope=1.0, missing=0.0)
    rows = np.ones(y.size) if weight is None else weight
    line = _line(head, offset_values(flat, x[known]), y[known], rows[known])
    if line is None:
        return None
    others = np.ones(y.size, np.bool_) if known.all() else ~known
    return Offset(
        feature=feature,
        transform=transform,
        least=least,
        most=most,
        intercept=line[0],
        slope=line[1],
        missing=_constant(head, y[others], rows[others]),
    )


def _limits(transform: Transform, x: Floats) -> tuple[float, float]:
    """Return the range of the feature: what was seen, and for a share no less than one in the rows that there are."""
    if transform == "logit":
        least = 1.0 / (x.size + 2.0)
        return least, 1.0 - least
    return float(x.min()), float(x.max())


def _line(head: Head, z: Floats, y: Floats, weight: Floats) -> tuple[float, float] | None:
    """Return intercept and slope of the target in a transformed mean; None unless it rises."""
    if head.link == "logistic":
        fitted = LogisticRegression(C=np.inf, max_iter=1_000).fit(z[:, None], y > 0, weight)
        intercept, slope = float(fitted.intercept_[0]), float(fitted.coef_[0, 0])
    else:
        fitted = LinearRegression().fit(z[:, None], y, weight)
        intercept, slope = float(fitted.intercept_), float(fitted.coef_[0])
    if not np.isfinite([intercept, slope]).all() or slope <= 0.0:
        return None
    if head.quantile is not None:
        intercept += _quantile(y - intercept - slope * z, head.quantile, weight)
    return intercept, slope


def _constant(head: Head, y: Floats, weight: Floats) -> float:
    """Return the raw score for rows without the mean: the best constant of theirs."""
    if head.quantile is not None:
        return _quantile(y, head.quantile, weight)
    mean = float(np.average(y, weights=weight))
    if head.link == "logistic":
        share = (mean * y.size + 1.0) / (y.size + 2.0)  # not 0 or 1, which have no log odds
        return float(np.log(share / (1.0 - share)))
    return mean


def _quantile(y: Floats, quantile: float, weight: Floats) -> float:
    """Return a quantile of weighted values, as numpy does where all weights are equal."""
    if np.ptp(weight) == 0.0:
        return float(np.quantile(y, quantile))
    return float(np.quantile(y, quantile, method="inverted_cdf", weights=weight))

r"""Estimators of what a target policy would have cost, from rows that another policy logged.

Each row has a cost :math:`c_i`, the probability :math:`\mu_i` with which the log drew its action, and the probability
:math:`\pi_i` with which the target draws that same action; its weight is :math:`w_i = \pi_i / \mu_i`. A model of the
cost predicts :math:`\hat q_i` for the logged action, and :math:`\hat v_i = \sum_a \pi(a | x_i) \hat q(x_i, a)` for the
target policy. For a slate, the probabilities are those of the whole slate.

Every estimate is a sum over rows divided by another sum over rows. An estimator returns what both sum up, from which
`training.evaluation.ope.intervals` computes how sure the estimate is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.evaluation.paired_intervals import Floats

THRESHOLDS = 20
"""Thresholds that `switch_threshold` tries, at even quantiles of the weights; the paper tries about as many."""


class Terms(NamedTuple):
    """What an estimate is made of: (n,) float64 terms of its numerator and of its denominator."""

    numerator: Floats
    denominator: Floats

    @property
    def value(self) -> float:
        """Return the estimate, NaN where the denominator is 0."""
        total = float(self.denominator.sum())
        return float(self.numerator.sum()) / total if total != 0.0 else float("nan")


def importance_weights(propensity: Floats, target: Floats, clip: float = np.inf) -> Floats:
    r"""Return the weights :math:`\min(\pi_i / \mu_i, M)`.

    Clipping bounds the variance. It also removes what lies above the bound, so that `ips` of costs comes out too low
    (Ionides: Truncated importance sampling, JCGS 2008); `doubly_robust` leaves the removed part to the model.

    Parameters
    ----------
    propensity, target
        (n,) probabilities of the logged action: that of the log, above 0, and that of the target.
    clip
        The bound M.
    """
    return np.minimum(target / propensity, clip)


def logged_mean(cost: Floats) -> Terms:
    """Return the terms of the mean of what was logged: the value of the policy that logged it."""
    return Terms(cost, np.ones(cost.size))


def ips(cost: Floats, weight: Floats) -> Terms:
    r"""Return inverse propensity scoring, :math:`\frac 1 n \sum_i w_i c_i`.

    It is unbiased if the log can draw every action that the target draws and its propensities are right. It changes if
    a constant is added to all costs, and its variance grows with the weights.

    References
    ----------
    Horvitz, Thompson: A generalization of sampling without replacement from a finite universe, JASA 1952.
    Dudik, Langford, Li: Doubly robust policy evaluation and learning, ICML 2011.
    """
    return Terms(weight * cost, np.ones(cost.size))


def snips(cost: Floats, weight: Floats) -> Terms:
    r"""Return self-normalised inverse propensity scoring, :math:`\sum_i w_i c_i / \sum_i w_i`.

    Its bias vanishes as n grows, it lies within the range of the costs, and moves along if all costs do.

    References
    ----------
    Swaminathan, Joachims: The self-normalized estimator for counterfactual learning, NeurIPS 2015.
    """
    return Terms(weight * cost, weight)


def direct_method(expected: Floats) -> Terms:
    r"""Return the direct method, :math:`\frac 1 n \sum_i \hat v_i`: as good as the model of the cost is.

    Its interval says how the predictions vary, not how wrong the model is.

    References
    ----------
    Dudik, Langford, Li: Doubly robust policy evaluation and learning, ICML 2011.
    """
    return Terms(expected, np.ones(expected.size))


def doubly_robust(cost: Floats, weight: Floats, predicted: Floats, expected: Floats) -> Terms:
    r"""Return the doubly robust estimate, :math:`\frac 1 n \sum_i \hat v_i + w_i (c_i - \hat q_i)`.

    It is unbiased if the propensities or the model are right; the better the model, the less the weights matter. The
    model must not have been fitted on the row that it predicts, see `training.evaluation.ope.direct_model`.

    References
    ----------
    Dudik, Langford, Li: Doubly robust policy evaluation and learning, ICML 2011.
    """
    return Terms(expected + weight * (cost - predicted), np.ones(cost.size))


def switch_dr(cost: Floats, weight: Floats, predicted: Floats, expected: Floats, threshold: float) -> Terms:
    r"""Return switch-DR, :math:`\frac 1 n \sum_i \hat v_i + w_i 1[w_i \le \tau] (c_i - \hat q_i)`.

    Where the weight is above the threshold the model alone is trusted.

    References
    ----------
    Wang, Agarwal, Dudik: Optimal and adaptive off-policy evaluation in contextual bandits, ICML 2017.
    """
    return doubly_robust(cost, np.where(weight <= threshold, weight, 0.0), predicted, expected)


def switch_threshold(cost: Floats, weight: Floats, predicted: Floats, expected: Floats) -> float:
    """Return the threshold of `switch_dr` with the least estimated mean squared error.

    As in the paper, the variance is that of the terms, and the bias is at most the largest error of the model times the
    probability that the target gives to actions above the threshold.
    """
    largest = float(np.abs(cost - predicted).max(initial=0.0))
    tried = np.unique(np.quantile(weight, np.linspace(0.0, 1.0, THRESHOLDS + 1)))

    def error(threshold: float) -> float:
        terms = switch_dr(cost, weight, predicted, expected, threshold).numerator
        bias = largest * float(np.where(weight > threshold, weight, 0.0).mean())
        return float(terms.var()) / terms.size + bias**2

    return float(min(tried, key=error))


def slate_probability(first: Floats, logged: NDArray[np.integer], target: NDArray[np.integer]) -> Floats:
    """Return the joint probability with which the target draws the slates that were logged.

    A scheduler draws the first node of a slate; the others follow without chance. So a slate has the probability of its
    first node if the target lets the same others follow that node, and 0 if it does not.

    Parameters
    ----------
    first
        (n,) probability with which the target draws the first node of the logged slate.
    logged, target
        (n, n_places) nodes of the logged slate, and of the slate that the target makes of its first node; -1 past the
        end.
    """
    return np.where((logged == target).all(axis=1), first, 0.0)

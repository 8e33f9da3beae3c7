"""From Shapley values of raw scores to parts of a difference of utilities."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.audit.recorded import whole_row
from scheduler.audit.scores import raw_parts
from scheduler.decisions.record.values import FullRecord
from scheduler.model.calibration import head_slopes, head_values
from scheduler.model.model import Model
from scheduler.policy.arrays import PolicyArrays


class Contributions(NamedTuple):
    """What makes the difference between the utilities of two candidates.

    Attributes
    ----------
    features
        (n_features,), the part of each feature; exactly 0 where both have the same value.
    heads
        (n_heads,), the part of each head. They sum to the same as ``features``.
    load, price
        The parts of load and price.
    """

    features: NDArray[np.float64]
    heads: NDArray[np.float64]
    load: float
    price: float


def contributions(record: FullRecord, model: Model, policy: PolicyArrays, chosen: int, other: int) -> Contributions:
    """Return what makes the difference between the utilities of two candidates, by feature and by head.

    The difference of each raw score is divided by exact interventional Shapley values with the other candidate as the
    single background row, see `scheduler.audit.shapley`; what a score starts from, its offset, belongs to the offset's
    feature. What comes after the raw score is passed on in proportion:

    - Link and calibration: a head's difference in value is divided among the features in proportion to their Shapley
      values. The factor is the slope of the line through both points, the derivative where the scores are equal.
    - Probability of success: a head with ``given_ok`` counts as (1 - failure) * value. The difference of this product
      is divided as Shapley values of two factors: each one's difference times the mean of the other.
    - Weights of the profile multiply the parts. Load and price have parts of their own.

    Served scores are sums of float32 leaves, Shapley values sums of doubles. The difference between both, some 1e-6 of
    a score, is divided in proportion to the sizes of the parts, so that the parts sum to the utilities' difference as
    served, and equal features still get exactly 0.

    Parameters
    ----------
    record
        Both candidates have scores in it.
    model
        The one that scored it.
    policy
        Of that model.
    chosen, other
        The two candidates.
    """
    values = record.values[[chosen, other]]
    heads = head_parts(model, whole_row(record, model, chosen), whole_row(record, model, other), values)
    slopes = value_slopes(policy, record.profile, values)
    p, load, price = record.profile, 0.0, 0.0
    if policy.load[p] != 0.0:
        shares = record.load[[chosen, other]] / np.maximum(record.capacity[[chosen, other]], 1.0)
        load = float(policy.load[p] * (shares[0] - shares[1]))
    if policy.price >= 0 and policy.price_weight[p] != 0.0:
        price = float(policy.price_weight[p] * (record.price[chosen] - record.price[other]))
    return Contributions(slopes @ heads, slopes * (values[0] - values[1]), load, price)


def head_parts(
    model: Model, x: NDArray[np.float32], z: NDArray[np.float32], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return (n_heads, n_features) parts of the differences between the served values (2, n_heads) of two rows."""
    phi, raw = raw_parts(model, x, z), model.raw(np.array([x, z]))
    parts = secants(model, raw)[:, None] * phi
    missing = values[0] - values[1] - parts.sum(axis=1)
    sizes = np.abs(phi)
    totals = sizes.sum(axis=1)
    # Without any Shapley value the leaves are the same, and so are the served sums of them.
    return parts + np.where(totals > 0.0, missing / np.where(totals > 0.0, totals, 1.0), 0.0)[:, None] * sizes


def secants(model: Model, raw: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n_heads,) slopes of the lines from one pair of raw scores (2, n_heads) to their values."""
    values = head_values(raw, model.calibration)
    tangent = head_slopes(values, model.calibration)[0]
    step = raw[0] - raw[1]
    # Over a step of 1e-6 of the score a quotient of differences has no more than ten digits, and the derivative has.
    near = np.abs(step) <= 1e-6 * (1.0 + np.abs(raw).max(axis=0))
    return np.where(near, tangent, (values[0] - values[1]) / np.where(near, 1.0, step))


def value_slopes(policy: PolicyArrays, p: int, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by how much the utility grows with each head's value between two candidates' (2, n_heads) values.

    The slopes times the differences in value sum to the difference of the utilities, without load and price.
    """
    mean, weights, has_failure = values.mean(axis=0), policy.weights[p], policy.failure >= 0
    counts_with_success = policy.given_ok & has_failure
    success = 1.0 - mean[policy.failure] if has_failure else 1.0
    slopes = np.where(counts_with_success, weights * success, weights)
    if has_failure:
        slopes[policy.failure] -= np.sum(weights[counts_with_success] * mean[counts_with_success])
    return slopes

"""Which single change of a candidate would make it win: by features, and by head values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.audit.contributions import value_slopes
from scheduler.audit.recorded import plain_value, whole_row
from scheduler.audit.scores import raw_responses
from scheduler.audit.values import Flip
from scheduler.decisions.record.values import FullRecord
from scheduler.features.arrays import REQUEST, FeatureT
from scheduler.forest.trees import CATEGORICAL, Trees
from scheduler.model.calibration import head_values
from scheduler.model.model import Model
from scheduler.policy.arrays import PolicyArrays
from scheduler.spec import Equal, NodeColumn

ABOVE, AT_MOST, IS = "above", "at most", "is"


STEPS = 64
"""Parts of the range of an offset's feature, in each of which the smallest change is looked for."""


class Levels(NamedTuple):
    """Values of a feature that the forest tells apart: one for each range between two neighbouring thresholds.

    Attributes
    ----------
    values
        (n,) float64 in rising order, each a float32: those below the present one are the largest of their range, the
        others the smallest. For a category the codes.
    bounds
        (n,) float64, the threshold that a value must not exceed or must exceed to be in the range.
    below
        (n,) bool, whether the range lies below the present value.
    steps
        (n,) int64, how many thresholds lie between.
    """

    values: NDArray[np.float64]
    bounds: NDArray[np.float64]
    below: NDArray[np.bool_]
    steps: NDArray[np.int64]


def flips(record: FullRecord, model: Model, policy: PolicyArrays, chosen: int, other: int) -> tuple[Flip, ...]:
    """Return for each feature its smallest change with which another candidate would win, the smallest first.

    The candidate is scored anew at each range of values that the forest's thresholds tell apart. Features of the
    request alone are left out: they are the same for both. So are features that a score starts from: every value of
    theirs gives another score, and no threshold says from where on. A change is the smaller the fewer thresholds it
    passes.

    Parameters
    ----------
    record, model, policy
        As for `contributions`.
    chosen, other
        The candidate that won, and the one that would.
    """
    row = whole_row(record, model, other)
    target, found = record.utility[chosen], []
    starting = {head.offset.feature for head in model.manifest.heads.values() if head.offset is not None}
    raw = record.raw[other, : len(model.heads)].astype(np.float64)
    # Served scores are sums of float32; a response is moved by what that makes, so that nothing changes where it is.
    shift = raw - model.raw(row[None])[0]
    for f in np.flatnonzero(model.features.owners != REQUEST).tolist():
        if model.features.names[f] in starting:
            continue
        levels = levels_of(model, f, float(row[f]))
        if levels.values.size == 0:
            continue
        scores = raw_responses(model, row, f, levels.values) + shift
        utility = utilities_with(record, policy, other, head_values(scores, model.calibration))
        wins = np.flatnonzero(utility > target)
        if wins.size:
            best = wins[np.lexsort((-utility[wins], levels.steps[wins]))[0]]
            found.append(_flip(model, f, float(row[f]), levels, int(best), float(utility[best] - target)))
    return tuple(sorted(found, key=lambda flip: (flip.steps, -flip.gain)))


def _flip(model: Model, f: int, now: float, levels: Levels, at: int, gain: float) -> Flip:
    if f in model.features.categorical:
        condition, value = IS, plain_value(model, f, levels.values[at])
    elif isinstance(plain_value(model, f, levels.values[at]), bool):
        condition, value = IS, bool(levels.values[at])
    else:
        condition, value = (AT_MOST if levels.below[at] else ABOVE), float(levels.bounds[at])
    return Flip(model.features.names[f], plain_value(model, f, now), condition, value, int(levels.steps[at]), gain)


def utilities_with(
    record: FullRecord, policy: PolicyArrays, c: int, values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the utilities (n,) of a candidate with other head values (n, n_heads); load and price stay."""
    weights = policy.weights[record.profile]
    others = record.utility[c] - predicted(weights, policy, record.values[[c]])[0]
    return predicted(weights, policy, values) + others


def predicted(weights: NDArray[np.float64], policy: PolicyArrays, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the part of utilities (n,) that head values (n, n_heads) make."""
    weighted = weights * values
    if policy.failure >= 0:
        weighted = np.where(policy.given_ok, weighted * (1.0 - values[:, [policy.failure]]), weighted)
    return np.asarray(weighted.sum(axis=1))


def levels_of(model: Model, f: int, now: float) -> Levels:
    """Return the values of a feature that the forest tells apart, without the range of the present value."""
    feature = model.spec.features[model.features.names[f]]
    if isinstance(feature, Equal):
        return _codes(2, now)
    if isinstance(feature, NodeColumn) and f in model.features.categorical:
        return _codes(len(model.vocabulary[f"node.{feature.column}"]), now)
    bounds = bounds_of(model, f)
    n = bounds.size
    # A missing value lies in no range; steps are then counted from the middle one.
    here = n // 2 if np.isnan(now) else int(np.searchsorted(bounds, now))
    lower, upper = np.arange(here), np.arange(max(here, 1) if np.isnan(now) else here + 1, n + 1)
    ranges = np.append(lower, upper)
    values = np.append(_at_most(bounds[lower]), _above(bounds[upper - 1]))
    keep = np.searchsorted(bounds, values) == ranges  # two bounds may have no float32 between them
    limits, below, steps = np.append(bounds[lower], bounds[upper - 1]), ranges < here, np.abs(ranges - here)
    return Levels(values[keep], limits[keep], below[keep], np.maximum(steps[keep], 1))


def _codes(n: int, now: float) -> Levels:
    """Return the codes of ``n`` categories without the present one; all are one step away."""
    codes = np.array([code for code in range(n) if code != now], np.float64)
    return Levels(codes, codes, np.zeros(codes.size, np.bool_), np.ones(codes.size, np.int64))


def bounds_of(model: Model, f: int) -> NDArray[np.float64]:
    """Return where the scores are looked at anew: at all thresholds, and in steps where a score starts from a line."""
    starts = [
        np.linspace(head.offset.least, head.offset.most, STEPS + 1)
        for head in model.manifest.heads.values()
        if head.offset is not None and head.offset.feature == model.features.names[f]
    ]
    return np.unique(np.concatenate([thresholds_of(model.trees, f), *starts]))


def thresholds_of(heads: tuple[Trees, ...], f: int) -> NDArray[np.float64]:
    """Return the distinct thresholds of a feature of numbers over all heads, in rising order."""
    return np.unique(
        np.concatenate([trees.threshold[(trees.feature == f) & (trees.decision & CATEGORICAL == 0)] for trees in heads])
    )


def _at_most(bounds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the largest float32 up to each bound."""
    with np.errstate(over="ignore"):
        near = bounds.astype(FeatureT)
        lower = np.nextafter(near, FeatureT(-np.inf))
    return np.where(near > bounds, lower, near).astype(np.float64)


def _above(bounds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the smallest float32 above each bound."""
    with np.errstate(over="ignore"):
        near = bounds.astype(FeatureT)
        upper = np.nextafter(near, FeatureT(np.inf))
    return np.where(near <= bounds, upper, near).astype(np.float64)


def head_flips(
    record: FullRecord, model: Model, policy: PolicyArrays, chosen: int, other: int
) -> Iterator[float | None]:
    """Yield for each head the value with which another candidate's utility would equal the chosen one's.

    None where no value of the head's range would do: a probability lies in [0, 1], a head with the link ``log`` is
    above 0.
    """
    values = record.values[other]
    slopes = value_slopes(policy, record.profile, record.values[[other, other]])
    gap = float(record.utility[chosen] - record.utility[other])
    for h, head in enumerate(model.spec.heads.values()):
        # In one head alone the utility is linear.
        value = float(values[h] + gap / slopes[h]) if slopes[h] != 0.0 else np.nan
        low = -np.inf if head.link == "identity" else 0.0
        high = 1.0 if head.link == "logistic" else np.inf
        yield value if np.isfinite(value) and low <= value <= high else None

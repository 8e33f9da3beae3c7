r"""How sure an estimate is.

An estimate is a ratio of sums over rows. To first order each row moves it by its share of :math:`a_i - \hat V b_i`
(the delta method), and rows of one client, or of one slice, move it together. So the variance adds up what whole
clients and what whole slices move, less what both count (Cameron, Gelbach, Miller: Robust inference with multiway
clustering, JBES 2011); the degrees of freedom are Satterthwaite's.

Products of weights and costs are skewed: most rows move an estimate little, a dear failure with a large weight much.
A symmetric interval then lies too low, and misses what is dear. So `around` removes the skewness by Hall's
transformation (On the removal of skewness by transformation, JRSS B 1992). What each way covers, `benchmarks/ope.py`
measures, and docs/quality.md has the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from training.evaluation.ope.estimators import Terms
from training.evaluation.paired_intervals import Floats, Interval, ratio

Groups: TypeAlias = Sequence[NDArray[np.integer]]
"""Up to two arrays of (n,) numbers: rows of one number in either share their luck. Without any, all rows are apart."""

RESAMPLES = 999
"""Resamples of `bootstrap`: the ends of a 95 % interval move by some hundredths of its width between seeds."""

CONFIDENCE = 0.95

SYMMETRIC = 1e-6
"""Skewness below which the transformation is the identity in double precision."""


class Linear(NamedTuple):
    """A figure, and (n,) by how much each row moves it; the sum is 0."""

    value: float
    moved: Floats


def estimate(terms: Terms) -> Linear:
    """Return an estimate as a linear figure."""
    total = float(terms.denominator.sum())
    if total == 0.0:
        return Linear(np.nan, np.full(terms.numerator.size, np.nan))
    return Linear(terms.value, (terms.numerator - terms.value * terms.denominator) / total)


def difference(new: Terms, old: Terms) -> Linear:
    """Return how much one estimate is above another of the same rows."""
    a, b = estimate(new), estimate(old)
    return Linear(a.value - b.value, a.moved - b.moved)


def change(new: Terms, old: Terms) -> Linear:
    """Return by which share one estimate is above another of the same rows, NaN where the other is 0."""
    a, b = estimate(new), estimate(old)
    if b.value == 0.0:
        return Linear(np.nan, np.full(a.moved.size, np.nan))
    return Linear(a.value / b.value - 1.0, a.moved / b.value - b.moved * a.value / b.value**2)


def around(figure: Linear, groups: Groups = (), *, confidence: float = CONFIDENCE, skew: bool = True) -> Interval:
    """Return the interval of a figure for other clients and slices like these.

    Parameters
    ----------
    groups
        What would be drawn anew. Where all rows have one number there is nothing to draw, so it does not count.
    skew
        Whether to allow for skewness; without, the interval is the figure plus and minus Student's t times the error.

    Returns
    -------
    Interval
        Without bounds where there are fewer than two rows, or no row has any weight.
    """
    value, moved = figure
    if moved.size < 2 or not np.isfinite(moved).all():  # noqa: PLR2004 - one has no variation
        return Interval(value, -np.inf, np.inf)
    shape = _error_shape(moved, groups)
    low, high = (shape.quantile(share, skew=skew) for share in (0.5 + confidence / 2.0, 0.5 - confidence / 2.0))
    return Interval(value, value - low * shape.error, value - high * shape.error)


def of_requests(
    figure: Linear, client: NDArray[np.integer], slices: NDArray[np.integer], *, confidence: float = CONFIDENCE
) -> Interval:
    """Return the interval of a figure of requests for other clients and slices like these.

    Parameters
    ----------
    client, slices
        (n,) number of each request's client and of its slice.

    Returns
    -------
    Interval
        Without bounds where there is one slice: nothing says how slices vary. Of one client, for its other slices.
    """
    if np.unique(slices).size == 1:
        return Interval(figure.value, -np.inf, np.inf)
    return around(figure, (client, slices), confidence=confidence)


class _ErrorShape(NamedTuple):
    """Standard error and skewness of a figure, and the degrees of freedom of its error."""

    error: float
    skewness: float
    freedom: float

    def quantile(self, share: float, *, skew: bool) -> float:
        """Return a quantile of the figure's error in standard errors."""
        x = float(stats.t.ppf(share, self.freedom))
        gamma = self.skewness
        if not skew or abs(gamma) < SYMMETRIC:
            return x
        return float(3.0 / gamma * (np.cbrt(1.0 + gamma * (x - gamma / 6.0)) - 1.0))


def _error_shape(moved: Floats, groups: Groups) -> _ErrorShape:
    numbers = [np.unique(group, return_inverse=True)[1] for group in groups]
    numbers = [number for number in numbers if number.max() > 0] or [np.arange(moved.size)]
    sums = [np.bincount(number, moved) for number in numbers]
    squares = [float((one**2).sum()) * one.size / (one.size - 1) for one in sums]
    cubes = [float((one**3).sum()) for one in sums]
    variance, third = sum(squares), sum(cubes)
    freedom = variance**2 / max(sum(s**2 / (one.size - 1) for s, one in zip(squares, sums, strict=True)), 1e-300)
    if len(numbers) > 1:
        cells = np.bincount(np.unique(numbers[0] * (numbers[1].max() + 1) + numbers[1], return_inverse=True)[1], moved)
        both = variance - float((cells**2).sum())
        # Where neither matters the difference is mostly noise, and may fall below what one of them alone varies.
        third = third - float((cells**3).sum()) if both >= max(squares) else cubes[int(np.argmax(squares))]
        variance = max(both, *squares)
    error = float(np.sqrt(variance))
    return _ErrorShape(error, third / error**3 if error > 0.0 else 0.0, max(freedom, 1.0))


def bootstrap(terms: Terms, group: NDArray[np.integer] | None = None, *, seed: int = 0) -> Interval:
    """Return the percentile interval over resampled rows or groups (Efron, Tibshirani: An introduction, 1993).

    It assumes no form of the error, but takes a thousand times the work of `around` and allows less for skewness.
    """
    sums = np.stack(terms)
    if group is not None:
        at = np.unique(group, return_inverse=True)[1]
        sums = np.stack([np.bincount(at, column) for column in sums])
    n = sums.shape[1]

    def of_resample(rows: NDArray[np.integer], axis: int = -1) -> Floats:
        return ratio(sums[:, rows].sum(axis=axis))

    found = stats.bootstrap(
        (np.arange(n),),
        of_resample,
        n_resamples=RESAMPLES,
        batch=max(1, 1_000_000 // n),
        vectorized=True,
        method="percentile",
        confidence_level=CONFIDENCE,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(terms.value, float(found.low), float(found.high))


def empirical_bernstein(terms: Terms, low: float, high: float, *, confidence: float = CONFIDENCE) -> Interval:
    r"""Return an interval that holds for any number of independent rows whose terms lie between two bounds.

    With :math:`L = \ln(4 / \delta)` the half width is :math:`\sqrt{2 V L / n} + 7 (high - low) L / (3 (n - 1))`
    (Maurer, Pontil: Empirical Bernstein bounds and sample variance penalization, COLT 2009, on both sides).

    Parameters
    ----------
    terms
        Those of a mean: every term of the denominator is 1.
    low, high
        Bounds of each term of the numerator, such as 0 and the largest weight times the largest cost.

    Raises
    ------
    ValueError
        If the terms are those of a ratio, or lie outside of the bounds.
    """
    values, n = terms.numerator, terms.numerator.size
    if not (terms.denominator == 1.0).all():
        raise ValueError("expected the terms of a mean, found those of a ratio")
    if n and not low <= values.min() <= values.max() <= high:
        raise ValueError(f"expected terms from {low:g} to {high:g}, found {values.min():g} to {values.max():g}")
    if n < 2:  # noqa: PLR2004 - one has no variation
        return Interval(terms.value, low, high)
    scale = float(np.log(4.0 / (1.0 - confidence)))
    half = np.sqrt(2.0 * values.var(ddof=1) * scale / n) + 7.0 * (high - low) * scale / (3.0 * (n - 1))
    return Interval(terms.value, max(low, terms.value - float(half)), min(high, terms.value + float(half)))

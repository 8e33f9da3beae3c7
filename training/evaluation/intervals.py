"""How sure the figures of an evaluation are: intervals by drawing whole slices, or clients, anew."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.evaluation.metrics import LEARNED
from training.evaluation.results import Comparison

DRAWS = 2_000
"""Resamples: the ends of a 95 % interval move by a hundredth of its width from one seed to the next."""

COVERAGE = 0.95

LEAST = 8
"""Groups of requests from which on drawing them anew says how sure a mean is."""


class Interval(NamedTuple):
    """Two ends between which a figure lies with 95 %."""

    low: float
    high: float


class Intervals(NamedTuple):
    """Intervals by policy, and of what was drawn.

    Attributes
    ----------
    mean
        Of each policy's mean cost.
    difference
        Of each policy's mean cost less the learned one's, on the same requests; above 0 the learned one is better.
    groups, n
        What was drawn, ``slices`` or ``clients``, and how many there are.
    """

    mean: dict[str, Interval]
    difference: dict[str, Interval]
    groups: str
    n: int


def intervals(comparison: Comparison, seed: int = 0) -> Intervals | None:
    """Return intervals of mean costs; None where there are too few slices and clients to tell.

    Requests of one slice share its conditions, and those of one client its place. So whichever there are more of are
    drawn as wholes, all policies alike.
    """
    of_slices, of_clients = _by_slice(comparison), _by_client(comparison)
    groups, sums = max((("slices", of_slices), ("clients", of_clients)), key=lambda pair: len(pair[1][0]))
    counts, costs = sums
    if len(counts) < LEAST:
        return None
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(counts), np.full(len(counts), 1.0 / len(counts)), size=DRAWS).astype(np.float64)
    n_requests = drawn @ counts
    means = {name: drawn @ cost / n_requests for name, cost in costs.items()}
    learned = means.get(LEARNED)
    others = {} if learned is None else {name: mean - learned for name, mean in means.items() if name != LEARNED}
    return Intervals(
        mean={name: _interval(values) for name, values in means.items()},
        difference={name: _interval(values) for name, values in others.items()},
        groups=groups,
        n=len(counts),
    )


def _interval(values: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(values, [(1.0 - COVERAGE) / 2.0, (1.0 + COVERAGE) / 2.0])
    return Interval(float(low), float(high))


_Sums = tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]


def _by_slice(comparison: Comparison) -> _Sums:
    series = comparison.series
    return series.n_requests.astype(np.float64), series.cost


def _by_client(comparison: Comparison) -> _Sums:
    _, at = np.unique(comparison.client, return_inverse=True)
    costs = {name: np.bincount(at, picks.cost).astype(np.float64) for name, picks in comparison.picks.items()}
    return np.bincount(at).astype(np.float64), costs

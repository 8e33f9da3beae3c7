"""Intervals of a figure of paired requests, by resampling whole clients and whole slices.

Requests of one client have its network in common, and requests of one slice have its weather in common, so single
requests say less than their number suggests. The standard error adds up what resampled clients vary and what resampled
slices vary, less what both count: the variation of single cells, each a client in a slice (Cameron, Gelbach, Miller:
Robust inference with multiway clustering, JBES 2011). The degrees of freedom are Satterthwaite's (Biometrics Bulletin
1946), so that few slices give a wide interval.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats: TypeAlias = NDArray[np.float64]
Figure: TypeAlias = Callable[[Floats], Floats]
"""Computes a figure from (n_columns, ...) sums; returns it in the shape of one column."""

RESAMPLES = 999
"""Resamples of clients, of slices and of cells: a standard error is then known to about 2 %."""

MANY, FEWER = 2_000, 199
"""From so many parts on so many resamples do: they are cells, whose variance is a correction, known to 10 % then."""

MOST_CLIENTS, MOST_SLICES = 200, 100
"""Groups of clients and of neighbouring slices that are resampled at most: more make an interval no better, and take
memory in proportion."""


class Interval(NamedTuple):
    """A figure, the interval around it, and how much of it chance is: half the width."""

    value: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Return half the width."""
        return (self.high - self.low) / 2.0


def ratio(sums: Floats) -> Floats:
    """Return the sum of the first column over that of the second, NaN where that is 0."""
    return np.divide(sums[0], sums[1], out=np.full(sums[0].shape, np.nan), where=sums[1] != 0.0)


def interval(
    columns: Floats,
    client: NDArray[np.integer],
    slices: NDArray[np.integer],
    figure: Figure = ratio,
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return a figure of sums over requests, with an interval for other clients and other slices like these.

    Parameters
    ----------
    columns
        (n_columns, n) numbers of each request, of which ``figure`` takes the sums.
    client, slices
        (n,) number of each request's client and of its slice.
    confidence
        Probability that the interval holds the figure.

    Returns
    -------
    Interval
        Without bounds where there is one slice: nothing says how slices vary. Of one client, for its other slices.
    """
    cells = cell_sums(columns, client, slices)
    value = float(figure(cells.sum(axis=(1, 2))))
    n_clients, n_slices = cells.shape[1:]
    if n_slices == 1:
        return Interval(value, -np.inf, np.inf)
    of_slices = _variance(cells.sum(axis=1), figure, seed + 1)
    if n_clients == 1:
        return _around(value, of_slices, n_slices - 1, confidence)
    of_clients = _variance(cells.sum(axis=2), figure, seed)
    single = cells.reshape(len(cells), -1)
    single = single[:, single.any(axis=0)]  # a resample of cells without a request has no figure
    of_cells = _variance(single, figure, seed + 2) if single.shape[1] > 1 else 0.0
    both = of_clients + of_slices
    if both == 0.0:
        return Interval(value, value, value)
    freedom = both**2 / (of_clients**2 / (n_clients - 1) + of_slices**2 / (n_slices - 1))
    return _around(value, max(both - of_cells, of_clients, of_slices), freedom, confidence)


def _around(value: float, variance: float, freedom: float, confidence: float) -> Interval:
    half = float(stats.t.ppf(0.5 + confidence / 2.0, freedom)) * float(np.sqrt(variance))
    return Interval(value, value - half, value + half)


def cell_sums(columns: Floats, client: NDArray[np.integer], slices: NDArray[np.integer]) -> Floats:
    """Return (n_columns, n_clients, n_slices) sums by client and slice, clients and slices grouped if there are many.

    Slices that follow each other are grouped, because their chances are alike.
    """
    of_client, n_clients = _grouped(client, MOST_CLIENTS, neighbours=False)
    of_slice, n_slices = _grouped(slices, MOST_SLICES, neighbours=True)
    at = of_client * n_slices + of_slice
    sums = [np.bincount(at, column, n_clients * n_slices) for column in columns]
    return np.array(sums, np.float64).reshape(len(columns), n_clients, n_slices)


def _grouped(values: NDArray[np.integer], most: int, *, neighbours: bool) -> tuple[NDArray[np.int64], int]:
    """Return the number of the group of each value, and how many groups there are."""
    present, at = np.unique(values, return_inverse=True)
    n = min(len(present), most)
    return (at * n // len(present) if neighbours else at % n), n


def _variance(sums: Floats, figure: Figure, seed: int) -> float:
    """Return the variance of a figure over resamples of the last axis, as of so many independent parts."""
    n = sums.shape[-1]
    found = figure(sums @ _times_drawn(n, RESAMPLES if n <= MANY else FEWER, seed))
    return float(found.var(ddof=1)) * n / (n - 1)


@lru_cache(maxsize=3)
def _times_drawn(n: int, resamples: int, seed: int) -> Floats:
    """Return (n, resamples) how often each part comes in each resample, so that sums over resamples are a product.

    All figures of an evaluation have the same three, of clients, slices and cells: at most 32 MB, kept for the next.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.integers(n, size=(resamples, n)) * resamples + np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=n * resamples).reshape(n, resamples).astype(np.float64)

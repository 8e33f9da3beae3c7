"""How sure the figures of an evaluation are, by clients and slices drawn anew; see `paired_intervals`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.evaluation.metrics import LEARNED
from training.evaluation.paired_intervals import Interval, interval
from training.evaluation.results import Comparison


class Intervals(NamedTuple):
    """Intervals by policy that hold a figure with 95 %, and of what was drawn.

    Attributes
    ----------
    mean
        Of each policy's mean cost.
    difference
        Of each policy's mean cost less the learned one's, on the same requests; above 0 the learned one is better.
    n_clients, n_slices
        How many there are.
    """

    mean: dict[str, Interval]
    difference: dict[str, Interval]
    n_clients: int
    n_slices: int


def intervals(comparison: Comparison, seed: int = 0) -> Intervals | None:
    """Return intervals of mean costs for other clients and other slices like these; None where there is one of each."""
    n_clients, n_slices = len(np.unique(comparison.client)), len(np.unique(comparison.slice))
    if max(n_clients, n_slices) == 1:
        return None
    # Of a single client, or a single slice, requests vary by the other alone, which then stands for both.
    client = comparison.client if n_clients > 1 else comparison.slice
    slices = comparison.slice if n_slices > 1 else comparison.client

    def mean(cost: NDArray[np.float64]) -> Interval:
        columns = np.stack([cost, np.ones(cost.size)])
        return interval(columns, client, slices, seed=seed)

    costs = {name: picks.cost.astype(np.float64) for name, picks in comparison.picks.items()}
    others = {name: cost for name, cost in costs.items() if name != LEARNED and LEARNED in costs}
    return Intervals(
        mean={name: mean(cost) for name, cost in costs.items()},
        difference={name: mean(cost - costs[LEARNED]) for name, cost in others.items()},
        n_clients=n_clients,
        n_slices=n_slices,
    )

"""How sure the figures of an evaluation are, by clients and slices drawn anew; see `paired_intervals`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from training.evaluation.metrics import LEARNED, NO_BASELINES, log_cost
from training.evaluation.paired_intervals import Interval, interval
from training.evaluation.results import Comparison


class Intervals(NamedTuple):
    """Intervals by policy that hold a figure with 95 %, and of what was drawn.

    Attributes
    ----------
    mean
        Of each policy's mean cost.
    difference, difference_log
        Of each policy's mean cost less the learned one's, and of its mean log, on the same requests; above 0 the
        learned one is better.
    n_clients, n_slices
        How many there are.
    """

    mean: dict[str, Interval]
    difference: dict[str, Interval]
    difference_log: dict[str, Interval]
    n_clients: int
    n_slices: int


def intervals(comparison: Comparison, seed: int = 0) -> Intervals | None:
    """Return intervals for other clients and other slices like these; None of one slice, as nothing says how they vary.

    Of one client they are for its other slices.

    With several seeds they also hold what seeds vary: the draws, and the training where each seed has its own.
    """
    n_clients, n_slices = len(np.unique(comparison.client)), len(np.unique(comparison.slice))
    if n_slices == 1:
        return None

    def mean(cost: NDArray[np.float64]) -> Interval:
        columns = np.stack([cost, np.ones(cost.size)])
        found = interval(columns, comparison.client, comparison.slice, seed=seed)
        return found if comparison.run is None else _widened(found, cost, comparison.run)

    def differences(values: dict[str, NDArray[np.float64]]) -> dict[str, Interval]:
        learned = values.get(LEARNED)
        return {} if learned is None else {n: mean(v - learned) for n, v in values.items() if n != LEARNED}

    costs = {name: picks.cost.astype(np.float64) for name, picks in comparison.picks.items()}
    return Intervals(
        mean={name: mean(cost) for name, cost in costs.items()},
        difference=differences(costs),
        difference_log=differences({name: log_cost(cost) for name, cost in costs.items()}),
        n_clients=n_clients,
        n_slices=n_slices,
    )


def _widened(found: Interval, cost: NDArray[np.float64], run: NDArray[np.int32]) -> Interval:
    """Return an interval with the standard error of a mean over runs added, as that of independent parts."""
    means = np.bincount(run, cost) / np.bincount(run)
    error = float(stats.t.ppf(0.975, means.size - 1)) * float(means.std(ddof=1)) / np.sqrt(means.size)
    half = float(np.hypot(found.half, error))
    return Interval(found.value, found.value - half, found.value + half)


def sureness(comparison: Comparison, found: Intervals | None) -> str:
    """Return in words how far the learned policy is from the best baseline, in the mean cost and in its log.

    Each figure has its own best baseline. Empty without the learned policy or any baseline.
    """
    if found is None:
        return "Intervals: none, because one slice does not say how others differ"
    baselines = [name for name in found.difference if name not in NO_BASELINES]
    if not baselines:
        return ""
    scores = comparison.policies
    best = min(baselines, key=lambda name: scores[name].mean)
    best_log = min(baselines, key=lambda name: scores[name].mean_log)
    said = _lead(best, "mean cost", found.difference[best])
    said_log = _lead(best_log, "mean log", found.difference_log[best_log])
    seeds = " and other seeds" * (comparison.seeds > 1)
    return f"{said}; {said_log} (95 %, for other clients and slices like these{seeds})"


def _lead(name: str, figure: str, more: Interval) -> str:
    if more.low == more.value == more.high == 0.0:
        return f"{name} equals learned in the {figure}"
    told = "by more than chance" if not more.low <= 0.0 <= more.high else "which cannot be told from chance"
    distance = f"{abs(more.value):.4g} {'above' if more.value > 0.0 else 'below'} learned"
    return f"{name} is {distance} in the {figure}, {told}: {more.low:+.4g} to {more.high:+.4g}"

"""Figures of a policy: costs, failures, gap closed and regret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RANDOM, ORACLE, LEARNED, RETRAINED = "random", "oracle", "learned", "retrained"

NO_BASELINES = (LEARNED, RETRAINED, ORACLE)

FIGURES = ("mean", "median", "p95", "mean_log", "fail", "gap_closed", "gap_closed_log", "regret", "regret_log")


@dataclass(frozen=True, kw_only=True)
class Score:
    """How a policy did over all requests.

    Attributes
    ----------
    mean, median, p95
        Of the cost, in its unit; failures count with theirs.
    mean_log
        Mean of log(max(cost, 1)), so that a cost below 1 gains nothing.
    fail
        Share of requests that failed.
    gap_closed, gap_closed_log
        (random - policy) / (random - oracle) of ``mean`` and ``mean_log``: 0 is random, 1 the best possible;
        NaN where random and oracle are equal.
    regret, regret_log
        (policy - oracle) / (best - oracle) of ``mean`` and ``mean_log``, where the best is the least of all
        policies but the oracle and the learned ones: below 1 beats every baseline; NaN where the best is the
        oracle's equal. Each figure has its own best.
    seconds
        Spent picking and learning, warming up left out.
    """

    mean: float
    median: float
    p95: float
    mean_log: float
    fail: float
    gap_closed: float
    gap_closed_log: float
    regret: float
    regret_log: float
    seconds: float


SATURATED = 0.99
"""Gap closed by the best baseline from which on there is nothing to win: what is left is a hundredth of the gap."""


class Picks(NamedTuple):
    """What a policy picked for each request and got: (n,) int32 rows of the nodes, bool, float32."""

    node: NDArray[np.int32]
    ok: NDArray[np.bool_]
    cost: NDArray[np.float32]


def scores(picks: Mapping[str, Picks], seconds: Mapping[str, float]) -> dict[str, Score]:
    """Return the figures of every policy; ``random`` and ``oracle`` must be among them."""
    costs = {name: p.cost.astype(np.float64) for name, p in picks.items()}
    mean = {name: float(cost.mean()) for name, cost in costs.items()}
    mean_log = {name: float(log_cost(cost).mean()) for name, cost in costs.items()}
    return {
        name: Score(
            mean=mean[name],
            median=float(np.median(cost)),
            p95=float(np.percentile(cost, 95)),
            mean_log=mean_log[name],
            fail=float((~picks[name].ok).mean()),
            gap_closed=_gap_closed(mean, name),
            gap_closed_log=_gap_closed(mean_log, name),
            regret=regret(mean, name),
            regret_log=regret(mean_log, name),
            seconds=seconds.get(name, 0.0),
        )
        for name, cost in costs.items()
    }


def log_cost(cost: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logs of costs that ``mean_log`` is the mean of; a cost below 1 gains nothing."""
    return np.log(np.maximum(cost, 1.0))


def _gap_closed(figures: Mapping[str, float], name: str) -> float:
    gap = figures[RANDOM] - figures[ORACLE]
    return (figures[RANDOM] - figures[name]) / gap if gap else float("nan")


def regret(figures: Mapping[str, float], name: str) -> float:
    """Return the regret of a policy by a figure of every policy, see `Score`; NaN where there is no baseline either."""
    best = min((value for policy, value in figures.items() if policy not in NO_BASELINES), default=float("nan"))
    rest = best - figures[ORACLE]
    return (figures[name] - figures[ORACLE]) / rest if rest else float("nan")


def saturated_by(figures: Mapping[str, Score]) -> str | None:
    """Return the best baseline where it closes so much of the gap that there is nothing to win, else None.

    Where there is no gap, that is ``random``.
    """
    if figures[RANDOM].mean == figures[ORACLE].mean:
        return RANDOM
    names = [name for name in figures if name not in NO_BASELINES and figures[name].gap_closed >= SATURATED]
    return min(names, key=lambda name: figures[name].mean, default=None)

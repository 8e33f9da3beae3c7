"""Off-policy estimates from a log with propensities: what versions would have cost that did not decide themselves.

A logged row counts for a policy that would have picked its node, with the inverse of the probability with which the log
picked it; the weights are divided by their sum (Swaminathan, Joachims: The self-normalized estimator for counterfactual
learning, NeurIPS 2015). The candidates of a request are taken to be the nodes that have a row in its slice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.spec import PromotionRules
from training.evaluation.measured_requests import node_state
from training.evaluation.paired_intervals import Floats, interval
from training.evaluation.verdict import BETTER, NOT_BETTER, Asked, Outcome, Verdict, combined, percent
from training.policies import Learned, Policy, Question
from training.policies.protocol import seen_before
from training.telemetry import Telemetry, at_rows

LEAST_SUPPORT = 100.0
"""Effective decisions that each policy's weights must be worth: fewer are a handful of weights, and no estimate."""

MOST_NODES = 1_000
"""Candidates of a request at most; where a slice has more nodes, no policy would meet the log often enough anyway."""


class Weighted(NamedTuple):
    """Logged rows with the weights that policies give them.

    Attributes
    ----------
    rows
        Of the telemetry.
    weight
        By policy, (n,) float64: inverse propensities where it would have picked the logged node, else 0.
    """

    rows: NDArray[np.int64]
    weight: dict[str, Floats]

    def support(self) -> float:
        """Return how many decisions the weights are worth (Kish), of the policy with the fewest."""
        return min(float(w.sum() ** 2 / max((w**2).sum(), 1e-300)) for w in self.weight.values())


def weigh(telemetry: Telemetry, policies: Mapping[str, Policy], start: int, requests: int) -> Weighted | None:
    """Ask policies about each logged row from a slice on; None where the log has no propensities or too many nodes.

    Every policy learns all logged outcomes that have arrived before it is asked, as it would if it took over then.
    """
    propensity = telemetry.propensity
    if propensity is None or not np.isfinite(propensity[telemetry.slice >= start]).any():
        return None
    slices = telemetry.slice[telemetry.slice >= start]
    if max(len(np.unique(telemetry.node[telemetry.slice == number])) for number in np.unique(slices)) > MOST_NODES:
        return None
    learned = telemetry.slice < start
    for policy in policies.values():
        policy.warm(telemetry.where(learned))
    rows: list[NDArray[np.int64]] = []
    weight: dict[str, list[Floats]] = {name: [] for name in policies}
    for some, nodes in _asked(telemetry, start, requests):
        now = float(telemetry.time[some[0]])
        new = ~learned & (telemetry.arrival < now)
        if new.any():
            for policy in policies.values():
                _learn(policy, telemetry.where(new))
            learned |= new
        question = _question(telemetry, some, nodes, now)
        rows.append(some)
        for name, policy in policies.items():
            same = nodes[policy.pick(question)] == telemetry.node[some]
            weight[name].append(np.where(same, 1.0 / propensity[some], 0.0))
    return Weighted(np.concatenate(rows), {name: np.concatenate(parts) for name, parts in weight.items()})


def _asked(telemetry: Telemetry, start: int, requests: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int32]]]:
    """Yield rows with a propensity that are asked about together, in time order, and the nodes of their slice."""
    assert telemetry.propensity is not None  # noqa: S101 - `weigh` has looked
    known = np.isfinite(telemetry.propensity)
    for number in np.unique(telemetry.slice[telemetry.slice >= start]):
        of_slice = np.flatnonzero(telemetry.slice == number)
        nodes = np.unique(telemetry.node[of_slice])
        for some in np.array_split(of_slice[known[of_slice]], requests):
            if some.size:
                yield some, nodes


def _question(telemetry: Telemetry, rows: NDArray[np.int64], nodes: NDArray[np.int32], now: float) -> Question:
    before = telemetry.where(telemetry.time <= now)
    return Question(
        time=now,
        number=rows,
        client=telemetry.client[rows],
        candidates=np.broadcast_to(nodes, (rows.size, nodes.size)).astype(np.int32),
        request={name: at_rows(column, rows) for name, column in telemetry.request.items()},
        node_state=node_state(before),
    )


def _learn(policy: Policy, telemetry: Telemetry) -> None:
    if isinstance(policy, Learned):
        policy.warm(telemetry)  # into the history, through the kernels that serve
    else:
        policy.learn(seen_before(telemetry))


def judge_off_policy(
    telemetry: Telemetry, found: Weighted, new: str, old: str, rules: PromotionRules, seed: int
) -> Verdict:
    """Compare the estimated mean costs of two policies; failures must not be higher by more than chance."""
    rows = found.rows
    asked = Asked(telemetry.client[rows], telemetry.slice[rows], seed)
    weights = found.weight[new], found.weight[old]

    def columns(values: Floats) -> Floats:
        return np.stack([weights[0] * values, weights[0], weights[1] * values, weights[1]])

    def relative(sums: Floats) -> Floats:
        return _over(_over(sums[0], sums[1]), _over(sums[2], sums[3])) - 1.0

    def absolute(sums: Floats) -> Floats:
        return _over(sums[0], sums[1]) - _over(sums[2], sums[3])

    values = telemetry.outcomes["cost"][rows].astype(np.float64), (~telemetry.ok[rows]).astype(np.float64)
    cost, failed = (
        interval(columns(one), asked.client, asked.slice, figure, confidence=rules.confidence, seed=seed)
        for one, figure in zip(values, (relative, absolute), strict=True)
    )
    outcome: Outcome = NOT_BETTER if failed.low > 0.0 else BETTER
    guard = outcome, f"failures {100.0 * failed.value:+.2f} points"
    words = f"estimated mean cost {percent(cost)} against the champion"
    return combined(cost, words, [guard], rules.margin, len(rows))


def _over(a: Floats, b: Floats) -> Floats:
    return np.divide(a, b, out=np.full(np.shape(a), np.nan), where=b != 0.0)

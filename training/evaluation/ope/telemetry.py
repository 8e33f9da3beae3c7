"""Logged telemetry with propensities as decisions of other policies, which are asked about each row in its turn.

A logged row counts for a policy that would have picked its node. The candidates of a request are taken to be the nodes
that have a row in its slice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from scheduler.errors import DataError
from scheduler.spec import COST, PromotionRules, Spec
from training.evaluation.measured_requests import node_state
from training.evaluation.ope.decisions import SERVED_BY_ORIGIN, LoggedCandidates, LoggedDecisions
from training.evaluation.ope.estimators import Terms, importance_weights, snips
from training.evaluation.ope.intervals import change, difference, of_requests
from training.evaluation.ope.support import effective_size, refusal, support_of
from training.evaluation.paired_intervals import Floats
from training.evaluation.verdict import Guard, Verdict, combined, guard, percent, tail_name, tail_threshold
from training.policies import Learned, Policy, Question
from training.policies.protocol import seen_before
from training.telemetry import Telemetry, at_rows

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
        return min(effective_size(weight) for weight in self.weight.values())

    def refusal(self, telemetry: Telemetry, least: float) -> str | None:
        """Return why the log does not say what each of the policies would cost, None if it does.

        ``least`` is how many decisions the weights of each have to be worth (Kish).
        """
        groups = telemetry.client[self.rows], telemetry.slice[self.rows]
        found = (refusal(support_of(weight, groups=groups), least) for weight in self.weight.values())
        return next((reason for reason in found if reason is not None), None)


class Asked(NamedTuple):
    """Logged rows that are asked about together, and the question: their node is the candidate of column ``logged``."""

    rows: NDArray[np.int64]
    question: Question
    logged: NDArray[np.int64]


def weigh(telemetry: Telemetry, policies: Mapping[str, Policy], start: int, requests: int) -> Weighted | None:
    """Ask policies about each logged row from a slice on; None where the log has no propensities or too many nodes.

    Every policy learns all logged outcomes that have arrived before it is asked, as it would if it took over then. What
    it leaves to the origin weighs nothing.
    """
    if why_not(telemetry, start) is not None:
        return None
    rows: list[NDArray[np.int64]] = []
    weight: dict[str, list[Floats]] = {name: [] for name in policies}
    for asked in replayed(telemetry, list(policies.values()), start, requests):
        rows.append(asked.rows)
        propensity = propensities(telemetry)[asked.rows]
        for name, policy in policies.items():
            same = policy.pick(asked.question) == asked.logged
            if isinstance(policy, Learned):
                same &= policy.served
            weight[name].append(importance_weights(propensity, same.astype(np.float64)))
    return Weighted(np.concatenate(rows), {name: np.concatenate(parts) for name, parts in weight.items()})


def unreserved(spec: Spec) -> Spec:
    """Return a spec whose decisions reserve nothing, as a log does not say when what they hold is free again."""
    profiles = tuple(replace(profile, load=None) for profile in spec.utility.profiles)
    return replace(spec, ledger=None, utility=replace(spec.utility, load=0.0, profiles=profiles))


def why_not(telemetry: Telemetry, start: int) -> str | None:
    """Return why rows from a slice on cannot be weighed, None if they can."""
    propensity, later = telemetry.propensity, telemetry.slice >= start
    if propensity is None:
        return "expected telemetry.propensity in the spec, or --propensity COLUMN, found none"
    if not np.isfinite(propensity[later]).any():
        return f"expected rows with a propensity from slice {start} on, found none"
    pairs = np.unique(np.stack([telemetry.slice[later], telemetry.node[later]]), axis=1)
    most = int(np.bincount(pairs[0] - pairs[0].min()).max())
    return None if most <= MOST_NODES else f"expected at most {MOST_NODES:,} nodes in a slice, found {most:,}"


def propensities(telemetry: Telemetry) -> Floats:
    """Return the propensities of telemetry for which `why_not` has no reason."""
    assert telemetry.propensity is not None  # noqa: S101 - `why_not` has looked
    return telemetry.propensity


def replayed(telemetry: Telemetry, policies: Sequence[Policy], start: int, requests: int) -> Iterator[Asked]:
    """Yield the rows with a propensity from a slice on, in time order, and let policies learn what arrives meanwhile.

    Parameters
    ----------
    requests
        Into how many parts a slice is cut; the rows of a part are asked about together.
    """
    known = np.isfinite(propensities(telemetry))
    first_asked = telemetry.time[known & (telemetry.slice >= start)].min()
    learned = (telemetry.slice < start) & (telemetry.arrival < first_asked)
    for policy in policies:
        policy.warm(telemetry.where(learned))
    for number in np.unique(telemetry.slice[telemetry.slice >= start]):
        of_slice = np.flatnonzero(telemetry.slice == number)
        nodes = np.unique(telemetry.node[of_slice])
        for some in np.array_split(of_slice[known[of_slice]], requests):
            if not some.size:
                continue
            now = float(telemetry.time[some[0]])
            new = ~learned & (telemetry.arrival < now)
            if new.any():
                for policy in policies:
                    _learn(policy, telemetry.where(new))
                learned |= new
            question = _question(telemetry, some, nodes, now)
            yield Asked(some, question, np.searchsorted(nodes, telemetry.node[some]))


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


def decisions_of_telemetry(telemetry: Telemetry, policy: Learned, start: int, requests: int) -> LoggedDecisions:
    """Ask a model about each logged row from a slice on, and return both choices with their features.

    Parameters
    ----------
    start, requests
        As for `replayed`.

    Raises
    ------
    DataError
        If the telemetry has no propensities, or too many nodes in a slice, or the model leaves all to the origin.
    """
    reason = why_not(telemetry, start)
    if reason is not None:
        raise DataError(f"off-policy evaluation: {reason}")
    rows: list[NDArray[np.int64]] = []
    same: list[NDArray[np.bool_]] = []
    x: list[NDArray[np.float32]] = []
    n_asked = 0
    for asked in replayed(telemetry, [policy], start, requests):
        picked = policy.pick(asked.question)
        n_asked += picked.size
        served = np.flatnonzero(policy.served)
        if not served.size:
            continue
        question, logged, picked = asked.question.take(served), asked.logged[served], picked[served]
        met = picked == logged
        both = np.take_along_axis(question.candidates, np.column_stack([logged, picked]), axis=1)
        both[met, 1] = -1  # a node is a candidate once
        rows.append(asked.rows[served])
        same.append(met)
        x.append(policy.features(question._replace(candidates=both)))
    if not rows:
        raise DataError(f"off-policy evaluation: expected nodes for some of {n_asked} requests, found none")
    at, meets, pairs = np.concatenate(rows), np.concatenate(same), np.concatenate(x)
    begin = 2 * np.arange(at.size + 1)
    return LoggedDecisions(
        cost=telemetry.outcomes[COST][at].astype(np.float64),
        propensity=propensities(telemetry)[at],
        target=meets.astype(np.float64),
        client=telemetry.client[at],
        slice=telemetry.slice[at],
        candidates=LoggedCandidates(
            begin, begin[:-1], pairs.reshape(begin[-1], -1), np.column_stack([meets, ~meets]).ravel().astype(np.float64)
        ),
        left_out={SERVED_BY_ORIGIN: n_asked - at.size} if n_asked > at.size else {},
    )


def judge_off_policy(telemetry: Telemetry, found: Weighted, new: str, old: str, rules: PromotionRules) -> Verdict:
    """Compare the self-normalised mean costs of two policies; guardrails are those of a replay.

    See `training.evaluation.verdict.judge`.
    """
    rows = found.rows
    client, slices = telemetry.client[rows], telemetry.slice[rows]
    cost, ok = telemetry.outcomes[COST][rows].astype(np.float64), telemetry.ok[rows]
    threshold = tail_threshold(cost, ok, found.weight[old])

    def both(value: Floats) -> tuple[Terms, Terms]:
        return snips(value, found.weight[new]), snips(value, found.weight[old])

    def guarded(name: str, share: NDArray[np.bool_], tolerance: float) -> Guard:
        terms = both(share.astype(np.float64))
        more = of_requests(difference(*terms), client, slices, confidence=rules.confidence)
        return guard(name, more, (terms[0].value, terms[1].value), tolerance, len(rows))

    relative = of_requests(change(*both(cost)), client, slices, confidence=rules.confidence)
    guards = [
        guarded("failures", ~ok, rules.failures),
        guarded(tail_name(threshold), cost > threshold, rules.tail),
    ]
    words = f"estimated mean cost {percent(relative)} against the champion"
    return combined(relative, words, guards, rules.margin, len(rows))

"""What a policy is shown of a round and when, and what is kept of its picks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from scheduler.errors import InputError
from scheduler.spec import COST, FAILED, Head, Spec, Value
from training.baselines import Policy, Question, Seen
from training.comparison import LEARNED, ORACLE, Comparison, Picks, Series, scores
from training.ingest import Columns, Telemetry, concatenated
from training.rounds import Round


def question_of(one: Round, first: int) -> Question:
    """Return a round without its outcomes, its requests numbered from ``first`` on."""
    number = np.arange(first, first + len(one.client))
    return Question(one.time, number, one.client, one.candidates, one.request, one.node_state)


class Seat:
    """A policy at the table, with the outcomes of its picks that have not arrived yet."""

    def __init__(self, name: str, policy: Policy, clock: Callable[[], float]) -> None:
        self._name, self._policy, self._clock = name, policy, clock
        self._pending: list[Seen] = []
        self.picked: NDArray[np.integer] = np.empty(0, np.int64)
        self.seconds = 0.0

    def play(self, one: Round, question: Question) -> None:
        """Let the policy learn what has arrived, then pick."""
        arrived = self._arrived(one.time) if self._pending else None
        begin = self._clock()
        if arrived is not None and len(arrived):
            self._policy.learn(arrived)
        self.picked = np.asarray(self._policy.pick(question))
        self.seconds += self._clock() - begin
        self._check(question.candidates)
        self._pending.append(_shown(one, question, self.picked))

    def _arrived(self, now: float) -> Seen:
        """Take what arrived before a time out of what is pending, in order of arrival."""
        ready, rest = [], []
        for part in self._pending:
            early = part.arrival < now
            ready.append(part.take(np.flatnonzero(early)))
            if not early.all():
                rest.append(part.take(np.flatnonzero(~early)))
        self._pending = rest
        return _joined(ready)

    def _check(self, candidates: NDArray[np.int32]) -> None:
        picked, n = self.picked, len(candidates)
        if picked.shape != (n,) or picked.dtype.kind not in "iu":
            raise InputError(f"{self._name}: expected ({n},) columns, found {picked.dtype} of {picked.shape}")
        inside = (picked >= 0) & (picked < candidates.shape[1])
        inside[inside] = candidates[inside, picked[inside]] >= 0
        if not inside.all():
            raise InputError(f"{self._name}: expected columns of candidates, found {picked[~inside][0]}")


def _shown(one: Round, question: Question, picked: NDArray[np.integer]) -> Seen:
    """Return the outcomes of the picked columns, and nothing of the others."""
    at = np.arange(len(picked)), picked
    return Seen(
        number=question.number,
        client=one.client,
        node=one.candidates[at],
        ok=one.ok[at],
        cost=one.cost[at],
        outcomes={name: values[at] for name, values in one.outcomes.items()},
        time=np.full(len(picked), one.time),
        arrival=one.arrival[at],
    )


def _joined(parts: list[Seen]) -> Seen:
    """Return outcomes in order of arrival, those that arrive together in the order they were asked."""
    outcomes = {name: np.concatenate([part.outcomes[name] for part in parts]) for name in parts[0].outcomes}
    names = [name for name in Seen._fields if name != "outcomes"]
    fields = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Seen(outcomes=outcomes, **fields).take(np.argsort(fields["arrival"], kind="stable"))


class Log:
    """Everything that was asked, picked and got."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._time: list[float] = []
        self._client: list[NDArray[np.int32]] = []
        self._request: list[Columns] = []
        self._picks: dict[str, list[Picks]] = {}
        self._observed: dict[str, list[NDArray[np.float32]]] = {name: [] for name in spec.heads}
        self._n = 0

    def ask(self, one: Round) -> Question:
        """Return a round without its outcomes."""
        question = question_of(one, self._n)
        self._n += len(one.client)
        self._time.append(one.time)
        self._client.append(one.client)
        self._request.append(one.request)
        return question

    def keep(self, name: str, one: Round, picked: NDArray[np.integer]) -> None:
        """Note what a policy picked."""
        at = np.arange(len(picked)), picked
        self._picks.setdefault(name, []).append(Picks(one.candidates[at], one.ok[at], one.cost[at]))
        if name == LEARNED:
            for head, values in self._observed.items():
                values.append(_observed(self._spec.heads[head], one, at))

    def comparison(self, telemetry: Telemetry, seconds: Mapping[str, float]) -> Comparison:
        """Return the figures; the oracle comes last."""
        spec, names = self._spec, [*seconds, ORACLE]
        picks = {name: Picks(*map(np.concatenate, zip(*self._picks[name], strict=True))) for name in names}
        slices = np.floor(np.array(self._time) / spec.telemetry.slice.seconds)
        of_request = np.repeat(slices, [len(client) for client in self._client])
        starts, at = np.unique(of_request, return_inverse=True)
        return Comparison(
            data="",
            spec=spec.name,
            model="",
            n=self._n,
            policies=scores(picks, seconds),
            picks=picks,
            client=np.concatenate(self._client),
            request=concatenated(self._request),
            series=Series(
                start=starts * spec.telemetry.slice.seconds,
                n_requests=np.bincount(at),
                cost={name: np.bincount(at, p.cost).astype(np.float64) for name, p in picks.items()},
            ),
            unit=spec.outcomes[spec.cost.success].unit if spec.cost.success in spec.outcomes else "",
            predicted={},
            observed={h: np.concatenate(values) for h, values in self._observed.items() if values},
            clients=telemetry.clients,
            nodes=telemetry.nodes,
        )


def _observed(head: Head, one: Round, at: tuple[NDArray[np.int64], NDArray[np.integer]]) -> NDArray[np.float32]:
    """Return what came of picks, in the unit of the head's value; NaN where the head does not speak of it."""
    target, ok = Value.parse(head.target), one.ok[at]
    if target.outcome == FAILED:
        return (~ok).astype(np.float32)
    values = one.cost[at] if target.outcome == COST else one.outcomes[target.outcome][at]
    if target.log1p and head.link == "identity":
        values = np.log1p(values)
    return np.where(ok, values, np.float32(np.nan)) if head.given_ok else values

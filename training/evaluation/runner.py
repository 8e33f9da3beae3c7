"""Show each policy its batches and outcomes in time, and record its picks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from scheduler.errors import InputError
from training.evaluation.measured_requests import RequestBatch
from training.policies import Policy, Question, Seen


def question_of(one: RequestBatch, first: int) -> Question:
    """Return a batch without its outcomes, its requests numbered from ``first`` on."""
    number = np.arange(first, first + len(one.client))
    return Question(one.time, number, one.client, one.candidates, one.request, one.node_state)


class PolicyRun:
    """A policy in an evaluation, with the outcomes of its picks that have not arrived yet."""

    def __init__(self, name: str, policy: Policy, clock: Callable[[], float]) -> None:
        self._name, self._policy, self._clock = name, policy, clock
        self._pending: list[Seen] = []
        self.picked: NDArray[np.integer] = np.empty(0, np.int64)
        self.seconds = 0.0

    def play(self, one: RequestBatch, question: Question) -> None:
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
        """Remove and return the pending outcomes that arrived before a time, in order of arrival."""
        ready, rest = [], []
        for part in self._pending:
            early = part.arrival < now
            ready.append(part.take(np.flatnonzero(early)))
            later = ~early & np.isfinite(part.arrival)  # what never arrives need not be kept
            if later.any():
                rest.append(part.take(np.flatnonzero(later)))
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


def _shown(one: RequestBatch, question: Question, picked: NDArray[np.integer]) -> Seen:
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

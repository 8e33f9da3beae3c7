"""Record every policy's picks and their outcomes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from scheduler.spec import COST, FAILED, Head, Spec, Value
from training.evaluation.measured_requests import RequestBatch
from training.evaluation.metrics import LEARNED, ORACLE, Picks, scores
from training.evaluation.results import Comparison, Series
from training.evaluation.runner import question_of
from training.policies import Question
from training.telemetry import Columns, Telemetry, concatenated


class Log:
    """Everything that was asked, picked and got."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._time: list[float] = []
        self._slice: list[int] = []
        self._n_outcomes, self._n_agreeing = 0, 0
        self._client: list[NDArray[np.int32]] = []
        self._request: list[Columns] = []
        self._picks: dict[str, list[Picks]] = {}
        self._observed: dict[str, list[NDArray[np.float32]]] = {name: [] for name in spec.heads}
        self._n = 0

    def ask(self, one: RequestBatch) -> Question:
        """Return a batch without its outcomes."""
        question = question_of(one, self._n)
        self._n += len(one.client)
        self._time.append(one.time)
        self._slice.append(one.slice)
        real = one.candidates >= 0
        self._n_outcomes += int(real.sum())
        self._n_agreeing += int((real if one.agrees is None else one.agrees & real).sum())
        self._client.append(one.client)
        self._request.append(one.request)
        return question

    def keep(self, name: str, one: RequestBatch, picked: NDArray[np.integer]) -> None:
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
        n_asked = [len(client) for client in self._client]
        of_request = np.repeat(np.array(self._slice, np.int32), n_asked)
        _, first = np.unique(self._slice, return_index=True)
        _, at = np.unique(of_request, return_inverse=True)
        return Comparison(
            data="",
            spec=spec.name,
            model="",
            n=self._n,
            policies=scores(picks, seconds),
            picks=picks,
            client=np.concatenate(self._client),
            slice=of_request,
            agreeing=self._n_agreeing / max(self._n_outcomes, 1),
            request=concatenated(self._request),
            series=Series(
                start=np.array(self._time)[first],
                n_requests=np.bincount(at),
                cost={name: np.bincount(at, p.cost).astype(np.float64) for name, p in picks.items()},
            ),
            unit=spec.outcomes[spec.cost.success].unit if spec.cost.success in spec.outcomes else "",
            predicted={},
            observed={h: np.concatenate(values) for h, values in self._observed.items() if values},
            clients=telemetry.clients,
            nodes=telemetry.nodes,
        )


def _observed(head: Head, one: RequestBatch, at: tuple[NDArray[np.int64], NDArray[np.integer]]) -> NDArray[np.float32]:
    """Return outcomes of picks in the unit of the head's value; NaN if the head predicts nothing for them."""
    target, ok = Value.parse(head.target), one.ok[at]
    if target.outcome == FAILED:
        return (~ok).astype(np.float32)
    values = one.cost[at] if target.outcome == COST else one.outcomes[target.outcome][at]
    if target.log1p and head.link == "identity":
        values = np.log1p(values)
    return np.where(ok, values, np.float32(np.nan)) if head.given_ok else values

"""The learned model behind the same questions: the real scheduler, warmed by replay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.ids import Id
from scheduler.columns.schema import Schema
from scheduler.history.store import table_counters
from scheduler.model.manifest import TableUse
from scheduler.model.model import Model
from scheduler.scheduler import Scheduler
from training.features.warm import warm
from training.policies.protocol import Question, Seen, Setting
from training.telemetry import Categories, Entities, Telemetry, at_rows
from training.telemetry.history_size import table_uses

REMEMBER = 262_144
"""Decisions that may wait for their outcome at once, at least: a batch of a small fleet asks a few thousand."""

OPEN_BATCHES = 4
"""Batches in which every client asks that may wait for their outcomes at once: most have arrived by the next one."""


class Learned:
    """`scheduler.Scheduler` with a model, asked through `decide_batch` and told through `observe_batch`.

    Utility, policy, candidates and ledger are those of the evaluation's spec.

    A request that the scheduler leaves to the origin takes its first candidate, which is a random one, because the
    replay has no origin; such a pick teaches nothing. Of a slate the first node counts.

    Attributes
    ----------
    scheduler
        The one that is asked.
    served
        Which requests of the last question got a node; the others are left to the origin.
    notes
        What a reader of its figures has to know of how they came about.
    """

    def __init__(self, setting: Setting, model: Model) -> None:
        self._setting = setting
        remember = max(REMEMBER, OPEN_BATCHES * len(setting.clients))
        self.scheduler = Scheduler(model, setting.spec, seed=setting.seed, remember=remember, first_id=0)
        self._decisions: dict[int, int] = {}
        self._values: list[NDArray[np.float64]] = []
        self.notes: list[str] = []
        self.served = np.empty(0, np.bool_)
        features = model.features
        self.scheduler.fleet.upsert(setting.nodes.ids, _raw(features.node, setting.nodes))
        self.scheduler.clients.upsert(setting.clients.ids, _raw(features.request, setting.clients))

    def warm(self, telemetry: Telemetry) -> None:
        """Push all telemetry through the scheduler's own history."""
        warm(self.scheduler, telemetry)

    def pick(self, question: Question) -> NDArray[np.integer]:
        """Return the columns that the scheduler decides for."""
        self.report(question)
        return self.decide(question)

    def decide(self, question: Question) -> NDArray[np.integer]:
        """Pick, where `report` has told the question's state of the nodes."""
        decisions = self.scheduler.decide_batch(*self._asked(question), now=question.time)
        first = decisions.position[:, 0]
        self.served = served = first >= 0
        self._values.append(decisions.values[:, 0])
        numbers = question.number[served].tolist()
        self._decisions.update(zip(numbers, decisions.id[served].tolist(), strict=True))
        return np.where(served, first, (question.candidates >= 0).argmax(axis=1))

    def learn(self, seen: Seen) -> None:
        """Report the outcomes."""
        decisions = [self._decisions.pop(number, -1) for number in seen.number.tolist()]
        known = np.flatnonzero(np.array(decisions, np.int64) >= 0)
        if not known.size:
            return
        seen, spec = seen.take(known), self._setting.spec
        outcomes: dict[str, Any] = {name: seen.outcomes[name] for name in spec.outcomes}
        several = spec.policy.max_nodes > 1
        self.scheduler.observe_batch(
            np.array(decisions, np.int64)[known],
            {"ok": seen.ok, **outcomes},
            now=seen.arrival,
            nodes=self._setting.nodes.ids[seen.node].tolist() if several else None,
        )

    def expected(self) -> dict[str, NDArray[np.float64]]:
        """Return by head the expected value of every pick so far, NaN if the origin served."""
        values = np.concatenate(self._values)
        return {name: values[:, h] for h, name in enumerate(self.scheduler.model.heads)}

    def tables(self, keys: Mapping[str, int]) -> dict[str, TableUse]:
        """Return how full the scheduler's history is now, where the data has so many keys, by name."""
        counters = table_counters(self.scheduler.history)
        return table_uses(self.scheduler.model.spec, keys, counters)

    def features(self, question: Question) -> NDArray[np.float32]:
        """Return the feature rows of all candidates as the scheduler sees them, (n, n_candidates, n_features)."""
        return self.scheduler.features(*self._asked(question), now=question.time)

    def _asked(self, question: Question) -> tuple[dict[str, Any], NDArray[Any]]:
        """Return requests and candidates as the scheduler takes them."""
        request: dict[str, Any] = {name: _values(column) for name, column in question.request.items()}
        request[self._setting.spec.telemetry.client] = self._setting.clients.ids[question.client]
        return request, _ids(self._setting.nodes.ids, question.candidates)

    def report(self, question: Question) -> None:
        """Update the fleet by the candidates' last reports."""
        if question.node_state:
            rows = np.unique(question.candidates[question.candidates >= 0])
            state = {name: _values(at_rows(column, rows)) for name, column in question.node_state.items()}
            self.scheduler.fleet.upsert(self._setting.nodes.ids[rows], state)


def _raw(schema: Schema, table: Entities) -> dict[str, Any]:
    return {name: _values(column) for name, column in table.columns.items() if name in schema.columns}


def _values(column: NDArray[np.float64] | Categories) -> Sequence[Id | None] | NDArray[np.float64]:
    return column.raw() if isinstance(column, Categories) else column


def _ids(nodes: NDArray[Any], candidates: NDArray[np.int32]) -> NDArray[Any]:
    """Return ids of candidates, None where padded."""
    if (candidates >= 0).all():
        return nodes[candidates]
    ids = nodes.astype(object)[candidates]
    ids[candidates < 0] = None
    return ids

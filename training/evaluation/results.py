"""What an evaluation found: figures by policy, and every pick behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from scheduler.model.manifest import TableUse
from training.evaluation.metrics import FIGURES, Picks, Score
from training.evaluation.model_card import ModelCard
from training.telemetry import Columns, Entities
from training.telemetry.history_size import shortages


class Series(NamedTuple):
    """Costs by slice: (s,) float64 starts in seconds, int64 requests, and float64 sums by policy."""

    start: NDArray[np.float64]
    n_requests: NDArray[np.int64]
    cost: dict[str, NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All policies on the same requests.

    Attributes
    ----------
    data, spec, model
        What was replayed by which model: the data's name and identity, the spec's name, name and version.
    n
        How many requests, over all seeds.
    policies
        By name, the oracle among them; with several seeds the mean of each figure.
    picks
        By name, one entry a request, as are ``client`` (int32 rows of ``clients``) and ``request`` (its
        columns).
    series
        Costs by slice.
    unit
        Of the cost.
    predicted
        By head, (n,) float64 what the learned model expected of its picks in the head's unit, NaN where it
        made none; empty without a learned model.
    observed
        By head, (n,) float32 outcomes, NaN if the head predicts nothing for them.
    clients, nodes
        The two tables.
    card
        Identity of the model, if known.
    seeds
        How many seeds' draws these are.
    cold
        Among which cold nodes and clients the decisions were, where among such only.
    standard_deviation
        By policy, the standard deviation of each figure over the seeds; empty for one seed.
    tables
        How full the learned model's history became in this ``evaluation`` (of the first seed) and in ``training``, by
        table; where it is known.
    """

    data: str
    spec: str
    model: str
    n: int
    policies: dict[str, Score]
    picks: dict[str, Picks]
    client: NDArray[np.int32]
    request: Columns
    series: Series
    unit: str
    predicted: dict[str, NDArray[np.float64]]
    observed: dict[str, NDArray[np.float32]]
    clients: Entities
    nodes: Entities
    card: ModelCard | None = None
    seeds: int = 1
    cold: str = ""
    standard_deviation: dict[str, Score] = field(default_factory=dict)
    tables: dict[str, dict[str, TableUse]] = field(default_factory=dict)

    def warnings(self) -> list[str]:
        """Return what makes the learned model worse than it need be, a line each."""
        return [f"{when}: {line}" for when, tables in self.tables.items() for line in shortages(tables)]

    def to_json(self) -> dict[str, Any]:
        """Return the figures as they are printed in JSON; a figure that does not exist is None."""
        found: dict[str, Any] = {"data": self.data, "spec": self.spec, "model": self.model, "n": self.n}
        if self.cold:
            found["cold"] = self.cold
        found["policies"] = _figures(self.policies)
        if self.standard_deviation:
            found |= {"seeds": self.seeds, "standard_deviation": _figures(self.standard_deviation)}
        if self.tables:
            found |= {"tables": msgspec.to_builtins(self.tables), "warnings": self.warnings()}
        return found


def _figures(scores: Mapping[str, Score]) -> dict[str, dict[str, float | None]]:
    return {name: {f: _number(getattr(score, f)) for f in FIGURES} for name, score in scores.items()}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

"""What an evaluation found: figures by policy, and every pick behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from scheduler.model.manifest import TableUse
from training.evaluation.metrics import FIGURES, Picks, Score, saturated_by
from training.evaluation.model_card import ModelCard
from training.telemetry import Columns, Entities
from training.telemetry.history_size import shortages


class Conditions(NamedTuple):
    """How a comparison was made, so that it can be made again.

    Attributes
    ----------
    candidates, requests
        Candidates of a request at most, and request batches a slice.
    seed
        The first one.
    versions
        Of the libraries, by name.
    command
        The command line, if there was one.
    """

    candidates: int
    requests: int
    seed: int
    versions: dict[str, str]
    command: str = ""

    def in_words(self) -> str:
        """Return it in one line."""
        made = f"{self.candidates} candidates, requests = {self.requests}, seed {self.seed}"
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return "; ".join(part for part in (made, versions, self.command) if part)


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
        By name, one entry a request, as are ``client`` (int32 rows of ``clients``), ``slice`` (int32 numbers) and
        ``request`` (its columns).
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
    run
        (n,) int32, which of them each request belongs to; None for one.
    cold
        Among which cold nodes and clients the decisions were, where among such only.
    standard_deviation
        By policy, the standard deviation of each figure over the seeds; empty for one seed.
    tables
        How full the learned model's history became in this ``evaluation`` (of the first seed) and in ``training``, by
        table; where it is known.
    chosen
        By policy that chose something before the comparison, what.
    agreeing
        Share of the outcomes that were measured for just the request's columns; the others were nearest to them.
    conditions
        How it was made, where that is known.
    notes
        What else to know of it, a line each.
    """

    data: str
    spec: str
    model: str
    n: int
    policies: dict[str, Score]
    picks: dict[str, Picks]
    client: NDArray[np.int32]
    slice: NDArray[np.int32]
    request: Columns
    series: Series
    unit: str
    predicted: dict[str, NDArray[np.float64]]
    observed: dict[str, NDArray[np.float32]]
    clients: Entities
    nodes: Entities
    card: ModelCard | None = None
    seeds: int = 1
    run: NDArray[np.int32] | None = None
    cold: str = ""
    standard_deviation: dict[str, Score] = field(default_factory=dict)
    tables: dict[str, dict[str, TableUse]] = field(default_factory=dict)
    chosen: dict[str, str] = field(default_factory=dict)
    agreeing: float = 1.0
    conditions: Conditions | None = None
    notes: tuple[str, ...] = ()

    @property
    def tuned(self) -> str:
        """Return on what the model's settings were chosen; empty if that is not known."""
        return "" if self.card is None else self.card.tuned

    def by_command(self, line: str) -> Comparison:
        """Return the same with the command line that made it."""
        known = self.conditions
        return self if known is None else replace(self, conditions=known._replace(command=line))

    def warnings(self) -> list[str]:
        """Return what the figures do not say by themselves, a line each: nothing to win, and tables that were full."""
        lines = list(self.notes)
        lines += [f"{when}: {line}" for when, tables in self.tables.items() for line in shortages(tables)]
        best = saturated_by(self.policies)
        return lines if best is None else [saturated(best, self.policies[best].gap_closed), *lines]

    def to_json(self) -> dict[str, Any]:
        """Return the figures as they are printed in JSON; a figure that does not exist is None."""
        found: dict[str, Any] = {"data": self.data, "spec": self.spec, "model": self.model, "n": self.n}
        if self.cold:
            found["cold"] = self.cold
        if self.conditions is not None:
            found |= self.conditions._asdict()
        if self.tuned:
            found["tuned"] = self.tuned
        found["policies"] = _figures(self.policies)
        if self.standard_deviation:
            found |= {"seeds": self.seeds, "standard_deviation": _figures(self.standard_deviation)}
        if self.tables:
            found["tables"] = msgspec.to_builtins(self.tables)
        if self.chosen:
            found["chosen"] = self.chosen
        saturated = saturated_by(self.policies) is not None
        return found | {"agreeing": self.agreeing, "saturated": saturated, "warnings": self.warnings()}


def saturated(baseline: str, gap_closed: float) -> str:
    """Return in words that a baseline leaves nothing to win; ``gap_closed`` is NaN where there is no gap."""
    if np.isnan(gap_closed):
        return (
            f"saturated: {baseline} picks cost what the oracle's do, because all candidates cost the same, so there is "
            "nothing to win; compare by another cost"
        )
    return (
        f"saturated: {baseline} closes {gap_closed:.3f} of the gap, so there is nothing left to win; "
        "compare with fewer candidates or by another cost"
    )


def _figures(scores: Mapping[str, Score]) -> dict[str, dict[str, float | None]]:
    return {name: {f: _number(getattr(score, f)) for f in FIGURES} for name, score in scores.items()}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

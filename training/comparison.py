"""What an evaluation found: figures by policy, and every pick behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.artifact import head_files
from scheduler.model import Model
from training.ingest import Columns, Entities

RANDOM, ORACLE, LEARNED = "random", "oracle", "learned"
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
        policies but the oracle and the learned one: below 1 beats every baseline; NaN where the best is the
        oracle's equal. The best is found anew for each figure.
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


class Picks(NamedTuple):
    """What a policy picked for each request and got: (n,) int32 rows of the nodes, bool, float32."""

    node: NDArray[np.int32]
    ok: NDArray[np.bool_]
    cost: NDArray[np.float32]


class Series(NamedTuple):
    """Costs by slice: (s,) float64 starts in seconds, int64 requests, and float64 sums by policy."""

    start: NDArray[np.float64]
    n_requests: NDArray[np.int64]
    cost: dict[str, NDArray[np.float64]]


class ModelCard(NamedTuple):
    """Who the model is.

    Attributes
    ----------
    name, version
        As in its manifest.
    window
        Rows and slices it was trained on.
    units
        Of each head's value.
    importance
        By head, the share of the total gain by feature.
    """

    name: str
    version: str
    window: dict[str, int | float | str]
    units: dict[str, str]
    importance: dict[str, dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All policies on the same requests.

    Attributes
    ----------
    data, spec, model
        What was replayed and who decided: the data's name and identity, the spec's name, name and version.
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
        By head, (n,) float32 what came of them, NaN where the head does not speak of it.
    clients, nodes
        The two tables.
    card
        Who the model is, where it is known.
    seeds
        How many seeds' draws these are.
    cold
        Among which held-out nodes and clients the decisions were, where among such only.
    spread
        By policy, the standard deviation of each figure over the seeds; empty for one seed.
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
    spread: dict[str, Score] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the figures as they are printed in JSON; a figure that does not exist is None."""
        found: dict[str, Any] = {"data": self.data, "spec": self.spec, "model": self.model, "n": self.n}
        if self.cold:
            found["cold"] = self.cold
        found["policies"] = _figures(self.policies)
        return {**found, "seeds": self.seeds, "spread": _figures(self.spread)} if self.spread else found


def _figures(scores: Mapping[str, Score]) -> dict[str, dict[str, float | None]]:
    return {name: {f: _number(getattr(score, f)) for f in FIGURES} for name, score in scores.items()}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def model_card(model: Model, folder: Path) -> ModelCard:
    """Return who a model is, the importance of its features read from LightGBM's text in its artifact."""
    importance = {
        head: _gains((folder / head_files(head)[1]).read_text(), model.features.names) for head in model.heads
    }
    units = {head: model.spec.heads[head].unit for head in model.heads}
    return ModelCard(model.name, model.version, model.manifest.window, units, importance)


def _gains(text: str, names: Sequence[str]) -> dict[str, float]:
    """Add up the gains of all splits by feature, as shares."""
    total = np.zeros(len(names))
    features: list[int] = []
    for line in text.splitlines():
        key, _, values = line.partition("=")
        if key == "split_feature":
            features = [int(value) for value in values.split()]
        elif key == "split_gain":
            np.add.at(total, features, [float(value) for value in values.split()])
    return dict(zip(names, (total / max(total.sum(), np.finfo(np.float64).tiny)).tolist(), strict=True))


def scores(picks: Mapping[str, Picks], seconds: Mapping[str, float]) -> dict[str, Score]:
    """Return the figures of every policy; ``random`` and ``oracle`` must be among them."""
    costs = {name: p.cost.astype(np.float64) for name, p in picks.items()}
    mean = {name: float(cost.mean()) for name, cost in costs.items()}
    mean_log = {name: float(np.log(np.maximum(cost, 1.0)).mean()) for name, cost in costs.items()}
    return {
        name: Score(
            mean=mean[name],
            median=float(np.median(cost)),
            p95=float(np.percentile(cost, 95)),
            mean_log=mean_log[name],
            fail=float((~picks[name].ok).mean()),
            gap_closed=_gap_closed(mean, name),
            gap_closed_log=_gap_closed(mean_log, name),
            regret=_regret(mean, name),
            regret_log=_regret(mean_log, name),
            seconds=seconds.get(name, 0.0),
        )
        for name, cost in costs.items()
    }


def _gap_closed(figures: Mapping[str, float], name: str) -> float:
    gap = figures[RANDOM] - figures[ORACLE]
    return (figures[RANDOM] - figures[name]) / gap if gap else float("nan")


def _regret(figures: Mapping[str, float], name: str) -> float:
    best = min((value for policy, value in figures.items() if policy not in (LEARNED, ORACLE)), default=float("nan"))
    rest = best - figures[ORACLE]
    return (figures[name] - figures[ORACLE]) / rest if rest else float("nan")

"""Off-policy estimates against the truth: ``python -m benchmarks.ope [OBD] [HBRP] [--resamples N] [--json FILE]``.

OBD and HBRP are folders of the open bandit data's sample and of 88 places that probed 170 nodes at random. With the
first, each of two policies is estimated from the other's log and compared with what it got. With the second, logs are
drawn anew from all requests, and the share of intervals that hold the truth is counted, by estimator, by interval, and
by what was drawn: requests, or whole clients.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from benchmarks.report import show
from training.evaluation.ope.decisions import LoggedCandidates, LoggedDecisions
from training.evaluation.ope.direct_model import cross_fitted
from training.evaluation.ope.estimators import (
    Terms,
    direct_method,
    doubly_robust,
    importance_weights,
    ips,
    logged_mean,
    snips,
    switch_dr,
    switch_threshold,
)
from training.evaluation.ope.evaluate import OffPolicy, default_clip, evaluate_off_policy
from training.evaluation.ope.intervals import around, bootstrap, empirical_bernstein, estimate
from training.evaluation.paired_intervals import Interval

CAMPAIGNS, POLICIES = ("men", "women"), ("random", "bts")

ROWS = 20_000
"""Requests of a resampled log: about 600 of them meet the target policy."""

EARLY = 6
"""Slices that the target policy is made from; it is judged on those that follow."""

BEST = 5
"""Nodes of each client among which the target policy draws: those of the least mean cost in the early slices."""

FAILED_MS = 10_000.0
"""What a failure costs at least, as the spec of these data says."""


def open_bandit(folder: Path, campaign: str, source: str) -> LoggedDecisions:
    """Return the log of one policy of a campaign, with the other one as the target; a click costs -1.

    The other's probabilities are not in the log. The random policy draws all items alike; what the Thompson sampler
    draws at a position is counted in its own log.
    """
    log, other = (
        pl.read_parquet(folder / f"{campaign}_{name}.parquet")
        for name in (source, next(name for name in POLICIES if name != source))
    )
    n_items = 1 + max(log["item_id"].max(), other["item_id"].max())  # type: ignore[operator,type-var]
    item, position = log["item_id"].to_numpy(), log["position"].to_numpy()
    target = np.full((4, n_items), 1.0 / n_items)
    if source == "random":
        counts = np.zeros((4, n_items))
        np.add.at(counts, (other["position"].to_numpy(), other["item_id"].to_numpy()), 1.0)
        target = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    n = log.height
    x = np.column_stack([np.tile(np.arange(n_items), n), np.repeat(position, n_items)]).astype(np.float32)
    begin = n_items * np.arange(n + 1)
    return LoggedDecisions(
        cost=-log["click"].to_numpy().astype(float),
        propensity=log["propensity_score"].to_numpy(),
        target=target[position, item],
        client=np.arange(n),
        slice=np.zeros(n, int),  # one week: users are what would be others next time
        candidates=LoggedCandidates(begin, begin[:-1] + item, x, target[position].ravel()),
    )


def each_from_the_other(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield for both campaigns and policies what the policy got, and what the other's log says about it."""
    for campaign in CAMPAIGNS:
        for source in POLICIES:
            target = next(name for name in POLICIES if name != source)
            truth = pl.read_parquet(folder / f"{campaign}_{target}.parquet")["click"].mean()
            found = evaluate_off_policy(open_bandit(folder, campaign, source))
            yield {"campaign": campaign, "log": source, "target": target, "truth": truth, **_clicks(found)}


def _clicks(found: OffPolicy) -> dict[str, Any]:
    return {
        "refused": found.refused,
        "effective": round(found.support.effective),
        "overlap": round(found.support.overlap.value, 3),
        "estimates": {name: [-one.value, -one.high, -one.low] for name, one in found.estimates.items()},
    }


class Population(NamedTuple):
    """All requests of the later slices, the target policy, and what it costs.

    ``x`` are (n_clients, n_nodes, n_features) means of the early slices, ``best`` the target's nodes of each client.
    """

    client: np.ndarray
    node: np.ndarray
    cost: np.ndarray
    x: np.ndarray
    best: np.ndarray
    truth: float

    @property
    def n_nodes(self) -> int:
        return self.x.shape[1]


def population(folder: Path) -> Population:
    """Read the requests; the node of each was drawn uniformly."""
    data = pl.read_parquet(
        folder / "telemetry.parquet", columns=["slice", "client_id", "node_id", "ok", "response_ms", "fail_ms"]
    )
    slow = pl.max_horizontal(pl.lit(FAILED_MS), "fail_ms")
    cost = data.select(pl.when("ok").then("response_ms").otherwise(slow).cast(pl.Float64)).to_series().to_numpy()
    client, node = (np.unique(data[name].to_numpy(), return_inverse=True)[1] for name in ("client_id", "node_id"))
    early = data["slice"].to_numpy() < EARLY
    before, after = _means(client, node, cost, early), _means(client, node, cost, ~early)
    best = np.argsort(before, axis=1)[:, :BEST]
    share = np.bincount(client[~early]) / np.sum(~early)
    x = np.stack(np.broadcast_arrays(before, before.mean(axis=0), before.mean(axis=1, keepdims=True)), axis=-1)
    truth = float(share @ np.take_along_axis(after, best, axis=1).mean(axis=1))
    return Population(client[~early], node[~early], cost[~early], x.astype(np.float32), best, truth)


def _means(client: np.ndarray, node: np.ndarray, cost: np.ndarray, some: np.ndarray) -> np.ndarray:
    shape = client.max() + 1, node.max() + 1
    pair = client[some] * shape[1] + node[some]
    counts = np.bincount(pair, minlength=shape[0] * shape[1])
    sums = np.bincount(pair, cost[some], shape[0] * shape[1])
    return np.where(counts > 0, sums / np.maximum(counts, 1), cost[some].mean()).reshape(shape)


class Drawn(NamedTuple):
    """Positions of drawn requests, and the client that each counts for: one drawn twice is two clients."""

    rows: np.ndarray
    client: np.ndarray


def draw_requests(all_of: Population, rng: np.random.Generator) -> Drawn:
    rows = rng.choice(len(all_of.cost), ROWS)
    return Drawn(rows, all_of.client[rows])


def draw_clients(all_of: Population, rng: np.random.Generator) -> Drawn:
    order = np.argsort(all_of.client, kind="stable")
    begin = np.searchsorted(all_of.client[order], np.arange(len(all_of.x) + 1))
    drawn = rng.integers(len(all_of.x), size=len(all_of.x))
    sizes = np.maximum(1, np.diff(begin)[drawn] * ROWS // len(order))
    rows = [order[rng.integers(begin[c], begin[c + 1], size=n)] for c, n in zip(drawn, sizes, strict=True)]
    return Drawn(np.concatenate(rows), np.repeat(np.arange(drawn.size), sizes))


def logged_by(all_of: Population, drawn: Drawn) -> LoggedDecisions:
    """Return drawn requests as logged decisions; candidates are those that the target may draw, and the logged one."""
    rows, n = drawn.rows, drawn.rows.size
    client, node, best = all_of.client[rows], all_of.node[rows], all_of.best[all_of.client[rows]]
    nodes = np.column_stack([best, node])
    target = np.tile([*[1.0 / BEST] * BEST, 0.0], n)
    begin = (BEST + 1) * np.arange(n + 1)
    x = all_of.x[client[:, None], nodes].reshape(-1, all_of.x.shape[-1])
    return LoggedDecisions(
        cost=all_of.cost[rows],
        propensity=np.full(n, 1.0 / all_of.n_nodes),
        target=(best == node[:, None]).any(axis=1) / BEST,
        client=drawn.client,
        slice=np.zeros(n, int),
        candidates=LoggedCandidates(begin, begin[1:] - 1, x, target),
    )


def terms_of(logged: LoggedDecisions, *, model: bool, seed: int) -> dict[str, Terms]:
    """Return the terms of all estimators, without those that need a model unless asked."""
    cost, whole = logged.cost, importance_weights(logged.propensity, logged.target)
    weight = np.minimum(whole, default_clip(cost.size))
    found = {"ips": ips(cost, weight), "snips": snips(cost, weight)}
    if model and logged.candidates is not None:
        predicted, expected = cross_fitted(cost, logged.candidates, seed=seed)
        threshold = switch_threshold(cost, whole, predicted, expected)
        found |= {
            "dr": doubly_robust(cost, weight, predicted, expected),
            "switch_dr": switch_dr(cost, whole, predicted, expected, threshold),
            "dm": direct_method(expected),
        }
    return found


INTERVALS: dict[str, Callable[[Terms, np.ndarray], Interval]] = {
    "rows": lambda terms, _: around(estimate(terms)),
    "rows, symmetric": lambda terms, _: around(estimate(terms), skew=False),
    "clients": lambda terms, client: around(estimate(terms), (client,)),
    "clients, symmetric": lambda terms, client: around(estimate(terms), (client,), skew=False),
    "clients, bootstrap": bootstrap,
}


def coverage(
    all_of: Population, draw: Callable[..., Drawn], seeds: range, *, model: bool
) -> dict[str, dict[str, dict[str, float]]]:
    """Count by estimator and interval how many of 100 hold the truth, and their mean width as a share of it."""
    hits: dict[tuple[str, str], list[tuple[bool, float]]] = {}
    for seed in seeds:
        drawn = draw(all_of, np.random.default_rng(seed))
        logged = logged_by(all_of, drawn)
        for name, terms in terms_of(logged, model=model, seed=seed).items():
            for how, interval in INTERVALS.items():
                hits.setdefault((name, how), []).append(_hit(interval(terms, drawn.client), all_of.truth))
            if name == "ips":
                bounds = empirical_bernstein(terms, 0.0, float(terms.numerator.max()))
                hits.setdefault((name, "rows, Bernstein"), []).append(_hit(bounds, all_of.truth))
    found: dict[str, dict[str, dict[str, float]]] = {}
    for (name, how), held in hits.items():
        share, width = 100.0 * np.mean([hit for hit, _ in held]), np.mean([w for _, w in held])
        found.setdefault(name, {})[how] = {"of 100": round(float(share), 1), "width": round(float(width), 3)}
    return found


def _hit(found: Interval, truth: float) -> tuple[bool, float]:
    return bool(found.low <= truth <= found.high), (found.high - found.low) / truth


def unsupported(all_of: Population) -> str | None:
    """Return why a target is refused that chooses the node that each client's log leaves out."""
    logged = logged_by(all_of, draw_requests(all_of, np.random.default_rng(0)))
    kept = logged.target == 0.0
    left = [values[kept] for values in logged[:5]]
    return evaluate_off_policy(LoggedDecisions(*left)).refused


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ope", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("obd", type=Path, nargs="?", default=Path("../shared/data/obd"))
    parser.add_argument("hbrp", type=Path, nargs="?", default=Path("../shared/data/hbrp"))
    parser.add_argument(
        "--resamples", type=int, default=100, help="logs drawn for estimates with a model; 10 times as many without"
    )
    parser.add_argument("--json", type=Path, help="also write the report to a file")
    options = parser.parse_args()
    all_of, seeds = population(options.hbrp), range(options.resamples)
    draws = {"requests": draw_requests, "clients": draw_clients}
    report = {
        "open bandit": list(each_from_the_other(options.obd)),
        "truth": all_of.truth,
        "uniform": logged_mean(all_of.cost).value,
        "coverage": {name: coverage(all_of, draw, seeds, model=True) for name, draw in draws.items()},
        "coverage of ten times as many": {
            name: coverage(all_of, draw, range(10 * options.resamples), model=False) for name, draw in draws.items()
        },
        "unsupported": unsupported(all_of),
    }
    show(report, options.json)


if __name__ == "__main__":
    main()

"""The telemetry that the rule pile would have logged, as a telemetry directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.simulator.fleet import CANDIDATES, CUSTOMERS, START, WORKLOADS, World
from training.simulator.rule_policy import RulePile
from training.telemetry import Categories, Entities
from training.telemetry.write import write_tables

SLICE_SECONDS = 900
_BATCH_S = 60.0  # the rules see the load and the failures as of the start of the minute


def write_telemetry(  # noqa: PLR0913 - what a log may be like
    world: World,
    folder: str | Path,
    *,
    hours: float = 48.0,
    requests: int = 350_000,
    explore: float = 0.05,
    seed: int = 0,
    propensities: bool = False,
) -> None:
    """Let the hand-written rules serve a world, and write the telemetry that they log.

    Parameters
    ----------
    world
        The fleet.
    folder
        Made if absent; ``telemetry.parquet``, ``nodes.parquet`` and ``clients.parquet`` in it are replaced.
    hours, requests
        From the world's beginning, for how long, and how many requests in all.
    explore
        The share of requests that get a random candidate instead of the rules' choice.
    propensities
        Whether to write the probability with which each node was drawn, as column ``propensity``.
    seed
        Of requests and exploration; it does not change the world.
    """
    log = _serve(world, hours * 3600.0, requests, explore, seed)
    telemetry = log if propensities else log.drop("propensity")
    write_tables(Path(folder), clients=_table(world.clients), nodes=_table(world.nodes), telemetry=telemetry)


def _serve(world: World, seconds: float, n: int, explore: float, seed: int) -> pl.DataFrame:
    asked = world.requests(n, START, START + seconds, seed)
    offered = world.candidates(asked, CANDIDATES)
    rng = np.random.default_rng([world.seed, seed, 1])
    place = np.where(rng.random(n) < explore, rng.integers(CANDIDATES, size=n), -1)
    rules, load, propensity = RulePile(world), np.empty(n), np.full(n, explore / CANDIDATES)
    found: list[dict[str, NDArray[Any]]] = []
    edges = np.searchsorted(asked.time, np.arange(START, START + seconds + _BATCH_S, _BATCH_S))
    for now, low, high in zip(START + _BATCH_S * np.arange(len(edges)), edges[:-1], edges[1:], strict=False):
        batch = asked.part(low, high)
        reported = world.reported_load(now)
        picked = rules.pick(batch, offered[low:high], reported)
        place[low:high] = np.where(place[low:high] < 0, picked, place[low:high])
        propensity[low:high] += np.where(place[low:high] == picked, 1.0 - explore, 0.0)
        node = np.take_along_axis(offered[low:high], place[low:high, None], axis=1)
        found.append({name: values[:, 0] for name, values in world.outcomes(batch, node).items()})
        load[low:high] = reported[node[:, 0]]
        rules.observe(node[:, 0], found[-1]["ok"], now + _BATCH_S)
    chosen = np.take_along_axis(offered, place[:, None], axis=1)[:, 0]
    outcomes = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
    return pl.DataFrame(
        {
            "slice": ((asked.time - START) // SLICE_SECONDS).astype(np.int32),
            "ts": pl.Series(np.round(asked.time * 1000).astype(np.int64)).cast(pl.Datetime("ms", "UTC")),
            "client_id": world.clients.ids[asked.client],
            "node_id": world.nodes.ids[chosen],
            "workload": _texts(Categories(asked.workload, WORKLOADS)),
            "bitrate_kbps": asked.bitrate_kbps,
            "customer": _texts(Categories(asked.customer, CUSTOMERS)),
            "load": load,
            "propensity": propensity,
            **outcomes,
        }
    ).with_columns(pl.col(pl.Float32).fill_nan(None))


def _texts(column: Categories) -> pl.Series:
    return pl.Series(np.array(column.values)[column.codes])


def _table(table: Entities) -> pl.DataFrame:
    columns = {n: _texts(c) if isinstance(c, Categories) else c for n, c in table.columns.items()}
    return pl.DataFrame({"id": table.ids, **columns})

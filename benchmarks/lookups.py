"""What it takes to look up a pair's mean in history and among means of training, in time and in memory.

    python -m benchmarks.lookups                    # 500 clients and 2,000 nodes: 1,000,000 pairs

Both tables hold every pair, as many as history has capacity for. A request has 200 candidates drawn at random, one
feature is computed for them by the kernel that serves, and repeats of the two take turns.
"""

from __future__ import annotations

import argparse
import time
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.arrays import ColumnArrays
from scheduler.features.arrays import FeatureProgram, PairWork
from scheduler.features.kernels.candidates import fill_pairs
from scheduler.features.kernels.history_keys import history_key
from scheduler.features.kernels.learn import learn
from scheduler.features.program import Features, compile_features
from scheduler.features.trained_means import MeansByKey
from scheduler.history.arrays import HistoryArrays
from scheduler.history.store import new_history
from scheduler.runtime.jit import kernel
from scheduler.spec import LEAST_CAPACITY, Spec, parse_spec

CANDIDATES, REQUESTS, REPEATS = 200, 400, 9

SPEC = """
name = "lookups"
[telemetry]
client = "client_id"
node = "node_id"
slice = { column = "slice", seconds = 900 }
arrival = ["rtt_ms"]
[outcomes]
rtt_ms = { unit = "ms", min = 0 }
[cost]
success = "rtt_ms"
failure = 10_000
[history]
values = ["log1p(rtt_ms)"]
half_lives = ["1h"]
keys = { pair = ["client", "node"] }
[features]
mean = FEATURE
[heads.latency]
target = "log1p(rtt_ms)"
link = "log"
[utility]
heads = { latency = -1.0 }
"""

FEATURES = {
    "history": '{ op = "history", key = "pair", stat = "mean", value = "log1p(rtt_ms)", half_life = "1h" }',
    "trained_mean": '{ op = "trained_mean", keys = ["pair"], value = "log1p(rtt_ms)" }',
}


class Sides(NamedTuple):
    """Clients and nodes: their ids' keys and nothing else."""

    clients: ColumnArrays
    nodes: ColumnArrays


class Filled(NamedTuple):
    """A feature and the table behind it."""

    features: Features
    history: HistoryArrays
    table_bytes: int


@kernel
def pair_keys(program: FeatureProgram, clients: ColumnArrays, nodes: ColumnArrays, out: np.ndarray) -> None:
    """Write the history key of every pair."""
    for i in range(clients.keys.shape[0]):
        for j in range(nodes.keys.shape[0]):
            out[i * nodes.keys.shape[0] + j] = history_key(program, 0, clients, i, nodes, j)


@kernel
def learn_pairs(
    program: FeatureProgram, clients: ColumnArrays, nodes: ColumnArrays, history: HistoryArrays, values: np.ndarray
) -> None:
    """Let history learn one outcome of every pair."""
    for i in range(clients.keys.shape[0]):
        for j in range(nodes.keys.shape[0]):
            values[0] = 1.0
            learn(program, clients, i, nodes, j, history, values, 0.0)


def sides(n_clients: int, n_nodes: int) -> Sides:
    rng = np.random.default_rng(0)
    keys = (rng.integers(1, 2**63, (n, 1)).astype(np.uint64) for n in (n_clients, n_nodes))
    return Sides(*(ColumnArrays(np.empty((len(one), 0)), one) for one in keys))


def filled(name: str, spec: Spec, known: Sides) -> Filled:
    """Return a feature whose table holds every pair."""
    features, n = compile_features(spec, {}), len(known.clients.keys) * len(known.nodes.keys)
    if name == "history":
        history = new_history(spec, n)
        learn_pairs(features.program, *known, history, np.empty(1))
        return Filled(features, history, history.keys.nbytes + history.rows.nbytes + history.row_reader.nbytes)
    keys = np.empty(n, np.uint64)
    pair_keys(features.program, *known, keys)
    features = compile_features(spec, {}, MeansByKey(np.unique(keys), np.ones((n, 2), np.float32)))
    table = features.program.trained
    return Filled(features, new_history(spec, LEAST_CAPACITY), table.keys.nbytes + table.rows.nbytes)


def nanoseconds(one: Filled, known: Sides, slots: NDArray[np.int32]) -> float:
    """Return what a candidate takes, over a request for each row of ``slots``."""
    n = slots.shape[1]
    found, sought = np.empty((2, n), np.int64), np.zeros(2, np.bool_)
    work, out = PairWork(np.empty(n, np.uint64), found, sought, np.empty(n), np.empty(n)), np.empty((n, 1), np.float32)
    start = time.perf_counter()
    for i, row in enumerate(slots):
        client = i % len(known.clients.keys)
        fill_pairs(one.features.program, known.clients, client, known.nodes, row, one.history, 1.0, work, out)
    return (time.perf_counter() - start) / slots.size * 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--nodes", type=int, default=2_000)
    options = parser.parse_args()
    known, rng = sides(options.clients, options.nodes), np.random.default_rng(1)
    tables = {name: filled(name, parse_spec(SPEC.replace("FEATURE", text)), known) for name, text in FEATURES.items()}
    took: dict[str, list[float]] = {name: [] for name in tables}
    for repeat in range(1 + REPEATS):
        slots = rng.integers(0, options.nodes, (REQUESTS, CANDIDATES)).astype(np.int32)
        for name, one in tables.items():
            each = nanoseconds(one, known, slots)
            if repeat:  # the first compiles
                took[name].append(each)
    print(f"{options.clients * options.nodes:,} pairs, {CANDIDATES} candidates\n")
    print("| feature | ns a candidate, least | median | greatest | MB |\n| --- | ---: | ---: | ---: | ---: |")
    for name, figures in took.items():
        least, median, greatest = np.quantile(figures, (0.0, 0.5, 1.0))
        print(f"| {name} | {least:.0f} | {median:.0f} | {greatest:.0f} | {tables[name].table_bytes / 1e6:.0f} |")


if __name__ == "__main__":
    main()

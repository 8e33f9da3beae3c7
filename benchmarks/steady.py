"""Is a model as good as the plain average where nothing but the average counts?

    python -m benchmarks.steady                         # history has room for all pairs
    python -m benchmarks.steady --room 0.5              # its capacity is half of the keys

Latencies of pairs of client and node that never change: each pair has a value of its own, drawn once, and each
measurement is that value times noise. Client and node tell nothing of it. The spec has means by client, node and pair,
of history and of training. Models are trained with all, without an offset, and without means of training; they decide
the same requests as the baselines.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl

from scheduler.spec import NO_OFFSET, Spec, TrainedMean, parse_spec
from training.evaluation.evaluate import run_evaluation
from training.evaluation.metrics import LEARNED, ORACLE
from training.pipeline.train import train_model
from training.policies import Learned
from training.telemetry import read_telemetry

SECONDS = 900
"""Of a slice; no figure depends on it, as half-lives are given in slices of it."""

SPEC = """
name = "steady"
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
half_lives = ["3h", "7d"]
capacity = CAPACITY
keys = { client = ["client"], node = ["node"], pair = ["client", "node"] }
[features]
client_mean = { op = "history", key = "client", stat = "mean", value = "log1p(rtt_ms)", half_life = "7d" }
node_mean = { op = "history", key = "node", stat = "mean", value = "log1p(rtt_ms)", half_life = "7d" }
pair_mean_3h = { op = "history", key = "pair", stat = "mean", value = "log1p(rtt_ms)", half_life = "3h" }
pair_mean_7d = { op = "history", key = "pair", stat = "mean", value = "log1p(rtt_ms)", half_life = "7d" }
pair_count = { op = "history", key = "pair", stat = "count", value = "log1p(rtt_ms)", half_life = "7d" }
trained = { op = "trained_mean", keys = ["pair", "node", "client"], value = "log1p(rtt_ms)", strength = 0.5 }
shrunk = { op = "shrunk", keys = ["pair", "node", "client"], value = "log1p(rtt_ms)", half_life = "7d" }
[heads.latency]
target = "log1p(rtt_ms)"
link = "log"
[utility]
heads = { latency = -1.0 }
[training]
reveal = 0.5
rehearse = 0.6
rounds = 200
lightgbm = { num_leaves = 31, learning_rate = 0.06, min_data_in_leaf = 100 }
"""


class World(NamedTuple):
    """Sizes of the matrix, slices, the share of pairs measured in a slice, and the noise's deviation in the log."""

    clients: int
    nodes: int
    slices: int
    share: float
    noise: float


def write_world(world: World, folder: Path, seed: int) -> Path:
    """Write a telemetry directory."""
    rng = np.random.default_rng(seed)
    value = np.exp(rng.normal(4.0, 1.0, (world.clients, world.nodes)))
    measured = rng.random((world.slices, *value.shape)) < world.share
    number, client, node = np.nonzero(measured)
    rtt = value[client, node] * np.exp(world.noise * rng.normal(size=number.size))
    rows = {"slice": number, "client_id": client, "node_id": node, "rtt_ms": rtt.astype(np.float32)}
    pl.DataFrame(rows).write_parquet(folder / "telemetry.parquet")
    for name, n in (("clients", world.clients), ("nodes", world.nodes)):
        pl.DataFrame({"id": np.arange(n)}).write_parquet(folder / f"{name}.parquet")
    return folder


def variants(spec: Spec) -> dict[str, Spec]:
    """Return by name the spec, one whose head starts from nothing, and one that has means of history alone."""
    heads = {name: msgspec.structs.replace(head, offset=NO_OFFSET) for name, head in spec.heads.items()}
    features = {name: one for name, one in spec.features.items() if not isinstance(one, TrainedMean)}
    return {
        LEARNED: spec,
        "without offset": msgspec.structs.replace(spec, heads=heads),
        "history alone": msgspec.structs.replace(spec, features=features),
    }


def compare(world: World, capacity: int, seed: int) -> list[str]:
    """Train the models, let all decide, and return the lines of a table."""
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data, spec = write_world(world, folder, seed), parse_spec(SPEC.replace("CAPACITY", str(capacity)))
        start = world.slices * 4 // 5
        past = read_telemetry(data, spec, until=start)
        trained = {
            name: train_model(past, one, folder / name, seed=seed, threads=1) for name, one in variants(spec).items()
        }
        others = [name for name in trained if name != LEARNED]
        found = run_evaluation(
            data,
            spec,
            trained[LEARNED].folder,
            start=start,
            seed=seed,
            policies=lambda setting: {
                name: Learned(setting._replace(spec=trained[name].model.spec), trained[name].model) for name in others
            },
            without=("vowpal_wabbit", "greedy_lightgbm", "linucb", "low_rank"),
        )
        use = found.tables["evaluation"]["history"]
        head = trained[LEARNED].heads["latency"]
        scores = found.policies
        mean = scores["pair_average"].mean
        title = (
            f"{found.n:,} decisions; {use.keys:,} keys, capacity {use.capacity:,}, no room for {100 * use.share:.1f} %"
        )
        lines = [f"\n{title}; noise {world.noise}; {head.choice() or head.start}\n"]
        lines += ["| policy | mean cost | against pair_average | mean log |", "| --- | ---: | ---: | ---: |"]
        for name in (ORACLE, LEARNED, *others, "pair_average", "key_average", "pair_last", "thompson_pair"):
            one = scores[name]
            more = f"{100.0 * (one.mean / mean - 1.0):+.2f} %"
            lines.append(f"| {name} | {one.mean:.2f} | {more} | {one.mean_log:.4f} |")
        return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=60)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--slices", type=int, default=60)
    parser.add_argument("--share", type=float, default=0.4, help="of pairs measured in a slice")
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 0.3])
    parser.add_argument("--room", type=float, default=2.0, help="capacity as a share of the keys")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    keys = options.clients * options.nodes + options.clients + options.nodes
    for noise in options.noise:
        world = World(options.clients, options.nodes, options.slices, options.share, noise)
        print("\n".join(compare(world, int(options.room * keys), options.seed)), flush=True)


if __name__ == "__main__":
    main()

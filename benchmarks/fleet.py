"""The set-up that the scheduler's benchmarks share: a fleet, a model of two heads, and warm history."""

from __future__ import annotations

import tempfile
from pathlib import Path

import lightgbm as lgb
import numpy as np

from scheduler import Model, Scheduler
from scheduler.features.program import compile_features
from scheduler.model.manifest import Calibration
from scheduler.spec import parse_spec
from training.artifacts.write import write_artifact

SPEC = """
name = "bench"
[telemetry]
client = "client_id"
node = "node_id"
slice = { column = "slice", seconds = 900 }
[outcomes]
latency_ms = { unit = "ms", min = 0, max = 120_000 }
[cost]
success = "latency_ms"
failure = 4_000
[request]
isp = { type = "category", source = "clients" }
region = { type = "category", source = "clients" }
lat = { source = "clients" }
lon = { source = "clients" }
bitrate_kbps = {}
[node]
isp = { type = "category", source = "nodes" }
region = { type = "category", source = "nodes" }
lat = { source = "nodes" }
lon = { source = "nodes" }
uplink_kbps = { source = "nodes" }
load = {}
[history]
values = ["failed", "log1p(latency_ms)"]
half_lives = ["20m", "6h"]
capacity = 4_000_000
[history.keys]
node = ["node"]
region_node = ["request.region", "node"]
[features]
bitrate = { op = "request", column = "bitrate_kbps" }
client_isp = { op = "request", column = "isp" }
hour = { op = "clock", period = "24h" }
node_isp = { op = "node", column = "isp" }
uplink = { op = "node", column = "uplink_kbps" }
load = { op = "node", column = "load" }
node_failed = { op = "history", key = "node", stat = "mean", value = "failed", half_life = "20m" }
node_latency = { op = "history", key = "node", stat = "mean", value = "log1p(latency_ms)", half_life = "20m" }
node_latency_6h = { op = "history", key = "node", stat = "mean", value = "log1p(latency_ms)", half_life = "6h" }
node_spread = { op = "history", key = "node", stat = "variance", value = "log1p(latency_ms)", half_life = "6h" }
same_isp = { op = "equal", request = "isp", node = "isp" }
distance = { op = "distance", request = ["lat", "lon"], node = ["lat", "lon"] }
region_latency = { op = "history", key = "region_node", stat = "mean", value = "log1p(latency_ms)", half_life = "6h" }
[heads.failure]
target = "failed"
link = "logistic"
[heads.latency]
target = "log1p(latency_ms)"
link = "log"
given_ok = true
[utility]
heads = { failure = -4_000.0, latency = -1.0 }
load = -20.0
[candidates]
limit = 256
[[candidates.tiers]]
name = "same carrier and region"
match = { isp = "isp", region = "region" }
limit = 128
[[candidates.tiers]]
name = "same region"
match = { region = "region" }
limit = 64
[[candidates.tiers]]
name = "any"
limit = 256
[ledger]
capacity = "uplink_kbps"
demand = "bitrate_kbps"
hold = "60s"
[policy]
explore = "epsilon"
epsilon = 0.01
"""

ISPS, REGIONS = 4, 32
N_CLIENTS = 1_000
N_TREES, N_LEAVES = 100, 31


def make_model(seed: int = 0, text: str = SPEC) -> Model:
    """Fit two heads on made-up rows and return the verified model."""
    spec = parse_spec(text)
    vocabulary = {
        "request.isp": tuple(range(ISPS)),
        "node.isp": tuple(range(ISPS)),
        "request.region": tuple(range(REGIONS)),
        "node.region": tuple(range(REGIONS)),
    }
    features = compile_features(spec, vocabulary)
    rng = np.random.default_rng(seed)
    n = 60_000
    x = rng.random((n, len(features.names))).astype(np.float32)
    scale = [20_000, ISPS, 1, ISPS, 40_000, 1, 0.3, 6, 6, 1, 2, 3_000, 6]
    x = (x * scale).astype(np.float32)
    for column in (1, 3, 10):
        x[:, column] = np.floor(x[:, column])
    risk = 0.1 * np.sin(x[:, 6] * 9) + 0.02 * x[:, 5] * x[:, 7] + 0.05 * (x[:, 10] > 0) + x[:, 11] / 30_000
    failed = rng.random(n) < np.clip(risk, 0.01, 0.9)
    latency = np.log1p(20 + x[:, 11] / 20 + 8 * x[:, 7] * x[:, 8] + 9 * x[:, 12] + 30 * x[:, 5] + rng.gamma(2, 9, n))
    params = {"num_leaves": N_LEAVES, "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 20, "seed": seed}
    objectives = {"failure": ("binary", failed), "latency": ("l2", latency)}
    boosters = {
        head: lgb.train(params | {"objective": objective}, lgb.Dataset(x, y, categorical_feature=[1, 3]), N_TREES)
        for head, (objective, y) in objectives.items()
    }
    calibration = {"failure": Calibration(link="logistic"), "latency": Calibration(link="log")}
    with tempfile.TemporaryDirectory() as folder:
        artifact = write_artifact(
            Path(folder) / "bench-0",
            spec=spec,
            boosters=boosters,
            calibration=calibration,
            vocabulary=vocabulary,
            metrics={},
            window={},
            golden_rows=x[:32],
        )
        return Model.load(artifact)


def make_scheduler(model: Model, n_nodes: int, seed: int = 0) -> Scheduler:
    """Return a scheduler over a fleet of random nodes and clients."""
    rng = np.random.default_rng([seed, n_nodes])
    scheduler = Scheduler(model, seed=seed, first_id=0)
    uplink = rng.integers(8_000, 40_000, n_nodes)
    scheduler.fleet.upsert(np.arange(n_nodes), {**_places(rng, n_nodes), "uplink_kbps": uplink})
    scheduler.clients.upsert(np.arange(N_CLIENTS), _places(rng, N_CLIENTS))
    return scheduler


def _places(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    return {
        "isp": rng.integers(ISPS, size=n),
        "region": rng.integers(REGIONS, size=n),
        "lat": rng.uniform(20, 50, n),
        "lon": rng.uniform(75, 125, n),
    }

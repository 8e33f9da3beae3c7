"""A tiny world for evaluations: a spec, telemetry, batches drawn from it, and a model, all in memory."""

from functools import cache
from pathlib import Path

import lightgbm as lgb
import numpy as np

from scheduler.model.manifest import Calibration
from scheduler.spec import parse_spec
from training.artifacts.write import write_artifact
from training.evaluation.measured_requests import RequestBatch
from training.policies import Setting
from training.telemetry import Categories, Entities, Telemetry

SPEC = parse_spec("""
name = "tiny"
[telemetry]
client = "client_id"
node = "node_id"
slice = { column = "slice", seconds = 60 }
ok = "ok"
arrival = ["rtt_ms"]
[outcomes]
rtt_ms = { unit = "ms", min = 0 }
[cost]
success = "rtt_ms"
failure = 1_000
[request]
lat = { source = "clients" }
lon = { source = "clients" }
isp = { type = "category", source = "clients" }
kind = { type = "category" }
[node]
lat = { source = "nodes" }
lon = { source = "nodes" }
isp = { type = "category", source = "nodes" }
load = {}
[history]
values = ["log1p(rtt_ms)", "failed"]
half_lives = ["10m"]
keys = { node = ["node"], pair = ["client", "node"] }
[features]
same_isp = { op = "equal", request = "isp", node = "isp" }
load = { op = "node", column = "load" }
node_mean = { op = "history", key = "node", stat = "mean", value = "log1p(rtt_ms)", half_life = "10m" }
pair_mean = { op = "history", key = "pair", stat = "mean", value = "log1p(rtt_ms)", half_life = "10m" }
pair_failed = { op = "history", key = "pair", stat = "mean", value = "failed", half_life = "10m" }
[heads.failure]
target = "failed"
link = "logistic"
[heads.latency]
target = "log1p(rtt_ms)"
link = "log"
given_ok = true
unit = "ms"
[utility]
heads = { latency = -1.0, failure = -1_000.0 }
[evaluation]
place = ["lat", "lon"]
carrier = "isp"
""")

N_CLIENTS, N_NODES = 4, 6
CLIENTS = Entities(
    ids=np.array([10, 11, 12, 13]),
    columns={
        "lat": np.array([0.0, 10.0, 20.0, np.nan]),
        "lon": np.array([0.0, 10.0, -20.0, 0.0]),
        "isp": Categories(np.array([0, 1, -1, 2], np.int32), ("blue", "red", "white")),
    },
)
NODES = Entities(
    ids=np.array([f"n{i}" for i in range(N_NODES)], dtype=object),
    columns={
        "lat": np.array([0.0, 1.0, 10.0, 11.0, 50.0, np.nan]),
        "lon": np.array([1.0, 0.0, 10.0, 10.0, -60.0, 0.0]),
        "isp": Categories(np.array([1, 0, 1, 0, -1, 2], np.int32), ("green", "red", "yellow")),
    },
)


def setting(seed: int = 0) -> Setting:
    return Setting(SPEC, CLIENTS, NODES, seed)


def telemetry(n: int = 300, *, seed: int = 1, nodes: int = N_NODES, clients: int = N_CLIENTS) -> Telemetry:
    """Rows of the first hour among the first clients and nodes; node i answers in about 10 (i + 1) ms."""
    rng = np.random.default_rng(seed)
    time = np.sort(rng.uniform(0.0, 3600.0, n))
    client = rng.integers(0, clients, n).astype(np.int32)
    node = rng.integers(0, nodes, n).astype(np.int32)
    ok = rng.random(n) > 0.1
    rtt = np.where(ok, 10.0 * (node + 1) * rng.uniform(0.5, 1.5, n), np.nan).astype(np.float32)
    cost = np.where(ok, rtt, 1000.0).astype(np.float32)
    return Telemetry(
        time=time,
        arrival=time + cost / 1000.0,
        slice=(time // 60).astype(np.int32),
        client=client,
        node=node,
        ok=ok,
        outcomes={"rtt_ms": rtt, "failed": (~ok).astype(np.float32), "cost": cost},
        request={"kind": Categories(rng.integers(-1, 2, n).astype(np.int32), ("live", "vod"))},
        node_state={"load": rng.random(n)},
        clients=CLIENTS,
        nodes=NODES,
        rejected={},
        n_read=n,
    )


def batches(
    n: int = 6, *, seed: int = 2, k: int = 4, fail: float = 0.1, seconds: float = 60.0, start: float = 3600.0
) -> list[RequestBatch]:
    """Batches in which every client asks once, with one to k candidates each."""
    rng = np.random.default_rng(seed)
    return [_batch(rng, start + r * seconds, k, fail) for r in range(n)]


def _batch(rng: np.random.Generator, time: float, k: int, fail: float) -> RequestBatch:
    candidates = np.array([rng.permutation(N_NODES)[:k] for _ in range(N_CLIENTS)], np.int32)
    candidates[np.arange(k) >= rng.integers(1, k + 1, N_CLIENTS)[:, None]] = -1
    real = candidates >= 0
    ok = (rng.random(candidates.shape) >= fail) & real
    rtt = np.where(ok, 10.0 * (candidates + 1) * rng.uniform(0.5, 1.5, candidates.shape), np.nan)
    cost = np.where(real, np.where(ok, rtt, 1000.0), np.nan)
    return RequestBatch(
        time=time,
        slice=int(time // 60),
        client=np.arange(N_CLIENTS, dtype=np.int32),
        request={"kind": Categories(rng.integers(-1, 2, N_CLIENTS).astype(np.int32), ("live", "vod"))},
        candidates=candidates,
        node_state={"load": rng.random(N_NODES)},
        ok=ok,
        outcomes={"rtt_ms": rtt.astype(np.float32)},
        cost=cost.astype(np.float32),
        arrival=time + cost / 1000.0,
    )


@cache
def boosters() -> dict[str, lgb.Booster]:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(1_000, len(SPEC.features)))
    options = {"verbose": -1, "num_threads": 1, "num_leaves": 7}
    targets = {"failure": (x[:, 4] > 0).astype(float), "latency": x[:, 2] + x[:, 3]}
    objectives = {"failure": "binary", "latency": "regression"}
    return {
        head: lgb.train({**options, "objective": objectives[head]}, lgb.Dataset(x, y), num_boost_round=5)
        for head, y in targets.items()
    }


def write_model(folder: Path) -> Path:
    """Write an artifact whose window ends with slice 59."""
    return write_artifact(
        folder,
        spec=SPEC,
        boosters=boosters(),
        calibration={
            "failure": Calibration(link="logistic", intercept=0.0, slope=1.0),
            "latency": Calibration(link="log", intercept=0.0, slope=1.0),
        },
        vocabulary={"request.isp": ["red"], "node.isp": ["red"], "request.kind": ["live", "vod"]},
        metrics={},
        window={"rows": 1_000, "first_slice": 0, "last_slice": 59},
        golden_rows=np.random.default_rng(4).normal(size=(8, len(SPEC.features))).astype(np.float32),
    )

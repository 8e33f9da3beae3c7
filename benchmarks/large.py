"""How much time and memory a large fleet takes offline: ``python -m benchmarks.large [--rows N] [--json FILE]``.

Makes telemetry, trains a small model on the first four fifths of its slices and evaluates it on the rest. Every command
is a process by itself: its seconds, and its peak memory as the operating system tells it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.report import show
from benchmarks.scheduler import machine

SPEC = """
name = "large"
[telemetry]
client = "client_id"
node = "node_id"
time = "ts"
slice = { column = "slice", seconds = 900 }
ok = "ok"
arrival = ["latency_ms", "fail_ms"]
[outcomes]
latency_ms = { min = 0, max = 120_000 }
fail_ms = { min = 0 }
[cost]
success = "latency_ms"
failure = 4_000
[request]
workload = { type = "category" }
isp = { type = "category", source = "clients" }
lat = { source = "clients" }
lon = { source = "clients" }
[node]
isp = { type = "category", source = "nodes" }
lat = { source = "nodes" }
lon = { source = "nodes" }
load = {}
[history]
values = ["failed", "log1p(latency_ms)"]
half_lives = ["20m", "6h"]
[history.keys]
node = ["node"]
client = ["client"]
pair = ["client", "node"]
[features]
workload = { op = "request", column = "workload" }
load = { op = "node", column = "load" }
same_isp = { op = "equal", request = "isp", node = "isp" }
distance = { op = "distance", request = ["lat", "lon"], node = ["lat", "lon"] }
node_failed = { op = "history", key = "node", stat = "mean", value = "failed", half_life = "20m" }
node_latency = { op = "history", key = "node", stat = "mean", value = "log1p(latency_ms)", half_life = "6h" }
client_latency = { op = "history", key = "client", stat = "mean", value = "log1p(latency_ms)", half_life = "6h" }
pair_latency = { op = "history", key = "pair", stat = "mean", value = "log1p(latency_ms)", half_life = "6h" }
[heads.failure]
target = "failed"
link = "logistic"
[heads.latency]
target = "log1p(latency_ms)"
link = "log"
given_ok = true
[utility]
heads = { failure = -4_000.0, latency = -1.0 }
[training]
rows = 500_000
rounds = 20
lightgbm = { num_leaves = 15 }
[evaluation]
carrier = "isp"
place = ["lat", "lon"]
requests = 1
"""

FIRST = 2024010100
"""Number of the first slice: slices are numbered by the hour they are of, so numbers are far larger than counts."""

BEGIN = 1_704_067_200.0
"""Time of the first slice, 2024-01-01 UTC."""


def write_data(folder: Path, sizes: argparse.Namespace, seed: int = 0) -> None:
    """Write telemetry of random clients, each of which measures a few random nodes in a slice, and the two tables."""
    rng = np.random.default_rng(seed)
    side = {"clients": sizes.clients, "nodes": sizes.nodes}
    isp = {name: rng.integers(0, 20, n) for name, n in side.items()}
    for name, n in side.items():
        place = {"lat": rng.uniform(20, 50, n), "lon": rng.uniform(75, 125, n)}
        table = pl.DataFrame({"id": np.arange(n) + 10**12, "isp": isp[name], **place})
        table.write_parquet(folder / f"{name}.parquet")
    speed = rng.normal(3.5, 0.5, sizes.nodes)
    (folder / "telemetry").mkdir()
    for number in range(sizes.slices):
        rows = _slice(rng, sizes, number, speed, isp)
        rows.write_parquet(folder / "telemetry" / f"{number:04d}.parquet")


def _slice(
    rng: np.random.Generator, sizes: argparse.Namespace, number: int, speed: np.ndarray, isp: dict[str, np.ndarray]
) -> pl.DataFrame:
    n = sizes.rows // sizes.slices
    active = rng.choice(sizes.clients, min(sizes.clients, max(1, n // sizes.measured)), replace=False)
    client, node = active[np.arange(n) % active.size], rng.integers(0, sizes.nodes, n)
    ok = rng.random(n) > 0.05
    away = 0.5 * (isp["clients"][client] != isp["nodes"][node])
    latency = np.exp(speed[node] + away + rng.normal(0, 0.3, n))
    frame = pl.DataFrame(
        {
            "slice": np.full(n, FIRST + number, np.int32),
            "ts": BEGIN + 900.0 * number + np.sort(rng.uniform(0, 900, n)),
            "client_id": client + 10**12,
            "node_id": node + 10**12,
            "ok": ok,
            "latency_ms": np.where(ok, latency, np.nan),
            "fail_ms": np.where(ok, np.nan, 3_000.0),
            "workload": rng.choice(["live", "vod"], n),
            "load": rng.random(n),
        }
    )
    return frame.with_columns(pl.col("latency_ms", "fail_ms").fill_nan(None))


def timed(*words: object) -> dict[str, Any]:
    """Run a command of ``fogline`` and return what it printed, its seconds and its peak memory."""
    with tempfile.TemporaryFile() as out:
        begin = time.monotonic()
        process = subprocess.Popen([sys.executable, "-m", "training.cli", *map(str, words), "--json"], stdout=out)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begin
        out.seek(0)
        said = json.loads(out.read() or b"{}")
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{words[0]}: expected exit code 0, found {process.returncode}: {said}")
    return {"said": said, "seconds": round(seconds, 1), "peak_mb": used.ru_maxrss // 1024}


def run(sizes: argparse.Namespace) -> dict[str, Any]:
    """Make data, train, evaluate, and return the figures."""
    start = FIRST + max(4, sizes.slices * 4 // 5)
    with tempfile.TemporaryDirectory(dir=sizes.scratch) as name:
        folder = Path(name)
        data, spec = folder / "data", folder / "large.toml"
        data.mkdir()
        spec.write_text(SPEC, encoding="utf-8")
        write_data(data, sizes)
        registry = ("--registry", f"sqlite:///{folder}/mlflow.db")
        found = {"check": timed("check", data, "--spec", spec)}
        found["train"] = timed(
            *("train", data, "--spec", spec, "--until", start, *registry, "--out", folder / "out", "--threads", 2)
        )
        leave = [word for name in sizes.without for word in ("--without", name)]
        found["evaluate"] = timed(
            *("evaluate", data, "--spec", spec, "--from", start, *registry),
            *("--model", found["train"]["said"]["artifact"], "--requests", sizes.requests, *leave),
        )
    judged = found["evaluate"]["said"]
    return {
        "machine": machine(),
        "sizes": {name: value for name, value in vars(sizes).items() if isinstance(value, int)},
        "decisions": judged["n"],
        "policies": {name: round(figures["mean"], 2) for name, figures in judged["policies"].items()},
        "commands": {name: {key: one[key] for key in ("seconds", "peak_mb")} for name, one in found.items()},
        "load": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=100_000)
    parser.add_argument("--nodes", type=int, default=200_000)
    parser.add_argument("--slices", type=int, default=20)
    parser.add_argument("--measured", type=int, default=5, help="nodes that a client measures in a slice")
    parser.add_argument("--requests", type=int, default=1, help="requests of each client in a slice")
    parser.add_argument("--without", action="append", default=[], help="a baseline to leave out")
    parser.add_argument("--scratch", type=Path, help="where the data goes meanwhile")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    report = run(options)
    show(report, options.json)


if __name__ == "__main__":
    main()

"""How long a growing fleet makes its callers wait: ``python -m benchmarks.growth [--nodes N] [--json FILE]``.

Nodes join in small calls until the fleet is as large as asked for. Figures are thread time: what a call costs, whatever
else the machine does meanwhile.
"""

from __future__ import annotations

import argparse
import gc
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fleet import ISPS, REGIONS, make_model
from benchmarks.report import show
from benchmarks.scheduler import machine, resident
from scheduler import Scheduler

BATCH = 64
"""Nodes that join in a call."""

LONGEST = 5
"""So many of the longest calls are named."""


def run(n_nodes: int, seed: int = 0) -> dict[str, Any]:
    """Let nodes join a fresh scheduler and return what their calls took."""
    rng, scheduler = np.random.default_rng(seed), Scheduler(make_model(), seed=seed)
    scheduler.warm_up()
    before = resident()
    gc.collect()
    taken = np.empty(n_nodes // BATCH)
    for i in range(len(taken)):
        ids, columns = list(range(i * BATCH, (i + 1) * BATCH)), _columns(rng)
        start = time.thread_time_ns()
        scheduler.fleet.upsert(ids, columns)
        taken[i] = (time.thread_time_ns() - start) / 1e6
    worst = np.argsort(-taken)[:LONGEST]
    return {
        "machine": machine(),
        "nodes": len(scheduler.fleet),
        "nodes a call": BATCH,
        "ms a call": {
            name: round(float(np.percentile(taken, q)), 3) for name, q in (("p50", 50), ("p99", 99), ("p99.9", 99.9))
        },
        "longest ms": round(float(taken[worst[0]]), 3),
        "longest, at nodes": {int(i) * BATCH: round(float(taken[i]), 3) for i in worst},
        "bytes a node": round((resident() - before) / len(scheduler.fleet)),
        "load": os.getloadavg()[0],
    }


def _columns(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "isp": rng.integers(ISPS, size=BATCH),
        "region": rng.integers(REGIONS, size=BATCH),
        "lat": rng.uniform(20, 50, BATCH),
        "lon": rng.uniform(75, 125, BATCH),
        "uplink_kbps": rng.integers(8_000, 40_000, BATCH),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nodes", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    report = run(options.nodes)
    show(report, options.json)


if __name__ == "__main__":
    main()

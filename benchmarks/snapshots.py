"""What saving and restoring cost: ``python -m benchmarks.snapshots [--nodes N] [--entries M] [--json FILE]``.

A scheduler of N nodes and about M history entries is saved while it decides, and restored. Beside it stand the same
bytes written with numpy, and how long decisions take without a save and during one.
"""

from __future__ import annotations

import argparse
import gc
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fleet import N_CLIENTS, make_model, make_scheduler
from benchmarks.report import show
from benchmarks.scheduler import machine
from scheduler import Scheduler

ROWS = 200_000
"""Outcomes learned in one call while history fills."""


def fill(scheduler: Scheduler, entries: int) -> None:
    """Learn from made-up outcomes of random pairs until history holds so many entries."""
    rng, now, n_nodes = np.random.default_rng(5), 0.0, len(scheduler.fleet)
    while scheduler.counters()["history_entries"] < entries:
        clients, nodes = rng.integers(N_CLIENTS * 50, size=ROWS), rng.integers(n_nodes, size=ROWS)
        outcomes = {"ok": rng.random(ROWS) > 0.05, "latency_ms": rng.uniform(5, 200, ROWS)}
        scheduler.learn_batch({"client_id": clients}, nodes, outcomes, now=now)
        now += 1.0


def decide_for(scheduler: Scheduler, stop: threading.Event | None, seconds: float, now: float) -> np.ndarray:
    """Decide until told to stop or for some seconds; return the microseconds of each decision."""
    taken, i, until = [], 0, time.perf_counter() + seconds
    while not stop.is_set() if stop else time.perf_counter() < until:
        start = time.perf_counter_ns()
        scheduler.decide({"client_id": i % N_CLIENTS, "bitrate_kbps": 1.0}, now=now)
        taken.append(time.perf_counter_ns() - start)
        i += 1
    return np.array(taken) / 1e3


def percentiles(taken: np.ndarray) -> dict[str, float]:
    """Return what half, 99 of 100 and all decisions took at most."""
    named = {"p50": 50, "p99": 99, "p99.9": 99.9, "max": 100}
    return {name: round(float(np.percentile(taken, q)), 1) for name, q in named.items()}


def write_with_numpy(snapshot: Path, folder: Path) -> float:
    """Write the bytes of a snapshot as numpy does, durably, and return the seconds."""
    arrays = [np.fromfile(path, np.uint8) for path in sorted(snapshot.glob("*.bin"))]
    start = time.perf_counter()
    for i, array in enumerate(arrays):
        with (folder / f"{i}.npy").open("wb") as file:
            np.save(file, array)
            file.flush()
            os.fsync(file.fileno())
    return time.perf_counter() - start


def run(n_nodes: int, entries: int) -> dict[str, Any]:
    """Save and restore, and return the figures."""
    model = make_model()
    made = make_scheduler(model, n_nodes)
    scheduler = made.adapt(model, history_capacity=max(entries, 16))
    fill(scheduler, entries)
    scheduler.warm_up()
    gc.collect()
    gc.freeze()
    now = 1e6
    steady = decide_for(scheduler, None, 5.0, now)
    folder = Path(tempfile.mkdtemp(prefix="snapshots-"))
    try:
        stop, during = threading.Event(), []
        thread = threading.Thread(target=lambda: during.append(decide_for(scheduler, stop, 0.0, now)))
        thread.start()
        start = time.perf_counter()
        path = scheduler.save(folder)
        beside = time.perf_counter() - start
        stop.set()
        thread.join()
        start = time.perf_counter()
        path = scheduler.save(folder)
        alone = time.perf_counter() - start
        size = sum(file.stat().st_size for file in path.iterdir())
        numpy_seconds = write_with_numpy(path, folder)
        start = time.perf_counter()
        restored = Scheduler.restore(folder, model)
        restore_seconds = time.perf_counter() - start
        held = restored.counters()
    finally:
        shutil.rmtree(folder)
    return {
        "machine": machine(),
        "nodes": held["nodes"],
        "entries": held["history_entries"],
        "megabytes": round(size / 1e6, 1),
        "save seconds beside decisions": round(beside, 2),
        "save seconds": round(alone, 2),
        "numpy seconds": round(numpy_seconds, 2),
        "restore seconds": round(restore_seconds, 2),
        "decision us steady": percentiles(steady),
        "decision us during a save": percentiles(during[0]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.snapshots", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nodes", type=int, default=1_000_000)
    parser.add_argument("--entries", type=int, default=5_000_000)
    parser.add_argument("--json", type=Path, help="write the report to a file")
    options = parser.parse_args()
    report = run(options.nodes, options.entries)
    show(report, options.json)


if __name__ == "__main__":
    main()

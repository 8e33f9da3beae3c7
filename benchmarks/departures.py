"""What an outcome costs whose node has left: ``python -m benchmarks.departures [--nodes N] [--json FILE]``.

Each node leaves between its decision and its outcome; half of them come back in another place. Figures are thread time.
"""

from __future__ import annotations

import argparse
import gc
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fleet import N_CLIENTS, make_model, make_scheduler
from benchmarks.report import show
from benchmarks.scheduler import machine
from benchmarks.snapshots import percentiles

N = 20_000
"""Decisions whose node leaves."""


def run(n_nodes: int) -> dict[str, Any]:
    """Decide, let the node leave, report its outcome, and return the microseconds of the reports."""
    scheduler = make_scheduler(make_model(), n_nodes)
    scheduler.warm_up()
    gc.collect()
    gc.freeze()
    outcome, taken = {"ok": True, "latency_ms": 20.0}, []
    for i in range(N):
        decision = scheduler.decide({"client_id": i % N_CLIENTS, "bitrate_kbps": 10.0}, now=0.001 * i)
        node = decision.nodes[0]
        columns = {name: [value] for name, value in scheduler.fleet.get(node).columns.items()}
        scheduler.fleet.remove([node])
        if i % 2:
            scheduler.fleet.upsert([f"other {i}"], columns)  # takes the place
            scheduler.fleet.upsert([node], columns)
        start = time.thread_time_ns()
        scheduler.observe(decision.id, outcome, now=0.001 * i, node=node)
        taken.append(time.thread_time_ns() - start)
    return {"machine": machine(), "nodes": n_nodes, "us an outcome": percentiles(np.array(taken) / 1e3)}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.departures", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--nodes", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path, help="write the report to a file")
    options = parser.parse_args()
    report = run(options.nodes)
    show(report, options.json)


if __name__ == "__main__":
    main()

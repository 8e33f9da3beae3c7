"""What recording costs: ``python -m benchmarks.records [--nodes N] [--decisions M] [--json FILE]``.

Bytes of a decision on disk, thin and in full at 256 candidates, as written and compressed; the share of a decision that
thin recording takes, measured in turn with decisions that are not recorded, and with such ones again as control; and
how long decisions take beside no recorder, one with a quick disk, and one whose every write takes seconds.
"""

from __future__ import annotations

import argparse
import gc
import gzip
import io
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import polars as pl

from benchmarks.fleet import N_CLIENTS, make_model, make_scheduler
from benchmarks.report import show
from benchmarks.scheduler import machine
from benchmarks.snapshots import percentiles
from scheduler import Model, Scheduler
from scheduler.decisions.record import segment as segment_module
from scheduler.decisions.record.arrays import NOT_RECORDED
from scheduler.decisions.record.read import read_segments
from scheduler.engine import engine
from scheduler.retrieval.arrays import NO_BLOCKLIST
from scheduler.runtime.packed_arrays import PackedArrays

BLOCK = 200
"""Decisions measured at once: some 10 ms, short against what a busy machine does to figures."""

NOW = 1e6


def decide(scheduler: Scheduler, first: int, n: int) -> None:
    """Decide for clients in turn and report every other outcome."""
    for i in range(first, first + n):
        made = scheduler.decide({"client_id": i % N_CLIENTS, "bitrate_kbps": 1.0}, now=NOW)
        if i % 2 and made.nodes:
            scheduler.observe(made.id, {"ok": True, "latency_ms": 20.0 + i % 100}, now=NOW)


def sizes(model: Model, n_nodes: int, n: int) -> dict[str, Any]:
    """Return bytes of a row by table: of the stream, of it compressed, and as Polars writes it with zstd."""
    found: dict[str, Any] = {}
    for table, full in (("decisions", 0.0), ("full", 1.0)):
        count = n if table == "decisions" else max(n // 50, 20)
        folder = Path(tempfile.mkdtemp(prefix="records-"))
        try:
            scheduler = make_scheduler(model, n_nodes)
            decide(scheduler, 0, n)
            scheduler.record(folder, full=full)
            step = 2_000 if table == "decisions" else 50  # what a second brings
            for first in range(0, count, step):
                decide(scheduler, first, step)
                scheduler.recorder.flush()
            scheduler.recorder.stop()
            (segment,) = read_segments(folder)
            data = (segment.path / f"{table}.arrows").read_bytes()
            rows = sum(len(batch["id"]) for batch in segment.batches(table))
            frame, packed = pl.read_ipc_stream(io.BytesIO(data)), io.BytesIO()
            frame.write_ipc(packed, compression="zstd")
            found[table] = {
                "rows": rows,
                "bytes a row": round(len(data) / rows, 1),
                "gzip": round(len(gzip.compress(data, 6)) / rows, 1),
                "zstd": round(len(packed.getvalue()) / rows, 1),
            }
            if table == "full":
                lists = frame["utility"].list.len()
                found[table]["candidates"] = float(lists.mean())  # type: ignore[arg-type]
        finally:
            shutil.rmtree(folder)
    return found


def share(model: Model, n_nodes: int, blocks: int) -> dict[str, Any]:
    """Return what thin recording adds to a decision, in microseconds of thread time and as a share.

    One scheduler decides in turn with its rings and as if nothing were recorded, so that memory and state are the same.
    """
    folder, scheduler = Path(tempfile.mkdtemp(prefix="records-")), make_scheduler(model, n_nodes)
    try:
        scheduler.record(folder, full=0.0)
        decide(scheduler, 0, 2_000)
        state, arm = scheduler.state, scheduler.state.arms[0]
        without = PackedArrays(state.arrays.content._replace(full_rate=NOT_RECORDED))
        ways = {"plain": without, "control": without, "recording": state.arrays}
        taken: dict[str, list[float]] = {name: [] for name in ways}
        names = [*ways]
        for block in range(blocks):
            for name in names[block % 3 :] + names[: block % 3]:
                begin, arrays = time.thread_time_ns(), ways[name]
                for i in range(block * BLOCK, (block + 1) * BLOCK):
                    request = {"client_id": i % N_CLIENTS, "bitrate_kbps": 1.0}
                    state.lock.read(
                        engine.decide_over, state, arm, arrays, arm.arrays, request, None, NO_BLOCKLIST, NOW
                    )
                taken[name].append((time.thread_time_ns() - begin) / 1e3 / BLOCK)
        status = scheduler.recorder.stop()
    finally:
        shutil.rmtree(folder)
    plain = np.array(taken["plain"])
    return {
        "decision us": round(float(np.median(plain)), 2),
        "thin recording adds us": round(float(np.median(np.array(taken["recording"]) - plain)), 2),
        "thin recording, share": round(float(np.median(np.array(taken["recording"]) / plain)) - 1, 4),
        "control, share": round(float(np.median(np.array(taken["control"]) / plain)) - 1, 4),
        "dropped": status.dropped,
    }


def beside_disks(model: Model, n_nodes: int, seconds: float, slow: float, pace: float) -> dict[str, Any]:
    """Return how long decisions take beside no recorder, a quick disk, and one whose every write takes ``slow`` s."""
    write, found = segment_module.write_all, {}

    def slow_write(handle: int, data: bytes) -> None:
        time.sleep(slow)
        write(handle, data)

    for name in ("no recorder", "quick disk", "slow disk", "no recorder again"):
        folder, scheduler = Path(tempfile.mkdtemp(prefix="records-")), make_scheduler(model, n_nodes)
        decide(scheduler, 0, 2_000)
        with mock.patch.object(segment_module, "write_all", slow_write if name == "slow disk" else write):
            if name.endswith("disk"):
                scheduler.record(folder, full=0.01)
            times = timed(scheduler, seconds, pace)
            found[name] = percentiles(times) | {"decisions": len(times)}
            if scheduler.recorder is not None:
                found[name]["dropped"] = scheduler.recorder.status.dropped
        if scheduler.recorder is not None:
            scheduler.recorder.stop()
        shutil.rmtree(folder)
    return found


def timed(scheduler: Scheduler, seconds: float, pace: float) -> np.ndarray:
    """Decide for some seconds with pauses between decisions; return the microseconds of each."""
    taken, until, i = [], time.perf_counter() + seconds, 0
    while time.perf_counter() < until:
        start = time.perf_counter_ns()
        scheduler.decide({"client_id": i % N_CLIENTS, "bitrate_kbps": 1.0}, now=NOW)
        taken.append(time.perf_counter_ns() - start)
        i += 1
        time.sleep(pace)
    return np.array(taken) / 1e3


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure, and return the figures."""
    model = make_model()
    make_scheduler(model, 100).warm_up()
    gc.collect()
    gc.freeze()
    return {
        "machine": machine(),
        "load": os.getloadavg()[0],
        "nodes": options.nodes,
        "bytes": sizes(model, options.nodes, options.decisions),
        "share of a decision": share(model, options.nodes, max(options.decisions // BLOCK, 10)),
        "decision us": beside_disks(model, options.nodes, options.seconds, options.slow, options.pace),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.records", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nodes", type=int, default=100_000)
    parser.add_argument("--decisions", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=20.0, help="of decisions beside each disk")
    parser.add_argument("--slow", type=float, default=5.0, help="seconds of a write to the slow disk")
    parser.add_argument("--pace", type=float, default=0.001, help="seconds between two decisions beside disks")
    parser.add_argument("--json", type=Path, help="write the report to a file")
    options = parser.parse_args()
    show(run(options), options.json)


if __name__ == "__main__":
    main()

"""Measure decisions, updates, outcomes, threads and memory: ``python -m benchmarks scheduler``.

Wall time is what a caller waits; thread time leaves out whatever else the machine did meanwhile. On a machine with
other work only the second tells what the code costs.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba import njit
from rich.console import Console
from rich.table import Table

from benchmarks import stages
from benchmarks.fleet import N_CLIENTS, make_model, make_scheduler
from scheduler import Model, Scheduler
from scheduler.columns.arrays import ColumnArrays
from scheduler.features.kernels.learn import learn

SIZES = (100_000, 1_000_000)
RATE = 20_000
"""Requests a second on the scheduler's own clock."""

CALLS = 20_000
BATCH = 2_048
OUTCOMES = 32_768
UPDATES = 65_536
THREAD_SECONDS = 3.0
PAUSE = 0.5
"""Seconds without a request, in which other work takes the caches: what a warm-up cannot help."""

GOALS = {
    "decide p50": "60 us",
    "decide p99": "120 us",
    "decide p50, 1,000,000 / 100,000": "1.5",
    "decide_batch": "40,000 /s",
    "updates": "1,000,000 /s",
    "outcomes": "1,000,000 /s",
    "threads": "1.7",
    "bytes a node": "1,536 without Python's own",
}

Figures = dict[str, list[float]]


@njit(nogil=True, error_model="numpy", _nrt=False)
def _learn_all(program, request, node, slots, history, values, now):  # noqa: PLR0913, PLR0917
    for i in range(slots.size):
        learn(program, request, i, node, slots[i], history, values[i], now)


def warm_history(scheduler: Scheduler, now: float = 0.0) -> None:
    """Give every node three outcomes, with a client of its own region."""
    rng, columns = np.random.default_rng(3), scheduler.fleet.arrays.columns
    n, schema = len(scheduler.fleet), scheduler.fleet.table.schema
    keys = np.ones((n, scheduler.clients.schema.n_keys), np.uint64)
    keys[:, scheduler.clients.schema.key_columns["region"]] = columns.keys[:n, schema.key_columns["region"]]
    request, slots = ColumnArrays(np.zeros((n, 1)), keys), np.arange(n, dtype=np.int32)
    for _ in range(3):
        values = np.column_stack([rng.random(n) < 0.05, rng.uniform(2, 6, n)]).astype(np.float64)
        _learn_all(scheduler.model.features.program, request, columns, slots, scheduler.history, values, now)
    scheduler.refresh()


class Load:
    """Requests in turn over all clients, on a clock that runs at `RATE`."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.count = 0
        clients, demand = self.rng.permutation(N_CLIENTS), self.rng.choice((800, 2_000, 4_000, 6_000), N_CLIENTS)
        self.singles = [
            {"client_id": c, "bitrate_kbps": d} for c, d in zip(clients.tolist(), demand.tolist(), strict=True)
        ]

    def now(self, n: int = 1) -> float:
        self.count += n
        return self.count / RATE

    def single(self) -> dict[str, Any]:
        return self.singles[self.count % N_CLIENTS]

    def batch(self, n: int) -> dict[str, Any]:
        return {"client_id": self.rng.integers(N_CLIENTS, size=n), "bitrate_kbps": self.rng.integers(800, 6_000, n)}


def singles(scheduler: Scheduler, load: Load, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Microseconds of wall time and of thread time of each of ``n`` decisions."""
    wall, thread = np.empty(n), np.empty(n)
    clock, cpu, decide = time.perf_counter_ns, time.thread_time_ns, scheduler.decide
    for i in range(n):
        request, now = load.single(), load.now()
        c, w = cpu(), clock()
        decide(request, now=now)
        wall[i], thread[i] = clock() - w, cpu() - c
    return wall / 1e3, thread / 1e3


def measure_decide(scheduler: Scheduler, load: Load, repeats: int) -> Figures:
    singles(scheduler, load, CALLS // 4)
    figures: Figures = {}
    for _ in range(repeats):
        for kind, times in zip(("wall", "thread"), singles(scheduler, load, CALLS), strict=True):
            for name, share in (("p50", 50), ("p99", 99), ("p99.9", 99.9)):
                figures.setdefault(f"{kind} {name} us", []).append(float(np.percentile(times, share)))
    return figures


def measure_ones(scheduler: Scheduler, load: Load, repeats: int) -> Figures:
    """Microseconds of thread time of calls that bring one outcome, one update, one heartbeat."""
    figures: Figures = {}
    for _ in range(repeats):
        ids = scheduler.decide_batch(load.batch(500), now=load.now(500)).id.tolist()
        now, outcome, column = load.now(), {"ok": True, "latency_ms": 30.0}, {"load": [0.5]}
        for name, one in (
            ("observe", lambda i, now=now, outcome=outcome: scheduler.observe(i, outcome, now=now)),
            ("fleet.upsert", lambda i, column=column: scheduler.fleet.upsert([i % 1_000], column)),
            ("fleet.heartbeat", lambda i: scheduler.fleet.heartbeat([i % 1_000], alive_until=np.inf)),
        ):
            seconds = stages.thread_seconds(lambda one=one, ids=ids: [one(i) for i in ids])
            figures.setdefault(f"{name} us", []).append(1e6 * seconds / len(ids))
    return figures


def rates(function: Callable[[], int], repeats: int) -> Figures:
    """Items a second of wall and thread time, one figure a repeat."""
    figures: Figures = {"wall /s": [], "thread /s": []}
    function()
    for _ in range(repeats):
        c, w = time.thread_time_ns(), time.perf_counter_ns()
        n = function()
        figures["wall /s"].append(n * 1e9 / (time.perf_counter_ns() - w))
        figures["thread /s"].append(n * 1e9 / (time.thread_time_ns() - c))
    return figures


def measure_batch(scheduler: Scheduler, load: Load, repeats: int) -> Figures:
    batch = load.batch(BATCH)

    def decide() -> int:
        scheduler.decide_batch(batch, now=load.now(BATCH))
        return BATCH

    return rates(decide, repeats)


def measure_updates(scheduler: Scheduler, load: Load, repeats: int) -> Figures:
    n = len(scheduler.fleet)
    ids, value = load.rng.choice(n, min(UPDATES, n), replace=False), load.rng.random(min(UPDATES, n))

    def update() -> int:
        scheduler.fleet.upsert(ids, {"load": value})
        return len(ids)

    return rates(update, repeats)


def measure_outcomes(scheduler: Scheduler, load: Load, repeats: int) -> Figures:
    ready: list[np.ndarray] = []
    for _ in range(repeats + 1):  # all decided first, so that the timed part is outcomes alone
        if len(ready) * OUTCOMES + OUTCOMES > 65_536:
            break
        ready.append(scheduler.decide_batch(load.batch(OUTCOMES), now=load.now(OUTCOMES)).id)
    figures: Figures = {"wall /s": [], "thread /s": []}
    for _ in range(repeats):
        if not ready:
            ready.append(scheduler.decide_batch(load.batch(OUTCOMES), now=load.now(OUTCOMES)).id)
        ids = ready.pop(0)
        outcome = {"ok": load.rng.random(len(ids)) < 0.95, "latency_ms": load.rng.uniform(10, 300, len(ids))}
        c, w = time.thread_time_ns(), time.perf_counter_ns()
        scheduler.observe_batch(ids, outcome, now=load.now(len(ids)))
        figures["wall /s"].append(len(ids) * 1e9 / (time.perf_counter_ns() - w))
        figures["thread /s"].append(len(ids) * 1e9 / (time.thread_time_ns() - c))
    return figures


def threads_together(scheduler: Scheduler, n_threads: int, batch: int) -> tuple[float, float]:
    """Decisions a second of threads that each decide, update and observe in turn, and how many cores they got."""
    stop, made = threading.Event(), [0] * n_threads
    clock = Load(9)

    def work(t: int) -> None:
        load = Load(100 + t)
        batches = [load.batch(batch) for _ in range(32)]
        nodes, value = load.rng.choice(len(scheduler.fleet), (32, 64), replace=False), {"load": load.rng.random(64)}
        outcome = {"ok": np.ones(batch, bool), "latency_ms": load.rng.uniform(10, 300, batch)}
        one = {"ok": True, "latency_ms": 30.0}
        while not stop.is_set():
            requests, now = batches[load.count % 32], scheduler_now + clock.now(batch)
            load.count += 1
            if batch == 1:
                scheduler.observe(scheduler.decide(load.single(), now=now).id, one, now=now)
            else:
                scheduler.observe_batch(scheduler.decide_batch(requests, now=now).id, outcome, now=now)
            if load.count % 8 == 0 or batch > 1:
                scheduler.fleet.upsert(nodes[load.count % 32], value)
            made[t] += batch

    scheduler_now = scheduler.state.clock.latest.item()
    workers = [threading.Thread(target=work, args=(t,)) for t in range(n_threads)]
    start, used = time.perf_counter(), time.process_time()
    for worker in workers:
        worker.start()
    time.sleep(THREAD_SECONDS)
    stop.set()
    for worker in workers:
        worker.join()
    wall = time.perf_counter() - start
    return sum(made) / wall, (time.process_time() - used) / wall


def measure_threads(scheduler: Scheduler, cores: set[int], repeats: int) -> Figures:
    figures: Figures = {}
    for batch in (1, 64):
        for _ in range(repeats):
            with Pinned({max(cores)}):
                one, core = threads_together(scheduler, 1, batch)
            with Pinned(set(sorted(cores)[-2:])):
                four, share = threads_together(scheduler, 4, batch)
            name = "decide" if batch == 1 else f"decide_batch of {batch}"
            # Other work on the machine takes from one thread and from four unequally: hence also a second of processor.
            for what, value in (
                ("1 thread /s", one),
                ("1 thread, cores got", core),
                ("4 threads /s", four),
                ("4 threads, cores got", share),
                ("ratio", four / one),
                ("ratio a processor second", four / share / (one / core)),
            ):
                figures.setdefault(f"{name}: {what}", []).append(value)
    return figures


def measure_bytes(scheduler: Scheduler, before: int, after: int) -> dict[str, float]:
    """Bytes a node by what holds them; history counts entries of the node's own key."""
    arrays, n = scheduler.fleet.arrays, len(scheduler.fleet)
    index, slots = scheduler.state.index.arrays, len(scheduler.fleet.arrays.alive_until)
    history, rows = scheduler.history, scheduler.state.arms[0].arrays.content.node_rows
    parts = {
        "forest row": rows.itemsize * rows.shape[1],
        "columns and keys": 8 * (arrays.columns.values.shape[1] + arrays.columns.keys.shape[1]),
        "heartbeat, quarantine, uplink, reserved, generation": 4 * 8 + 4,
        "index": index.held.nbytes / slots + index.arena.nbytes / n,
        "history, one entry": history.rows.itemsize * history.rows.shape[1] + 8,
    }
    return {
        **parts,
        "sum": sum(parts.values()),
        "slots a node": slots / n,
        "resident, Python's ids and dict included": (after - before) / n,
    }


def first_decision(repeats: int) -> dict[str, dict[str, float]]:
    """In processes of their own: what a warm-up takes, and the first and the thousandth decision after it."""
    command = [sys.executable, "-c", "from benchmarks import scheduler; scheduler.print_first()"]
    figures: Figures = {}
    for _ in range(repeats):
        done = subprocess.run(command, cwd=Path(__file__).parents[1], check=True, capture_output=True, text=True)
        for name, value in json.loads(done.stdout.splitlines()[-1]).items():
            figures.setdefault(name, []).append(value)
    return {name: spread(values) for name, values in figures.items()}


def print_first() -> None:
    model = make_model()
    scheduler, load = make_scheduler(model, 10_000), Load(0)
    singles(make_scheduler(model, 100), Load(1), 2)  # what measures is not to be new as well
    start = time.perf_counter()
    scheduler.warm_up()
    warm = time.perf_counter() - start
    wall, thread = singles(scheduler, load, 1_100)
    last = wall[900:]
    time.sleep(PAUSE)
    rested, _ = singles(scheduler, load, 1)
    print(json.dumps({
        "warm_up s": warm, "first us": wall[0], "first us, thread time": thread[0], "second us": wall[1],
        "thousandth us": float(np.median(last)), "thousandth us, p99": float(np.percentile(last, 99)),
        f"after a pause of {PAUSE} s, us": rested[0],
    }))  # fmt: skip


class Pinned:
    """Hold this process to some cores."""

    def __init__(self, cores: set[int]) -> None:
        self._cores = cores

    def __enter__(self) -> None:
        self._before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, self._cores)

    def __exit__(self, *_: object) -> None:
        os.sched_setaffinity(0, self._before)


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numba": numba.__version__,
        "numpy": np.__version__,
        "load": [round(x, 2) for x in os.getloadavg()],
    }


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def run(sizes: tuple[int, ...] = SIZES, repeats: int = 5) -> dict[str, Any]:
    """Measure everything and return it."""
    cores = os.sched_getaffinity(0)
    report: dict[str, Any] = {"machine": machine(), "goals": GOALS, "fleets": {}}
    model = make_model()
    with Pinned({max(cores)}):
        for n in sizes:
            report["fleets"][n] = _one_fleet(model, n, cores, repeats)
        report["memory"] = {name: spread(v) for name, v in stages.memory_speed(repeats).items()}
    report["first decision"] = first_decision(repeats)
    report["load at the end"] = [round(x, 2) for x in os.getloadavg()]
    return report


def _one_fleet(model: Model, n: int, cores: set[int], repeats: int) -> dict[str, Any]:
    gc.collect()
    before = resident()
    scheduler = make_scheduler(model, n)
    after = resident()
    _say(f"{n:,} nodes")
    warm_history(scheduler)
    gc.collect()
    gc.freeze()
    load = Load(0)
    measured: dict[str, Figures] = {}
    for name, part in (
        ("decide", lambda: measure_decide(scheduler, load, repeats)),
        ("one at a time", lambda: measure_ones(scheduler, load, repeats)),
        ("decide_batch", lambda: measure_batch(scheduler, load, 2 * repeats)),
        ("updates", lambda: measure_updates(scheduler, load, repeats)),
        ("outcomes", lambda: measure_outcomes(scheduler, load, repeats)),
        ("stages", lambda: stages.kernel_stages(scheduler, load.batch(BATCH), repeats)),
        ("updates, outcomes", lambda: stages.state_stages(scheduler, repeats)),
        ("Python", lambda: stages.edge_stages(scheduler, load.single(), repeats)),
        ("threads", lambda: measure_threads(scheduler, cores, max(repeats // 2, 1))),
    ):
        _say(f"  {name}, load {os.getloadavg()[0]:.1f}")
        measured[name] = part()
    result: dict[str, Any] = {
        part: {name: spread(values) for name, values in figures.items()} for part, figures in measured.items()
    }
    counters = scheduler.counters()
    result["bytes a node"] = measure_bytes(scheduler, before, after)
    result["counters"] = counters
    return result


def spread(values: list[float]) -> dict[str, float]:
    low, middle, high = np.percentile(values, (0, 50, 100))
    return {"min": round(float(low), 3), "median": round(float(middle), 3), "max": round(float(high), 3)}


def show(report: dict[str, Any]) -> None:
    """Print the report as tables."""
    console = Console(width=140)
    console.print(" · ".join(f"{name} {value}" for name, value in report["machine"].items()))
    for n, parts in report["fleets"].items():
        table = Table("", "figure", "min", "median", "max", title=f"{n:,} nodes")
        for part, figures in parts.items():
            for name, value in figures.items():
                cells = value.values() if isinstance(value, dict) else ("", value, "")
                table.add_row(
                    part,
                    name,
                    *(x if isinstance(x, str) else f"{x:,.2f}" if abs(x) < 10 else f"{x:,.0f}" for x in cells),
                )
            table.add_section()
        console.print(table)
    for name, value in (("memory", report["memory"]), ("first decision", report["first decision"])):
        console.print(name, value)
    console.print("load at the end", report["load at the end"])


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

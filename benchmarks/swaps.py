"""Many decisions across swaps, saves and a restore: ``python -m benchmarks.swaps [--decisions N] [--json FILE]``.

Threads decide and report while a model is swapped again and again, the state is saved, and a scheduler restored from it
takes over. Each model predicts a constant of its own, so a decision that mixed two of them would show. It ends with an
error where a call failed, a decision was mixed, or a node was promised more than it has.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fleet import N_CLIENTS, make_model, make_scheduler
from benchmarks.report import show
from benchmarks.scheduler import machine
from benchmarks.snapshots import percentiles
from scheduler import Model, Scheduler

N_NODES, N_THREADS, SWAPS, SAVES = 20_000, 4, 100, 20

STEADY, SWAPPING, SAVING = "steady", "during a swap", "during a save"


def constant(model: Model, number: int) -> Model:
    """Return a model of another version that predicts the same for everybody: a number of its own."""
    table = model.calibration.copy()
    table[:, 2] = 0.0
    table[-1, 1] = 1.0 + number
    return dataclasses.replace(model, version=f"v{number}", calibration=table)


class Shared:
    """What the threads share: the scheduler in charge, what it does beside, and what went wrong."""

    def __init__(self, scheduler: Scheduler, expected: dict[str, dict[str, float]]) -> None:
        self.scheduler, self.expected = scheduler, expected
        self.doing, self.done = STEADY, False
        self.problems: list[str] = []
        self.taken: dict[str, list[int]] = {STEADY: [], SWAPPING: [], SAVING: []}
        self.count = itertools.count()


def work(shared: Shared, number: int) -> None:
    """Decide and report until all is done."""
    rng, i = np.random.default_rng(number), 0
    clients = rng.integers(N_CLIENTS, size=4_096).tolist()
    while not shared.done:
        scheduler, doing = shared.scheduler, shared.doing
        request = {"client_id": clients[i % 4_096], "bitrate_kbps": 10.0}
        try:
            now = 1e-4 * next(shared.count)
            start = time.thread_time_ns()
            decision = scheduler.decide(request, now=now)
            shared.taken[doing].append(time.thread_time_ns() - start)
            for node, scores in zip(decision.nodes[:1], decision.scores, strict=False):
                told = shared.expected[decision.model_version]
                if any(abs(scores[head] - value) > 1e-9 for head, value in told.items()):
                    shared.problems.append(f"{decision.model_version}: {scores}")
                scheduler.observe(decision.id, {"ok": i % 20 > 0, "latency_ms": 20.0}, now=now, node=node)
        except Exception as error:  # noqa: BLE001 - whatever a caller would see
            shared.problems.append(repr(error))
        i += 1


def run(n_decisions: int) -> dict[str, Any]:
    """Let threads work while models are swapped, and return the figures."""
    base = make_model()
    models = [constant(base, number) for number in range(3)]
    shared = Shared(make_scheduler(models[0], N_NODES), {})
    shared.scheduler.warm_up()
    for model in models:
        probe = make_scheduler(model, 100).decide({"client_id": 1, "bitrate_kbps": 1.0}, list(range(10)), now=0.0)
        shared.expected[model.version] = {head: probe.scores[0][head] for head in base.heads}
    threads = [threading.Thread(target=work, args=(shared, t)) for t in range(N_THREADS)]
    for thread in threads:
        thread.start()
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(SWAPS):
            _turn(shared, models[turn % 3], Path(folder), turn)
            while shared.scheduler.counters()["decisions"] < n_decisions * (turn + 1) / SWAPS and not shared.problems:
                time.sleep(0.01)
    shared.done = True
    for thread in threads:
        thread.join()
    fleet = shared.scheduler.fleet.arrays
    over = float(np.max(fleet.reserved - fleet.capacity))
    if shared.problems or over > 1e-6:
        sys.exit(f"{len(shared.problems)} problems, promised too much by {over}: {shared.problems[:3]}")
    return {
        "machine": machine(),
        "counters": shared.scheduler.counters(),
        "thread us of a decision": {name: percentiles(np.array(t) / 1e3) for name, t in shared.taken.items() if t},
    }


def _turn(shared: Shared, model: Model, folder: Path, turn: int) -> None:
    """Swap, and now and then save; at half-time a scheduler restored from the save takes over."""
    scheduler = shared.scheduler
    shared.doing = SWAPPING
    scheduler.release(scheduler.swap(model))
    if turn % (SWAPS // SAVES) == 0:
        shared.doing = SAVING
        scheduler.save(folder)
        if turn == SWAPS // 2:
            shared.scheduler = Scheduler.restore(folder, model)
    shared.doing = STEADY


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.swaps", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--decisions", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path, help="write the report to a file")
    options = parser.parse_args()
    report = run(options.decisions)
    show(report, options.json)


if __name__ == "__main__":
    main()

"""How long decisions of a trained model take: ``python -m benchmarks.measured DATA MODEL --spec NAME``.

Every node of the measured set is in the fleet and history is what the telemetry before the spec's first slice to decide
left, so pairs of a client are as warm as they are in service. Thread time of one core.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from benchmarks import stages
from scheduler import Model, Scheduler
from training.evaluation.evaluate import split_telemetry
from training.policies import Learned, Setting
from training.specs.builtin import find_spec
from training.telemetry import read_telemetry

CALLS = 2_000
BATCH = 512


def warm_scheduler(data: Path, spec_name: str, model: Path) -> tuple[Scheduler, list[int | str]]:
    """Return a scheduler that knows the nodes, clients and history of a set, and the ids of its clients."""
    spec = find_spec(spec_name)
    telemetry = read_telemetry(data, spec)
    before, _ = split_telemetry(telemetry, spec.evaluation.start)
    learned = Learned(Setting(spec, telemetry.clients, telemetry.nodes, 0), Model.load(model))
    learned.warm(before)
    return learned.scheduler, telemetry.clients.ids.tolist()


def decide_times(scheduler: Scheduler, requests: list[dict[str, int | str]], now: float) -> np.ndarray:
    """Microseconds of thread time of each of `CALLS` decisions, over all clients in turn."""
    times, cpu, decide = np.empty(CALLS), time.thread_time_ns, scheduler.decide
    for i in range(CALLS):
        request = requests[i % len(requests)]
        begin = cpu()
        decide(request, now=now)
        times[i] = cpu() - begin
    return times / 1e3


def main() -> None:
    """Warm, then measure decisions one at a time, in batches and by stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--spec", required=True)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    scheduler, clients = warm_scheduler(arguments.data, arguments.spec, arguments.model)
    name, forest = scheduler.model.spec.telemetry.client, scheduler.model.forest
    requests = [{name: client} for client in clients]
    now = float(scheduler.history.seen.max())
    scheduler.warm_up()
    decide_times(scheduler, requests, now)
    runs = [decide_times(scheduler, requests, now) for _ in range(arguments.repeats)]
    batch = {name: [clients[i % len(clients)] for i in range(BATCH)]}
    in_batch = [stages.thread_seconds(lambda: scheduler.decide_batch(batch, now=now)) for _ in range(arguments.repeats)]
    by_stage = stages.kernel_stages(scheduler, {name: batch[name][:64]}, arguments.repeats)
    figures = {
        "features": len(scheduler.model.features.names),
        "pair_features": len(forest.pair),
        "trees": len(forest.names.position),
        "candidates": min(len(scheduler.fleet), scheduler.model.spec.candidates.limit),
        **{f"decide_p{share}_us": _median(np.percentile(run, share) for run in runs) for share in (50, 99)},
        "decide_batch_us_a_request": _median(1e6 * seconds / BATCH for seconds in in_batch),
        "stages_us": {stage: _median(times) for stage, times in by_stage.items()},
    }
    print(json.dumps(figures, indent=2))


def _median(times: Iterable[float]) -> float:
    return round(float(np.median(list(times))), 1)


if __name__ == "__main__":
    main()

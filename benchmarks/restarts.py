"""What a restart and a swap cost in quality: ``python -m benchmarks.restarts [--json FILE]``.

The demo's fleet is decided for from the morning after its telemetry. At noon four schedulers part: one goes on, one is
saved and restored, one swaps to a model trained on the same telemetry with another seed, and one begins with an empty
history. A fifth has decided with that other model all along: a swap can be no better. All see the same requests. The
figures are means over the hour that follows.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.scheduler import machine
from scheduler import Model, Scheduler
from training.evaluation.evaluate import evaluate
from training.evaluation.measured_requests import RequestBatch
from training.pipeline.options import TrainingOptions
from training.pipeline.pipeline import train_and_register
from training.policies import Setting, baselines
from training.policies.learned import Learned
from training.simulator import World, batches, write_telemetry
from training.simulator.fleet import START
from training.specs.builtin import find_spec
from training.telemetry import read_telemetry

HOURS, BEFORE, AFTER = 48.0, 12.0, 1.0
"""Hours of telemetry, hours decided before the restart, and the hour that is judged after it."""

A_HOUR, REQUESTS = 42, 100
"""Batches an hour, and requests of a batch, as in the demo."""


class Interrupted(Learned):
    """A model whose scheduler is replaced before one of its batches."""

    def __init__(self, setting: Setting, model: Model, replace: Callable[[Scheduler], Scheduler]) -> None:
        super().__init__(setting, model)
        self._replace, self._n = replace, 0
        self.picks: list[np.ndarray] = []

    def pick(self, question: Any) -> np.ndarray:
        if self._n == int(BEFORE * A_HOUR):
            self.scheduler = self._replace(self.scheduler)
        self._n += 1
        picks = super().pick(question)
        self.picks.append(np.asarray(picks))
        return picks


def restarted(scheduler: Scheduler) -> Scheduler:
    """Return the scheduler that a new process would restore."""
    with tempfile.TemporaryDirectory() as folder:
        scheduler.save(folder)
        return Scheduler.restore(folder, scheduler.model)


def forgetful(setting: Setting, model: Model) -> Callable[[Scheduler], Scheduler]:
    """Return what makes a scheduler that knows nodes and clients, and nothing of their history."""

    def replace(_: Scheduler) -> Scheduler:
        return Learned(setting, model).scheduler

    return replace


def swapped(other: Model, setting: Setting) -> Callable[[Scheduler], Scheduler]:
    """Return what puts another model in charge of the same state."""

    def replace(scheduler: Scheduler) -> Scheduler:
        scheduler.swap(other, setting.spec)
        return scheduler

    return replace


def run(seed: int = 0) -> dict[str, Any]:
    """Decide for the morning, restart in four ways, and judge the hour that follows."""
    spec, world = find_spec("demo"), World(seed)
    with tempfile.TemporaryDirectory() as place:
        out = Path(place)
        write_telemetry(world, out / "telemetry", hours=HOURS, seed=seed)
        telemetry = read_telemetry(out / "telemetry", spec)
        models = []
        for number in (seed, seed + 1):
            registry = f"sqlite:///{out / f'registry-{number}' / 'mlflow.db'}"
            options = TrainingOptions(registry=registry, out=out / f"artifacts-{number}", seed=number, threads=0)
            models.append(train_and_register(out / "telemetry", spec, options).summary.model)
        setting = Setting(spec, telemetry.clients, telemetry.nodes, seed)
        ways: dict[str, Callable[[Scheduler], Scheduler]] = {
            "never stopped": lambda scheduler: scheduler,
            "saved and restored": restarted,
            "swapped to a new model": swapped(models[1], setting),
            "restarted with an empty history": forgetful(setting, models[0]),
        }
        policies = {name: Interrupted(setting, models[0], replace) for name, replace in ways.items()}
        policies["the new model all along"] = Interrupted(setting, models[1], lambda scheduler: scheduler)
        others = {"random": baselines(setting)["random"]}
        n = int((BEFORE + AFTER) * A_HOUR)
        times = START + HOURS * 3600.0 + 3600.0 / A_HOUR * np.arange(n)
        asked: list[RequestBatch] = list(batches(world, spec, times, requests=REQUESTS, seed=seed + 1))
        evaluate(asked, {**policies, **others}, spec, telemetry)
    judged = asked[int(BEFORE * A_HOUR) :]
    return {"machine": machine(), "decisions": len(judged) * REQUESTS, **_figures(policies, judged)}


def _figures(policies: dict[str, Interrupted], judged: list[RequestBatch]) -> dict[str, Any]:
    rows = np.arange(REQUESTS)
    found: dict[str, Any] = {}
    costs = {}
    for name, policy in policies.items():
        picks = policy.picks[-len(judged) :]
        costs[name] = np.mean([batch.cost[rows, pick].mean() for batch, pick in zip(judged, picks, strict=True)])
    for name, policy in policies.items():
        picks = policy.picks[-len(judged) :]
        failed = np.mean([~batch.ok[rows, pick] for batch, pick in zip(judged, picks, strict=True)])
        found[name] = {
            "mean cost": round(float(costs[name]), 2),
            "against the new model all along": f"{100 * (costs[name] / costs['the new model all along'] - 1):+.2f} %",
            "against never stopped": f"{100 * (costs[name] / costs['never stopped'] - 1):+.2f} %",
            "failures": f"{100 * failed:.2f} %",
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.restarts", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the report to a file")
    options = parser.parse_args()
    report = run()
    json.dump(report, sys.stdout, indent=2)
    print()
    if options.json:
        options.json.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()

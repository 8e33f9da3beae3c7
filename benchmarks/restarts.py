"""What a restart and a swap cost in quality: ``python -m benchmarks.restarts [--json FILE]``.

The demo's fleet is decided for from the morning after its telemetry. At noon four schedulers part: one goes on, one is
saved and restored, one swaps to a model trained on the same telemetry with another seed, and one begins with an empty
history. A fifth has decided with that other model all along: a swap can be no better. All see the same requests. The
figures are means over the hour that follows, on several days.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import show
from benchmarks.scheduler import machine
from scheduler import Model, Scheduler
from scheduler.spec import Spec
from training.evaluation.evaluate import evaluate
from training.evaluation.measured_requests import RequestBatch
from training.pipeline.options import TrainingOptions
from training.pipeline.pipeline import train_and_register
from training.policies import Setting, baselines
from training.policies.learned import Learned
from training.simulator import World, batches, write_telemetry
from training.simulator.fleet import START
from training.specs.builtin import find_spec
from training.telemetry import Telemetry, read_telemetry

HOURS, BEFORE, AFTER = 48.0, 12.0, 1.0
"""Hours of telemetry, hours decided before the restart, and the hour that is judged after it."""

A_HOUR, REQUESTS = 42, 100
"""Batches an hour, and requests of a batch, as in the demo."""

REPEATS = 8
"""Days with other requests: failures are rare and dear, so one hour says little."""

NEVER, ALL_ALONG = "never stopped", "the new model all along"


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
    """Return the scheduler that a new process would restore; its draws go on, so that they make no difference."""
    with tempfile.TemporaryDirectory() as folder:
        scheduler.save(folder)
        return Scheduler.restore(folder, scheduler.model, first_id=scheduler.counters()["decisions"])


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
        seen = [_judge(world, telemetry, spec, models, seed + number) for number in range(1, REPEATS + 1)]
    return {"machine": machine(), "decisions": REPEATS * int(AFTER * A_HOUR) * REQUESTS, **_figures(seen)}


def _judge(
    world: World, telemetry: Telemetry, spec: Spec, models: list[Model], seed: int
) -> dict[str, tuple[float, float]]:
    """Return mean cost and share of failures by way, for requests of one seed."""
    setting = Setting(spec, telemetry.clients, telemetry.nodes, seed)
    ways: dict[str, Callable[[Scheduler], Scheduler]] = {
        NEVER: lambda scheduler: scheduler,
        "saved and restored": restarted,
        "swapped to a new model": swapped(models[1], setting),
        "restarted with an empty history": forgetful(setting, models[0]),
    }
    policies = {name: Interrupted(setting, models[0], replace) for name, replace in ways.items()}
    policies[ALL_ALONG] = Interrupted(setting, models[1], ways[NEVER])
    times = START + HOURS * 3600.0 + 3600.0 / A_HOUR * np.arange(int((BEFORE + AFTER) * A_HOUR))
    asked: list[RequestBatch] = list(batches(world, spec, times, requests=REQUESTS, seed=seed))
    evaluate(asked, {**policies, "random": baselines(setting)["random"]}, spec, telemetry)
    judged, rows = asked[int(BEFORE * A_HOUR) :], np.arange(REQUESTS)
    found = {}
    for name, policy in policies.items():
        pairs = list(zip(judged, policy.picks[-len(judged) :], strict=True))
        cost = np.mean([batch.cost[rows, pick] for batch, pick in pairs])
        found[name] = float(cost), float(np.mean([~batch.ok[rows, pick] for batch, pick in pairs]))
    return found


def _figures(seen: list[dict[str, tuple[float, float]]]) -> dict[str, Any]:
    cost = {name: np.array([one[name][0] for one in seen]) for name in seen[0]}
    measures = {name: ALL_ALONG if name.startswith("swapped") else NEVER for name in cost}
    found: dict[str, Any] = {}
    for name, measure in measures.items():
        more = 100 * (cost[name] - cost[measure]) / cost[measure].mean()
        error = more.std(ddof=1) / np.sqrt(len(more))
        found[name] = {
            "mean cost": round(float(cost[name].mean()), 2),
            f"against {measure}": f"{more.mean():+.2f} +- {error:.2f} %",
            "failures": f"{100 * np.mean([one[name][1] for one in seen]):.2f} %",
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.restarts", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the report to a file")
    options = parser.parse_args()
    report = run()
    show(report, options.json)


if __name__ == "__main__":
    main()

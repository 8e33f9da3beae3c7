"""The main job from end to end on a small made-up fleet."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scheduler.errors import InputError
from scheduler.spec import Spec
from training.artifacts.write import libraries
from training.evaluation.evaluate import evaluate
from training.evaluation.model_card import model_card
from training.evaluation.results import Comparison, Conditions
from training.pipeline.options import TrainingOptions
from training.pipeline.pipeline import TrainingResult, train_and_register
from training.policies import Setting, all_policies
from training.progress import ProgressCallback, silent
from training.report.page import RULES, write_report
from training.simulator import World, batches, write_telemetry
from training.simulator.fleet import CANDIDATES, START
from training.simulator.rule_policy import Rules
from training.specs.builtin import find_spec
from training.telemetry import read_telemetry
from training.telemetry.write import names_in

HOURS = 48.0
"""Two days of telemetry: the second evening is the first that a model can have learned from."""

N_BATCHES, N_REQUESTS = 1_000, 100
"""100,000 decisions."""

PARTS = ("artifacts", "registry", "report.html", "telemetry")
"""What a demo leaves: the artifact's folder, MLflow's database and files, the page, the telemetry directory."""


class DemoResult(NamedTuple):
    """What a demo made: the training, the comparison, and where the report is."""

    training: TrainingResult
    comparison: Comparison
    report: Path

    @property
    def uri(self) -> str:
        """Return the URI of the registered model."""
        return self.training.uri

    def to_json(self) -> dict[str, Any]:
        """Return what ``fogline demo --json`` prints."""
        return {**self.comparison.to_json(), "training": self.training.to_json(), "report": str(self.report)}


def run_demo(
    out: Path, *, seed: int = 0, threads: int = 0, command: str = "", progress: ProgressCallback = silent
) -> DemoResult:
    """Write telemetry of a rule-run fleet, train on it, register, decide 100,000 requests, and report.

    Parameters
    ----------
    out
        Everything goes below it, in `PARTS`; what an earlier demo left there is replaced.
    seed
        Of the fleet, the requests and the training.
    threads
        For LightGBM; 0 for one a core.
    command
        The command line, for the report.

    Raises
    ------
    InputError
        If something stands there that no demo leaves.
    """
    spec = find_spec("demo")
    _clear(out)
    data = out / "telemetry"
    world = World(seed)
    progress("telemetry", 0, 1)
    write_telemetry(world, data, hours=HOURS, seed=seed)
    progress("telemetry", 1, 1)
    options = TrainingOptions(
        registry=f"sqlite:///{out / 'registry' / 'mlflow.db'}", out=out / "artifacts", seed=seed, threads=threads
    )
    training = train_and_register(data, spec, options, progress)
    comparison = _compare(world, data, spec, training, seed, progress).by_command(command)
    return DemoResult(training, comparison, write_report(comparison, out / "report.html", training.summary))


SLOW = ("vowpal_wabbit",)
"""Baselines left out: alone it would double the minute that a demo takes."""


def _clear(out: Path) -> None:
    """Make an empty folder of one that is absent, empty, or an earlier demo's."""
    others = [name for name in names_in(out) if name not in PARTS]
    if others:
        raise InputError(f"{out}: expected an empty folder or that of an earlier demo, found {', '.join(others[:5])}")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)


def _compare(
    world: World, data: Path, spec: Spec, training: TrainingResult, seed: int, progress: ProgressCallback
) -> Comparison:
    """Let all policies decide the day after the telemetry."""
    telemetry = read_telemetry(data, spec)
    begin = START + HOURS * 3600.0
    times = begin + 24.0 * 3600.0 / N_BATCHES * np.arange(N_BATCHES)
    model = training.summary.model
    setting = Setting(spec, telemetry.clients, telemetry.nodes, seed)
    policies = {**all_policies(setting, model, without=SLOW), RULES: Rules(world)}
    asked = batches(world, spec, times, requests=N_REQUESTS, seed=seed + 1)
    comparison = evaluate(asked, policies, spec, telemetry, n_batches=N_BATCHES, progress=progress)
    return dataclasses.replace(
        comparison,
        data="the demo fleet",
        model=f"{model.name}-{model.version}",
        card=model_card(model),
        conditions=Conditions(CANDIDATES, N_REQUESTS, seed, libraries()),
    )

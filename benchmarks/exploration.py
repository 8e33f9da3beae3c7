"""What exploration costs and brings: ``python -m benchmarks.exploration DATA MODEL --spec NAME``."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.arguments import add_requests, parse_requests
from scheduler.history.arrays import HistoryArrays
from scheduler.model.model import Model
from scheduler.spec import Policy, Spec
from training.evaluation.evaluate import evaluate, split_telemetry
from training.evaluation.measured_requests import measured_requests
from training.evaluation.metrics import ORACLE, RANDOM
from training.evaluation.results import Comparison
from training.policies import Learned, Random, Setting
from training.telemetry import Telemetry, read_telemetry
from training.telemetry.cold_start import COLD_SIDES, ColdShares, cold_start

RULES: dict[str, dict[str, Any]] = {
    "none": {"explore": "none"},
    "epsilon 0.01": {"explore": "epsilon", "epsilon": 0.01},
    "epsilon 0.05": {"explore": "epsilon", "epsilon": 0.05},
    "epsilon 0.05, loss at most 50": {"explore": "epsilon", "epsilon": 0.05, "max_utility_loss": 50.0},
    "epsilon 0.05, budget 0.02": {"explore": "epsilon", "epsilon": 0.05, "budget": 0.02},
    "softmax 2": {"explore": "softmax", "temperature": 2.0},
    "softmax 10": {"explore": "softmax", "temperature": 10.0},
    "inverse gap 0.01": {"explore": "inverse_gap", "temperature": 0.01},
    "inverse gap 0.1": {"explore": "inverse_gap", "temperature": 0.1},
    "ucb 20": {"explore": "ucb", "uncertainty_scale": 20.0},
    "ucb 100": {"explore": "ucb", "uncertainty_scale": 100.0},
    "ucb 100, loss at most 20": {"explore": "ucb", "uncertainty_scale": 100.0, "max_utility_loss": 20.0},
    "ucb 300": {"explore": "ucb", "uncertainty_scale": 300.0},
    "ucb 1000": {"explore": "ucb", "uncertainty_scale": 1000.0},
    "ucb leaves 0.1": {"explore": "ucb", "uncertainty": "leaves", "uncertainty_scale": 0.1},
    "ucb leaves 0.3": {"explore": "ucb", "uncertainty": "leaves", "uncertainty_scale": 0.3},
    "ucb leaves 0.5": {"explore": "ucb", "uncertainty": "leaves", "uncertainty_scale": 0.5},
    "ucb leaves 1": {"explore": "ucb", "uncertainty": "leaves", "uncertainty_scale": 1.0},
    "thompson 20": {"explore": "thompson", "uncertainty_scale": 20.0},
    "thompson 100": {"explore": "thompson", "uncertainty_scale": 100.0},
    "thompson leaves 0.1": {"explore": "thompson", "uncertainty": "leaves", "uncertainty_scale": 0.1},
    "thompson leaves 0.3": {"explore": "thompson", "uncertainty": "leaves", "uncertainty_scale": 0.3},
    "thompson leaves 0.5": {"explore": "thompson", "uncertainty": "leaves", "uncertainty_scale": 0.5},
    "newcomers 0.01": {"explore": "none", "newcomer_share": 0.01},
    "newcomers 0.05": {"explore": "none", "newcomer_share": 0.05},
    "newcomers 0.05, loss at most 50": {"explore": "none", "newcomer_share": 0.05, "max_utility_loss": 50.0},
    "newcomers by pair 0.05": {
        "explore": "none",
        "newcomer_share": 0.05,
        "newcomer_key": "pair",
        "newcomer_below": 2,
    },
}
"""Utilities of the shipped specs of measured data are in milliseconds. So are temperatures, losses and uncertainty
scales; scales of ``leaves`` are numbers of standard errors."""


class Warmed(Learned):
    """The model under some policy; what came before fills one history, which all copy."""

    def __init__(self, setting: Setting, model: Model, known: list[HistoryArrays]) -> None:
        super().__init__(setting, model)
        self._known = known

    def warm(self, telemetry: Telemetry) -> None:
        """Push telemetry through history, or take what another one made of it."""
        if not self._known:
            super().warm(telemetry)
            self._known.append(_copied(self.scheduler.history))
        else:
            _fill(self.scheduler.history, self._known[0])
            self.scheduler.refresh()

    @property
    def explored(self) -> float:
        """Share of the decisions that were for another node than the best."""
        counters = self.scheduler.counters()
        return counters["explored"] / counters["decisions"]


def _copied(arrays: Any) -> Any:
    return arrays.copy() if isinstance(arrays, np.ndarray) else type(arrays)(*map(_copied, arrays))


def _fill(to: Any, source: Any) -> None:
    for one, other in zip(to, source, strict=True):
        if isinstance(one, np.ndarray):
            one[...] = other
        else:
            _fill(one, other)


def compared(
    telemetry: Telemetry, model: Model, spec: Spec, options: argparse.Namespace
) -> tuple[list[Comparison], dict[str, list[float]]]:
    """Let the model decide the same requests under each rule, seed by seed; also the shares explored.

    One rule at a time, as each takes a history of its own.
    """
    among = None
    if options.cold:
        telemetry, among = cold_start(telemetry, ColdShares.of(model.manifest.window), options.cold, options.start)
    before, _ = split_telemetry(telemetry, options.start)
    known: list[HistoryArrays] = []
    explored: dict[str, list[float]] = {name: [] for name in options.only}
    runs = []
    for seed in range(options.seeds):
        setting, seen = Setting(spec, telemetry.clients, telemetry.nodes, seed), []
        for name in options.only:
            changed = msgspec.structs.replace(spec, policy=Policy(**RULES[name]))
            rule = Warmed(setting._replace(spec=changed), model, known)
            batches = measured_requests(
                telemetry,
                spec,
                start=options.start,
                requests=options.requests,
                candidates=options.candidates,
                seed=seed,
                among=among,
            )
            seen.append(evaluate(batches, {RANDOM: Random(setting), name: rule}, spec, before))
            explored[name].append(rule.explored)
        scores = {name: score for run in seen for name, score in run.policies.items()}
        runs.append(dataclasses.replace(seen[0], policies=scores))
    return runs, explored


def added(runs: list[Comparison], name: str, reference: str) -> dict[str, float]:
    """Return a rule's regret against the oracle and how much more it is than the reference's, seed by seed."""
    found: dict[str, float] = {}
    for figure in ("mean", "mean_log"):
        values = {n: np.array([getattr(run.policies[n], figure) for run in runs]) for n in (name, reference, ORACLE)}
        more = values[name] - values[reference]
        found[figure] = float((values[name] - values[ORACLE]).mean())
        found[f"{figure}_added"] = float(more.mean())
        found[f"{figure}_spread"] = float(more.std(ddof=1)) if len(runs) > 1 else float("nan")
    return found


def arguments() -> argparse.Namespace:
    about = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exploration", description=about)
    add_requests(parser)
    parser.add_argument("model", type=Path, help="folder of a model trained on slices before the first to decide")
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--cold", choices=COLD_SIDES, default="", help="only decisions among what training left out")
    parser.add_argument(
        "--only", nargs="+", choices=RULES, default=list(RULES), help="rules, the first to compare with"
    )
    parser.add_argument("--json", type=Path, help="also write the figures here")
    return parse_requests(parser)


def main() -> None:
    options = arguments()
    model = Model.load(options.model)
    runs, explored = compared(read_telemetry(options.data, options.spec), model, options.spec, options)
    print(f"{sum(run.n for run in runs):,} decisions each, {options.seeds} seeds\n")
    print("| rule | explored | regret | more than the first | log regret | more than the first |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    found = {}
    for name in options.only:
        found[name] = row = added(runs, name, options.only[0]) | {"explored": float(np.mean(explored[name]))}
        cells = [f"{row[f]:.4g} | {row[f + '_added']:+.3g} ± {row[f + '_spread']:.1g}" for f in ("mean", "mean_log")]
        print(f"| {name} | {row['explored']:.2%} | {' | '.join(cells)} |")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

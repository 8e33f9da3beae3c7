"""What exploration and propensity weights are worth in training: ``python -m benchmarks.loop [--json FILE]``.

Hand-written rules serve the demo's fleet and log what they drew, with and without 5 % of random candidates. Models are
trained on these logs, with rows weighted by inverse propensities up to a bound or not, and decide the same requests of
the following day. All seeds have another fleet and other requests; differences are taken seed by seed.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from benchmarks.report import show
from scheduler.spec import Spec
from training.evaluation.evaluate import evaluate
from training.pipeline.train import train_model
from training.policies import Policy, Setting, baselines
from training.policies.learned import Learned
from training.simulator import World, batches, write_telemetry
from training.simulator.fleet import START
from training.simulator.rule_policy import Rules
from training.specs.builtin import find_spec
from training.telemetry import Telemetry, read_telemetry

HOURS = 48.0
EXPLORE = 0.05

N_BATCHES, N_REQUESTS = 240, 100
"""Decisions of the day that follows, 24,000 a seed."""


class Way(NamedTuple):
    """A way of learning from the log: the share explored in it, and the largest weight of a row, 0 without weights."""

    explore: float
    most: float


BASE = "without exploration or weights"
WAYS = {
    BASE: Way(0.0, 0.0),
    "5 % explored": Way(EXPLORE, 0.0),
    "5 % explored, weights up to 5": Way(EXPLORE, 5.0),
    "5 % explored, weights up to 20": Way(EXPLORE, 20.0),
    "5 % explored, weights up to 400": Way(EXPLORE, 400.0),  # the largest inverse propensity, so none is cut
}


def one_seed(seed: int, requests: int, ways: dict[str, Way], threads: int) -> dict[str, dict[str, float]]:
    """Return the mean cost and the share of failures of every way, of the rules and of random choice."""
    world, found = World(seed), {}
    times = START + HOURS * 3600.0 + 24.0 * 3600.0 / N_BATCHES * np.arange(N_BATCHES)
    with tempfile.TemporaryDirectory() as place:
        for explore in sorted({way.explore for way in ways.values()}):
            data = Path(place) / f"telemetry-{explore}"
            write_telemetry(world, data, hours=HOURS, requests=requests, explore=explore, seed=seed, propensities=True)
            some = {name: way for name, way in ways.items() if way.explore == explore}
            telemetry = read_telemetry(data, spec_of(0.0))
            policies = {name: _learned(telemetry, way, data, seed, threads) for name, way in some.items()}
            spec = spec_of(0.0)
            setting = Setting(spec, telemetry.clients, telemetry.nodes, seed)
            everyone: dict[str, Policy] = {**policies, "random": baselines(setting)["random"], "rules": Rules(world)}
            asked = batches(world, spec, times, requests=N_REQUESTS, seed=seed + 1)
            comparison = evaluate(asked, everyone, spec, telemetry, n_batches=N_BATCHES)
            found |= {
                name: {"mean": score.mean, "mean_log": score.mean_log, "fail": score.fail}
                for name, score in comparison.policies.items()
            }
    return found


def spec_of(most: float) -> Spec:
    """Return the demo's spec with propensities and some largest weight."""
    spec = find_spec("demo")
    return msgspec.structs.replace(
        spec,
        telemetry=msgspec.structs.replace(spec.telemetry, propensity="propensity"),
        training=msgspec.structs.replace(spec.training, propensity_weights=most),
    )


def _learned(telemetry: Telemetry, way: Way, out: Path, seed: int, threads: int) -> Learned:
    spec = spec_of(way.most)
    model = train_model(telemetry, spec, out / f"artifacts-{way.most}", seed=seed, threads=threads).model
    return Learned(Setting(spec, telemetry.clients, telemetry.nodes, seed), model)


def table(seen: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Return means over the seeds, and how far each is below or above `BASE`, with the error of the difference."""
    found: dict[str, Any] = {}
    for name in seen[0]:
        mean = {figure: float(np.mean([one[name][figure] for one in seen])) for figure in seen[0][name]}
        more = np.array([one[name]["mean"] / one[BASE]["mean"] - 1.0 for one in seen])
        error = float(more.std(ddof=1) / np.sqrt(len(more))) if len(more) > 1 else float("nan")
        found[name] = {
            "mean cost": round(mean["mean"], 2),
            "mean log": round(mean["mean_log"], 4),
            "failures": f"{100.0 * mean['fail']:.2f} %",
            f"against {BASE}": f"{100.0 * more.mean():+.2f} +- {100.0 * error:.2f} %",
            "better in": f"{int((more < 0.0).sum())} of {len(more)} seeds",
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loop", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=100_000, help="of the log, over two days")
    parser.add_argument("--threads", type=int, default=0, help="for LightGBM; 0 for one a core")
    parser.add_argument("--json", type=Path, help="also write the report to a file")
    options = parser.parse_args()
    seen = [one_seed(seed, options.requests, WAYS, options.threads) for seed in range(options.seeds)]
    show({"requests": options.requests, "seeds": options.seeds, **table(seen)}, options.json)


if __name__ == "__main__":
    main()

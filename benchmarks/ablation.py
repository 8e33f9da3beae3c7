"""What each block of features and each device adds: ``python -m benchmarks.ablation DATA --spec NAME``."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np

from benchmarks.arguments import add_requests, parse_requests
from scheduler.model.model import Model
from scheduler.spec import AUTO, Profile, Spec, Utility
from training.evaluation.evaluate import evaluate, split_telemetry
from training.evaluation.measured_requests import measured_requests
from training.evaluation.metrics import LEARNED, ORACLE, RANDOM
from training.evaluation.results import Comparison
from training.pipeline.train import train_model
from training.policies import Learned, Random, Setting
from training.telemetry import Telemetry, read_telemetry

ANOTHER_TRAINING = "nothing: another training"
"""The row of the whole spec, trained with another seed: what luck alone adds."""


class Judge(NamedTuple):
    """The requests that every model decides: those of ``seeds`` seeds from slice ``start`` on."""

    telemetry: Telemetry
    start: int
    requests: int
    candidates: int
    seeds: int
    threads: int


Weights = TypeVar("Weights", Utility, Profile)


def without(spec: Spec) -> dict[str, Spec]:
    """Return by name the spec without each block of features, and without each device of training and policy.

    Blocks are the features of one history key, statistic or half-life, and those of one other operation. A
    block that is the same features as an earlier one, or all there are, is left out.
    """
    blocks: dict[str, set[str]] = {}
    for name, feature in spec.features.items():
        for block in _blocks(feature):
            blocks.setdefault(block, set()).add(name)
    specs: dict[str, Spec] = {}
    done: list[set[str]] = [set(spec.features)]
    for block, names in blocks.items():
        if names not in done:
            done.append(names)
            specs[block] = _without_features(spec, names)
    if spec.training.reveal < 1.0:
        training = msgspec.structs.replace(spec.training, reveal=1.0)
        specs["device reveal"] = msgspec.structs.replace(spec, training=training)
    if spec.training.rehearse > 0.0:
        training = msgspec.structs.replace(spec.training, rehearse=0.0)
        specs["device rehearse"] = msgspec.structs.replace(spec, training=training)
    if spec.policy.explore != "none":
        policy = msgspec.structs.replace(spec.policy, explore="none")
        specs["device explore"] = msgspec.structs.replace(spec, policy=policy)
    return specs


def _without_features(spec: Spec, names: Collection[str]) -> Spec:
    """Return a spec without some features.

    Training finds another start for a head that starts from one of them. A head without trees is left out with it.
    """
    rest = {name: feature for name, feature in spec.features.items() if name not in names}
    heads = {
        name: msgspec.structs.replace(head, offset=AUTO) if head.offset in names else head
        for name, head in spec.heads.items()
        if head.trees or head.offset not in names
    }
    profiles = tuple(_weighing(profile, heads) for profile in spec.utility.profiles)
    utility = msgspec.structs.replace(_weighing(spec.utility, heads), profiles=profiles)
    return msgspec.structs.replace(spec, features=rest, heads=heads, utility=utility)


def _weighing(weights: Weights, heads: Collection[str]) -> Weights:
    """Return weights of some heads alone."""
    return msgspec.structs.replace(weights, heads={name: w for name, w in weights.heads.items() if name in heads})


def _blocks(feature: Any) -> Iterable[str]:
    op = feature.__struct_config__.tag
    if op != "history":
        return [f"op {op}"]
    parts = {"key": feature.key, "stat": feature.stat, "half-life": feature.half_life}
    return [f"{part} {value}" for part, value in parts.items() if value is not None]


def judged(spec: Spec, judge: Judge, training_seed: int = 0) -> list[Comparison]:
    """Train on what lies before the start and let the model decide the requests of every seed."""
    before, _ = split_telemetry(judge.telemetry, judge.start)
    with tempfile.TemporaryDirectory() as folder:
        model: Model = train_model(before, spec, Path(folder), seed=training_seed, threads=judge.threads).model
        runs = []
        for seed in range(judge.seeds):
            setting = Setting(spec, before.clients, before.nodes, seed)
            policies = {RANDOM: Random(setting), LEARNED: Learned(setting, model)}
            batches = measured_requests(
                judge.telemetry,
                spec,
                start=judge.start,
                requests=judge.requests,
                candidates=judge.candidates,
                seed=seed,
            )
            runs.append(evaluate(batches, policies, spec, before))
    return runs


def added(full: list[Comparison], less: list[Comparison]) -> dict[str, float]:
    """Return by how much regret is higher without a block, seed by seed: mean and standard deviation.

    In the unit of the cost and in its log; below zero the model is better off without.
    """
    found: dict[str, float] = {}
    for figure in ("mean", "mean_log"):
        pairs = zip(full, less, strict=True)
        more = [_regret(b, figure) - _regret(a, figure) for a, b in pairs]
        found[figure] = float(np.mean(more))
        found[f"{figure}_spread"] = float(np.std(more, ddof=1)) if len(more) > 1 else float("nan")
    return found


def _regret(run: Comparison, figure: str) -> float:
    return getattr(run.policies[LEARNED], figure) - getattr(run.policies[ORACLE], figure)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=(__doc__ or "").splitlines()[0])
    add_requests(parser)
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--threads", type=int, default=0, help="for LightGBM; 0 for one a core")
    parser.add_argument("--only", nargs="+", help="blocks to leave out, by name; default: each in turn")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parse_requests(parser)
    blocks = without(options.spec)
    known = [ANOTHER_TRAINING, *blocks]
    options.only = options.only or known
    if unknown := set(options.only) - set(known):
        parser.error(f"--only: expected some of {', '.join(known)}, found {', '.join(sorted(unknown))}")
    return options


def main() -> None:
    options = arguments()
    spec = options.spec
    telemetry = read_telemetry(options.data, spec)
    judge = Judge(telemetry, options.start, options.requests, options.candidates, options.seeds, options.threads)
    full = judged(spec, judge)
    mean, log = (np.mean([getattr(run.policies[LEARNED], f) for run in full]) for f in ("mean", "mean_log"))
    print(f"With all {len(spec.features)} features: mean {mean:.4g}, mean log {log:.4g}\n")
    print("| without | features left | mean | mean log |\n| --- | ---: | ---: | ---: |")
    found = {}
    specs = without(spec)
    for name in options.only:
        less = specs.get(name, spec)
        found[name] = row = added(full, judged(less, judge, training_seed=int(name == ANOTHER_TRAINING)))
        cells = [f"{row[f]:+.3g} ± {row[f + '_spread']:.1g}" for f in ("mean", "mean_log")]
        print(f"| {name} | {len(less.features)} | {cells[0]} | {cells[1]} |", flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Shapley values of pairs at a served model's scale, against shap and the clock; and ``explain`` over a large fleet.

``python -m benchmarks.explanations [--pairs N] [--nodes N] [--shap-rows N]``
"""

from __future__ import annotations

import argparse
import time

import lightgbm as lgb
import numpy as np
import shap

from benchmarks.fleet import make_model, make_scheduler
from benchmarks.scheduler import Load, warm_history
from scheduler.audit.shapley import shapley_of
from scheduler.forest.trees import Trees
from training.heads.lightgbm_trees import trees_from_lightgbm

N_FEATURES, N_TREES, N_LEAVES = 30, 300, 31

CALLS = 100


def trained(rng: np.random.Generator) -> tuple[lgb.Booster, np.ndarray]:
    x = rng.normal(size=(20_000, N_FEATURES))
    x[rng.random(x.shape) < 0.05] = np.nan
    filled = np.nan_to_num(x)
    y = (
        filled @ rng.normal(size=N_FEATURES)
        + filled[:, 0] * filled[:, 1]
        + np.abs(filled[:, 2])
        + rng.normal(size=len(x))
    )
    options = {"num_leaves": N_LEAVES, "verbose": -1, "num_threads": 1, "seed": 0, "min_data_in_leaf": 20}
    return lgb.train(options, lgb.Dataset(x, y), N_TREES), x


def against_shap(booster: lgb.Booster, trees: Trees, x: np.ndarray, pairs: int, rows: int) -> None:
    worst = equal = done = 0.0
    for b in range(0, pairs, rows):
        background = x[b % len(x)]
        chosen = x[np.arange(b + 1, b + 1 + rows) % len(x)].copy()
        same = np.random.default_rng(b).random(chosen.shape) < 0.3
        chosen[same] = np.tile(background, (rows, 1))[same]
        explainer = shap.TreeExplainer(booster, background[None], feature_perturbation="interventional")
        expected = explainer.shap_values(chosen, check_additivity=False)
        found = shapley_of(trees, chosen, np.tile(background, (rows, 1)))
        worst = max(worst, float(np.abs(found - expected).max()))
        equal = max(equal, float(np.abs(found[same]).max()))
        raw = booster.predict(chosen, raw_score=True) - booster.predict(background[None], raw_score=True)
        done = max(done, float(np.abs(found.sum(axis=1) - raw).max()))
    print(
        f"{pairs:,} pairs: largest difference from shap {worst:.2e}, of a sum from the scores' difference {done:.2e},"
    )
    print(f"largest value of a feature that is equal in both rows {equal:g}")


def timed(trees: Trees, x: np.ndarray, pairs: int) -> None:
    a, b = x[np.arange(pairs) % len(x)].astype(np.float32), x[(np.arange(pairs) * 7 + 1) % len(x)].astype(np.float32)
    shapley_of(trees, a[:1], b[:1])
    times = []
    for _ in range(5):
        start = time.thread_time()
        shapley_of(trees, a, b)
        times.append((time.thread_time() - start) / pairs)
    print(
        f"{trees.n_trees} trees of {N_LEAVES} leaves: {1e3 * min(times):.4f} ms a pair of rows that differ throughout"
    )


def explain_over(nodes: int) -> None:
    model = make_model()
    scheduler = make_scheduler(model, nodes)
    warm_history(scheduler)
    load, times, n_candidates = Load(0), [], []
    # Of wall and thread: on a machine with other work only the second tells what the code costs.
    for i in range(CALLS + 3):
        request, now = load.single(), load.now()
        wall, thread = time.perf_counter(), time.thread_time()
        found = scheduler.explain(request, now=now)
        if i >= 3:  # the first ones load compiled code
            times.append((1e3 * (time.perf_counter() - wall), 1e3 * (time.thread_time() - thread)))
            n_candidates.append(found.candidates)
    trees = "/".join(str(one.n_trees) for one in model.trees)
    print(f"explain on {nodes:,} nodes, {np.mean(n_candidates):.0f} candidates, heads of {trees} trees:")
    for name, values in zip(("wall", "thread"), np.array(times).T, strict=True):
        at = np.percentile(values, [50, 99, 100])
        print(f"{name} time: median {at[0]:.1f} ms, p99 {at[1]:.1f} ms, most {at[2]:.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--shap-rows", type=int, default=200, help="pairs that share a background row")
    parser.add_argument("--nodes", type=int, default=100_000)
    options = parser.parse_args()
    booster, x = trained(np.random.default_rng(0))
    trees = trees_from_lightgbm(booster)
    timed(trees, x, min(options.pairs, 2_000))
    against_shap(booster, trees, x, options.pairs, options.shap_rows)
    explain_over(options.nodes)


if __name__ == "__main__":
    main()

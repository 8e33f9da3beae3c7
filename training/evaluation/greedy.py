"""A baseline with the same features as the model, without its care: LightGBM on the cost.

It is fitted to the cost itself, once, on what a replay of all outcomes shows, and picks the least prediction. What the
model does better is due to its heads, to its training on what serving sees, to its utility and to its exploration.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from scheduler.model.model import Model
from scheduler.spec import COST, NO_OFFSET, Head, Policy, Spec, Utility
from training.artifacts.write import write_artifact
from training.features.dataset import build_dataset
from training.heads.calibration import calibrate
from training.heads.fit import fit_heads
from training.sampling import evenly_spaced
from training.telemetry import Telemetry

GREEDY = "greedy_lightgbm"

ROWS = 200_000
"""Rows that it is fitted to at most, as many as Vowpal Wabbit: seconds of one core."""

ROUNDS, LEAVES = 200, 31

GOLDEN_ROWS = 16


def greedy_spec(spec: Spec) -> Spec:
    """Return a spec of the same features with the cost as its one head and all of its utility, and no exploration."""
    training = msgspec.structs.replace(
        spec.training,
        reveal=1.0,
        rehearse=0.0,
        rows=min(spec.training.rows, ROWS),
        rounds=ROUNDS,
        lightgbm={"num_leaves": LEAVES},
    )
    return msgspec.structs.replace(
        spec,
        heads={COST: Head(target=COST, link="identity", offset=NO_OFFSET)},
        utility=Utility(heads={COST: -1.0}),
        policy=Policy(max_nodes=spec.policy.max_nodes, spread=spec.policy.spread),
        training=training,
    )


def fit_greedy(telemetry: Telemetry, spec: Spec, *, seed: int = 0, threads: int = 0) -> Model:
    """Fit the baseline to telemetry; its spec is `greedy_spec`.

    Raises
    ------
    DataError
        If there is too little to fit on.
    """
    plain = greedy_spec(spec)
    dataset = build_dataset(telemetry, plain, seed=seed)
    head = fit_heads(dataset, plain, seed=seed, threads=threads)[COST]
    with TemporaryDirectory() as folder:
        artifact = write_artifact(
            Path(folder) / GREEDY,
            spec=plain if dataset.memory is None else dataset.memory.into(plain),
            boosters={COST: head.booster},
            calibration={COST: calibrate("identity", head.calibration.raw, head.calibration.outcome)},
            vocabulary=dataset.vocabulary,
            metrics={},
            window={},
            golden_rows=dataset.x[evenly_spaced(len(dataset.x), GOLDEN_ROWS)],
            trees={COST: head.trees},
            means=None if dataset.means is None else dataset.means.all,
        )
        return Model.load(artifact)

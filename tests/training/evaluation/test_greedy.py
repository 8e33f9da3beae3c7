"""The greedy baseline: the model's features, the cost alone, and a stated reason where it cannot be fitted."""

import dataclasses

import numpy as np
import pytest

from tests import evaluation_world as world
from training.evaluation.evaluate import evaluate
from training.evaluation.greedy import fit_greedy, greedy_spec
from training.evaluation.measured_requests import measured_requests
from training.policies import Learned, Random


def test_it_has_the_models_features_and_the_cost_as_its_only_head():
    spec = greedy_spec(world.SPEC)
    assert spec.features == world.SPEC.features
    assert list(spec.heads) == ["cost"]
    assert spec.utility.heads == {"cost": -1.0}
    assert (spec.policy.explore, spec.training.rehearse, spec.training.reveal) == ("none", 0.0, 1.0)


@pytest.mark.slow
def test_it_picks_by_the_cost_that_its_features_tell():
    """The load of a node makes its cost, and no average knows it."""
    rows = world.telemetry(12_000)
    cost = (20.0 + 500.0 * rows.node_state["load"]).astype(np.float32)
    rows = dataclasses.replace(
        rows,
        ok=np.ones(len(rows), np.bool_),
        arrival=rows.time + cost / 1000.0,
        outcomes={"rtt_ms": cost, "cost": cost, "failed": np.zeros(len(rows), np.float32)},
    )
    before = rows.where(rows.slice < 50)
    model = fit_greedy(before, world.SPEC, threads=1)
    x = np.full((2, len(model.features.names)), np.nan, np.float32)
    x[:, model.features.names.index("load")] = 0.1, 0.9
    low, high = model.predict(x)["cost"]
    assert low < 150.0
    assert high > 350.0
    batches = measured_requests(rows, world.SPEC, start=50, requests=2, candidates=4, seed=0)
    setting = world.setting()
    policies = {"random": Random(setting), "greedy": Learned(setting._replace(spec=model.spec), model)}
    found = evaluate(batches, policies, world.SPEC, before)
    assert found.policies["greedy"].mean <= found.policies["random"].mean

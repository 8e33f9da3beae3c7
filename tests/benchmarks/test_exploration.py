"""The comparison of exploring rules: that they fit the shipped specs, and that a difference is formed seed by seed."""

from types import SimpleNamespace as Figures

import msgspec
import numpy as np
import pytest

from benchmarks.exploration import RULES, Warmed, added
from scheduler import Model
from scheduler.spec import Policy, spec_from_json
from tests import evaluation_world as world
from training.evaluation.evaluate import evaluate
from training.policies import Learned, Random
from training.specs.builtin import find_spec


@pytest.mark.parametrize("name", ["seattle", "hbrp"])
def test_every_rule_is_a_policy_of_the_spec(name):
    for rule in RULES.values():
        changed = msgspec.structs.replace(find_spec(name), policy=Policy(**rule))
        assert spec_from_json(changed.to_json()).policy == Policy(**rule)


def test_a_difference_is_paired_by_seed():
    def run(none, rule, oracle):
        costs = {"none": none, "rule": rule, "oracle": oracle}
        return Figures(policies={name: Figures(mean=cost, mean_log=cost / 10) for name, cost in costs.items()})

    found = added([run(50.0, 52.0, 40.0), run(150.0, 154.0, 90.0)], "rule", "none")
    assert (found["mean"], found["mean_added"]) == (38.0, 3.0)
    assert found["mean_spread"] == pytest.approx(2.0**0.5)
    assert found["mean_log_added"] == pytest.approx(0.3)


@pytest.mark.slow
def test_rules_that_share_a_warm_history_decide_as_if_each_had_its_own(tmp_path):
    model, known = Model.load(world.write_model(tmp_path / "tiny-1")), []
    policies = {
        "random": Random(world.setting()),
        "own": Learned(world.setting(), model),
        "first": Warmed(world.setting(), model, known),
        "second": Warmed(world.setting(), model, known),
    }
    picks = evaluate(world.batches(8), policies, world.SPEC, world.telemetry()).picks
    for name in ("first", "second"):
        np.testing.assert_array_equal(picks[name].node, picks["own"].node)
    assert len(known) == 1
    assert policies["second"].explored == 0.0

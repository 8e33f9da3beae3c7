"""The comparison of exploring rules: that they fit the shipped specs, and that a difference is formed seed by seed."""

from types import SimpleNamespace as Figures

import msgspec
import pytest

from benchmarks.exploration import RULES, added
from scheduler.spec import Policy, spec_from_json
from training.shipped import find_spec


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

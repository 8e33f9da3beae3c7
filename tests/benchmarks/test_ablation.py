"""The ablation: which blocks there are, and that a difference is formed seed by seed."""

from types import SimpleNamespace

import pytest

from benchmarks.ablation import added, without
from scheduler.spec import spec_from_json
from tests import evaluation_world as world
from training.specs.builtin import find_spec


def test_blocks_are_history_keys_statistics_half_lives_and_other_operations():
    specs = without(world.SPEC)
    assert list(specs) == ["op equal", "op node", "key node", "stat mean", "key pair"]
    assert specs["key pair"].features.keys() == world.SPEC.features.keys() - {"pair_mean", "pair_failed"}
    assert specs["stat mean"].features.keys() == {"same_isp", "load"}


def test_devices_that_the_spec_uses_are_left_out_in_turn():
    specs = without(find_spec("seattle"))
    assert specs["device reveal"].training.reveal == 1.0
    assert specs["device rehearse"].training.rehearse == 0.0
    assert specs["device explore"].policy.explore == "none"


def test_what_is_left_is_a_spec():
    for name in ("seattle", "wsdream2", "hbrp", "demo"):
        for less in without(find_spec(name)).values():
            assert spec_from_json(less.to_json()).features


def test_a_head_that_starts_from_a_feature_left_out_finds_another_start():
    specs = without(find_spec("wsdream2"))
    offsets = {block: {name: head.offset for name, head in spec.heads.items()} for block, spec in specs.items()}
    as_shipped = {"failure": "auto", "latency": "pair_latency_4h", "typical": "pair_cost_4h"}
    assert offsets["key node"] == {**as_shipped, "average": "pair_average"}
    assert offsets["half-life 4h"] == {**dict.fromkeys(as_shipped, "auto"), "average": "pair_average"}


def test_a_head_without_trees_is_left_out_with_its_feature():
    spec = find_spec("wsdream2")
    less = without(spec)["op shrunk"]
    assert "average" in spec.utility.heads
    assert "average" not in less.heads
    assert less.utility.heads == {name: weight for name, weight in spec.utility.heads.items() if name != "average"}


def run(learned, oracle):
    figures = SimpleNamespace
    return figures(
        policies={
            "learned": figures(mean=learned, mean_log=learned / 10),
            "oracle": figures(mean=oracle, mean_log=oracle / 10),
        }
    )


def test_a_difference_is_paired_by_seed():
    full, less = [run(50.0, 40.0), run(150.0, 90.0)], [run(52.0, 40.0), run(154.0, 90.0)]
    found = added(full, less)
    assert found["mean"] == pytest.approx(3.0)
    assert found["mean_spread"] == pytest.approx(2.0**0.5)
    assert found["mean_log"] == pytest.approx(0.3)

"""The best of the averages under all keys, and half-lives from the data's own spacing."""

import dataclasses

import msgspec
import numpy as np
import pytest

from tests import evaluation_world as world
from training.evaluation.evaluate import evaluate
from training.evaluation.measured_requests import measured_requests
from training.policies import KeyAverage, NodeAverage, PairAverage, Random
from training.policies.key_average import average_keys
from training.policies.moving_averages import HALF_LIFE, slice_spacing
from training.telemetry import Categories


def test_every_history_key_of_a_node_and_every_logged_category_is_tried():
    keys = {"client": ("client",), "isp": ("client", "node.isp"), "pair": ("node", "client")}
    spec = msgspec.structs.replace(world.SPEC, history=msgspec.structs.replace(world.SPEC.history, keys=keys))
    assert [frozenset(key) for key in average_keys(spec)] == [
        frozenset({"client", "node", "request.kind"}),
        frozenset({"client", "node.isp"}),
        frozenset({"node", "client"}),
        frozenset({"node"}),
    ]


def by_workload(n=12_000):
    """Telemetry in which each node is fast for one workload and slow for the other."""
    base = world.telemetry(n)
    kind = np.random.default_rng(1).integers(0, 2, n).astype(np.int32)
    slow = (base.node + kind) % 2
    cost = (10.0 + 200.0 * slow).astype(np.float32)
    return dataclasses.replace(
        base,
        ok=np.ones(n, np.bool_),
        arrival=base.time + cost / 1000.0,
        outcomes=base.outcomes | {"cost": cost, "rtt_ms": cost},
        request={"kind": Categories(kind, ("live", "vod"))},
    )


def test_where_quality_depends_on_a_request_column_the_average_by_that_column_wins():
    rows = by_workload()
    batches = measured_requests(rows, world.SPEC, start=50, requests=4, candidates=4, seed=0)
    setting = world.setting()
    best = KeyAverage(setting)
    policies = {"random": Random(setting), "pair": PairAverage(setting), "best": best}
    found = evaluate(batches, policies, world.SPEC, rows.where(rows.slice < 50))
    assert set(best.chosen) == {"client", "node", "request.kind"}
    assert found.chosen == {"best": ", ".join(best.chosen)}
    assert found.policies["best"].mean < 0.5 * found.policies["pair"].mean
    assert found.policies["best"].gap_closed > 0.95


def test_where_nodes_alone_differ_and_pairs_are_rare_the_node_average_is_chosen():
    """Each answer is noisy, and pairs have few of them: a pair's mean says less than its node's."""
    many = dataclasses.replace(world.CLIENTS, ids=np.arange(200), columns={})
    rows = world.telemetry(3_000)
    rng = np.random.default_rng(2)
    cost = (50.0 * (rows.node + 5) * rng.lognormal(0.0, 1.0, len(rows))).astype(np.float32)
    rows = dataclasses.replace(
        rows, clients=many, client=rng.integers(0, 200, len(rows)).astype(np.int32), outcomes={"cost": cost}
    )
    best = KeyAverage(world.setting()._replace(clients=many))
    best.warm(rows)
    assert best.chosen == ("node",)


@pytest.mark.parametrize("wrong", [1.0, 15.0, 1 / 15])
def test_a_spec_that_is_wrong_about_the_length_of_a_slice_does_not_slow_an_average(wrong):
    rows = world.telemetry(3_000)
    assert slice_spacing(rows, 60.0 * wrong) == pytest.approx(60.0, rel=0.05)
    slice_ = msgspec.structs.replace(world.SPEC.telemetry.slice, seconds=60.0 * wrong)
    spec = msgspec.structs.replace(world.SPEC, telemetry=msgspec.structs.replace(world.SPEC.telemetry, slice=slice_))
    policy = NodeAverage(world.setting()._replace(spec=spec))
    policy.warm(rows)
    weight = policy.levels.node.weight.copy()
    faded = policy.levels.node.faded(np.arange(world.N_NODES), 3600.0 + HALF_LIFE * 60.0)
    np.testing.assert_allclose(faded / weight, 0.5, rtol=0.05)


def test_one_slice_has_the_length_that_the_spec_says():
    rows = world.telemetry(300)
    assert slice_spacing(rows.where(rows.slice == 0), 60.0) == 60.0

"""Each history key has one owner, and rows under the same key go to the same shard."""

import msgspec
import numpy as np
import pytest

from scheduler.features.program import compile_features
from scheduler.spec import ChangePoint, ChangePoints, LatentFactors, ShrunkMean, Statistic, TrainedMean
from scheduler.spec.features import LatentFactor
from tests.evaluation_world import SPEC, telemetry
from training.distributed.sharding import WHOLE, Sharding, plan_shardings, shard_numbers, sharding_spec
from training.features.vocabulary import find_vocabulary
from training.specs.builtin import find_spec, shipped

DEMO = find_spec("demo")


def with_factors(spec=SPEC):
    (value, *_) = spec.history.values
    pair = next(name for name, parts in spec.history.keys.items() if set(parts) == {"client", "node"})
    history = msgspec.structs.replace(
        spec.history,
        values=(*spec.history.values, "residual(level)"),
        keys={**spec.history.keys, "client": ("client",)},
    )
    statistic = Statistic(key=pair, stat="mean", value="residual(level)", half_life=spec.history.half_lives[0])
    factors = {"level": LatentFactors(value=value)}
    features = {**spec.features, "level": LatentFactor(of="level"), "pair_residual": statistic}
    return msgspec.structs.replace(spec, history=history, latent_factors=factors, features=features)


def with_change_points(group, spec=SPEC):
    keys = {**spec.history.keys, "client": ("client",), "node": ("node",)}
    pair = next(name for name, parts in keys.items() if set(parts) == {"client", "node"})
    kind = ChangePoints(value=spec.history.values[0], group=group, member=pair)
    features = {**spec.features, **{part: ChangePoint(of="calm", part=part) for part in ("fresh", "age", "ended")}}
    history = msgspec.structs.replace(spec.history, keys=keys)
    return msgspec.structs.replace(spec, history=history, change_points={"calm": kind}, features=features)


@pytest.mark.parametrize("name", shipped())
def test_every_feature_has_one_sharding(name):
    spec = find_spec(name)
    shardings = plan_shardings(spec, 3)
    assert sorted(f for sharding in shardings for f in sharding.features) == sorted(spec.features)
    assert shardings[0].by == "client"


@pytest.mark.parametrize("name", shipped())
def test_what_a_shard_replays_is_a_whole_spec_of_its_features_alone(name):
    spec = find_spec(name)
    for sharding in plan_shardings(spec, 3):
        own = sharding_spec(spec, sharding)
        assert tuple(own.features) == sharding.features
        read = {f.key for f in own.features.values() if isinstance(f, Statistic)}
        assert own.history.keys.keys() == read or not read
        compile_features(own, {})


def test_keys_go_by_client_then_by_node_then_by_a_part_that_has_one():
    shardings = {sharding.by: sharding.features for sharding in plan_shardings(DEMO, 2)}
    assert shardings.keys() == {"client", "node", "request.isp", "request.region"}
    assert "client_node_latency" in shardings["client"]
    assert {"node_failed_20m", "region_node_latency"} <= set(shardings["node"])
    assert shardings["request.isp"] == ("carriers_failed_20m", "carriers_latency_20m")


def test_a_mean_shrunk_along_keys_of_several_shardings_is_replayed_by_one_worker_with_all_of_them():
    (value, *_), (half_life, *_), keys = SPEC.history.values, SPEC.history.half_lives, tuple(SPEC.history.keys)
    shrunk = ShrunkMean(keys=keys, value=value, half_life=half_life)
    spec = msgspec.structs.replace(SPEC, features={**SPEC.features, "shrunk": shrunk})
    whole = next(sharding for sharding in plan_shardings(spec, 5) if sharding.by == WHOLE)
    assert (whole.features, whole.n_shards) == (("shrunk",), 1)
    own = sharding_spec(spec, whole)
    assert tuple(own.history.keys) == keys
    compile_features(own, {})


def test_a_mean_of_training_is_computed_by_one_worker_with_all_of_its_keys():
    keys = tuple(SPEC.history.keys)
    trained = TrainedMean(keys=keys, value=SPEC.history.values[0])
    spec = msgspec.structs.replace(SPEC, features={**SPEC.features, "trained": trained})
    whole = next(sharding for sharding in plan_shardings(spec, 5) if sharding.by == WHOLE)
    assert (whole.features, whole.n_shards) == (("trained",), 1)
    assert tuple(sharding_spec(spec, whole).history.keys) == keys


def test_what_factor_models_touch_is_replayed_by_one_worker_and_nothing_else_is():
    shardings = plan_shardings(with_factors(), 5)
    assert [(sharding.by, sharding.n_shards) for sharding in shardings] == [("client", 5), ("node", 5), (WHOLE, 1)]
    assert shardings[-1].features == ("level", "pair_residual")
    assert not sharding_spec(with_factors(), shardings[0]).latent_factors
    whole = sharding_spec(with_factors(), shardings[-1])
    assert whole.latent_factors.keys() == {"level"}
    assert whole.history.keys.keys() == {"client", "node", "pair"}


@pytest.mark.parametrize("group", ["client", "node"])
def test_change_points_go_by_what_group_and_member_share(group):
    spec = with_change_points(group)
    sharding = next(sharding for sharding in plan_shardings(spec, 5) if "fresh" in sharding.features)
    assert (sharding.by, sharding.n_shards) == (group, 5)
    own = sharding_spec(spec, sharding)
    assert own.change_points == spec.change_points
    compile_features(own, {})


@pytest.mark.parametrize("by", ["client", "node", "request.isp", "node.isp", "request.kind", WHOLE])
def test_rows_of_one_owner_go_to_one_shard_whichever_rows_are_split_together(by):
    rows = telemetry(400)
    sharding = Sharding(by, (), 1 if by == WHOLE else 3)
    numbers = shard_numbers(rows, sharding)
    assert numbers.shape == (400,)
    assert set(numbers) <= set(range(sharding.n_shards))
    owner = {
        "client": rows.client,
        "node": rows.node,
        "request.isp": rows.clients.columns["isp"].codes[rows.client],
        "node.isp": rows.nodes.columns["isp"].codes[rows.node],
        "request.kind": rows.request["kind"].codes,
        WHOLE: np.zeros(400, int),
    }[by]
    for value in np.unique(owner):
        assert len(set(numbers[owner == value])) == 1


def test_a_shard_has_room_for_more_than_its_even_share():
    sharding = Sharding("client", ("pair_mean",), 4)
    spec = msgspec.structs.replace(SPEC, history=msgspec.structs.replace(SPEC.history, capacity=1_000))
    assert sharding_spec(spec, sharding).history.capacity == 375


def test_a_sharding_without_history_still_makes_a_spec():
    sharding = Sharding("client", ("same_isp",), 2)
    own = sharding_spec(SPEC, sharding)
    assert (len(own.history.keys), own.history.values) == (1, SPEC.history.values[:1])
    compile_features(own, find_vocabulary(telemetry(10), SPEC))


def test_residuals_are_never_what_a_sharding_without_factor_models_tracks():
    spec = with_factors()
    values = tuple(reversed(spec.history.values))
    spec = msgspec.structs.replace(spec, history=msgspec.structs.replace(spec.history, values=values))
    own = sharding_spec(spec, Sharding("client", ("same_isp",), 2))
    assert own.history.values == ("failed",)

"""Every feature operation against a plain twin on raw values."""

import math
import tomllib

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from scheduler.columns.id_table import IdTable
from scheduler.features.arrays import NODE, PAIR, REQUEST
from scheduler.features.kernels.learn import learn
from scheduler.features.kernels.operations import fill, fill_row
from scheduler.features.program import compile_features
from scheduler.history.kernels.outcome_values import track
from scheduler.history.store import new_history
from scheduler.runtime.great_circle import distance_km
from tests import models, twins

SPEC = models.spec(models.TRAINED)
PLAIN = tomllib.loads(models.TRAINED)
FEATURES = compile_features(SPEC, models.VOCABULARY)

ids = st.sampled_from([1, 2, "1", "box", -5])
isps = st.sampled_from([7, 8, "7", "mobile", "unheard of", None])
degrees = st.floats(-90, 90) | st.none()
tastes = st.lists(st.floats(-100, 100), min_size=3, max_size=3)
requests = st.fixed_dictionaries(
    {"id": ids, "kind": st.sampled_from(["live", "bulk", "new", None]), "isp": isps, "taste": tastes},
    optional={"kbps": st.floats(0, 1e300) | st.none(), "lat": degrees, "lon": degrees},
)
nodes = st.fixed_dictionaries(
    {"id": ids, "isp": isps, "taste": tastes},
    optional={
        "uplink": st.floats(0, 1e6) | st.none(),
        "load": st.floats(0, 1),
        "lat": degrees,
        "lon": degrees,
    },
)
values = st.tuples(*[st.floats(0, 20, width=32) | st.just(math.nan)] * 3, st.just(math.nan))
check_times = st.floats(0, 1e5)


def one(schema, raw):
    """The columns of a single request or node, as the library holds them."""
    table = IdTable(schema, "ids")
    table.upsert([raw["id"]], {name: [value] for name, value in raw.items() if name != "id"})
    return table.columns


def rows(request, node, history, now, features=FEATURES):
    out = np.empty(len(FEATURES.names), np.float32)
    fill_row(features.program, one(FEATURES.request, request), 0, one(FEATURES.node, node), 0, history, now, out)
    return out


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(requests, nodes, values, check_times), max_size=8), requests, nodes, check_times)
def test_a_row_equals_its_plain_twin_bit_for_bit(outcomes, request, node, now):
    history, twin = new_history(SPEC), twins.History(PLAIN)
    for asked, served, value, at in outcomes:
        x = np.array(value)
        program = FEATURES.program
        learn(program, one(FEATURES.request, asked), 0, one(FEATURES.node, served), 0, history, x, at)
        twin.train(asked, served, list(value))
        twin.learn(asked, served, list(value), at)
    features = compile_features(SPEC, models.VOCABULARY, models.means(twin))
    expected = twins.row(PLAIN, twins.Asked(request, node, twin, now), twins.codes_of(models.VOCABULARY))
    with np.errstate(over="ignore"):
        found = rows(request, node, history, now, features)
    np.testing.assert_array_equal(found, expected)


def test_without_columns_or_history_only_the_clock_is_known():
    row = rows({"id": 1}, {"id": 1}, new_history(SPEC), 150.0)
    assert dict(zip(FEATURES.names, row.tolist(), strict=True))["minute"] == 0.25
    assert np.isnan(np.delete(row, FEATURES.names.index("minute"))).all()


def test_owners_say_what_a_feature_follows():
    owners = {0: "request", 1: "node", 2: "pair"}
    assert (REQUEST, NODE, PAIR) == (0, 1, 2)
    assert {name: owners[o] for name, o in zip(FEATURES.names, FEATURES.owners.tolist(), strict=True)} == {
        "kind": "request",
        "kbps": "request",
        "minute": "request",
        "client_mean": "request",
        "node_isp": "node",
        "load": "node",
        "node_mean": "node",
        "node_spread": "node",
        "node_last": "node",
        "node_count": "pair",  # fades while the node is silent
        "node_age": "pair",
        "same_isp": "pair",
        "spare": "pair",
        "km": "pair",
        "match": "pair",
        "pair_failed": "pair",
        "carriers_speed": "pair",
        "kind_age": "pair",
        "expected": "pair",
        "expected_speed": "pair",
        "client_bias": "request",
        "node_bias": "pair",  # its fast part fades while the node is silent
        "fit": "pair",
        "shrunk": "pair",
        "shrunk_fast": "pair",
        "shrunk_client": "request",
        "trained": "pair",
        "trained_client": "request",
        "node_excess": "node",
        "fresh": "pair",
        "regime_age": "request",
        "regime_ended": "request",
        "carrier_fresh": "pair",
        "carrier_age": "pair",
    }


def test_each_feature_has_one_owner_and_stands_in_feature_order():
    program = FEATURES.program
    together = np.concatenate([program.request, program.node, program.pair])
    assert sorted(together.tolist()) == list(range(len(FEATURES.names)))
    for part in (program.request, program.node, program.pair):
        assert part.tolist() == sorted(part.tolist())


@pytest.mark.slow
def test_features_of_one_owner_side_by_side_are_those_of_the_row():
    request = {"id": 1, "kind": "bulk", "isp": 7, "kbps": 100.0, "taste": [1.0, 2.0, 3.0]}
    node = {"id": "a", "isp": "mobile", "load": 0.5, "uplink": 300.0, "taste": [1.0, 0.0, 1.0]}
    history = new_history(SPEC)
    row = rows(request, node, history, 60.0)
    for owned in (FEATURES.program.request, FEATURES.program.node, FEATURES.program.pair):
        out = np.empty(owned.size, np.float32)
        asked, served = one(FEATURES.request, request), one(FEATURES.node, node)
        fill(FEATURES.program, owned, False, asked, 0, served, 0, history, 60.0, out)  # noqa: FBT003
        np.testing.assert_array_equal(out, row[owned])


def test_categorical_features_are_named_by_place():
    assert [FEATURES.names[f] for f in FEATURES.categorical] == ["kind", "node_isp"]


@pytest.mark.parametrize(
    ("a", "b", "km"),
    [
        ((52.5200, 13.4050), (48.8566, 2.3522), 877.5),  # Berlin to Paris
        ((40.6413, -73.7781), (51.4700, -0.4543), 5540.0),  # New York JFK to London Heathrow
        ((0, 0), (0, 180), math.pi * 6371.0088),
        ((90, 0), (-90, 77), math.pi * 6371.0088),
        ((0, 179.5), (0, -179.5), math.pi * 6371.0088 / 180),
        ((12.3, 45.6), (12.3, 45.6), 0),
    ],
)
def test_known_distances(a, b, km):
    assert distance_km(*map(float, a), *map(float, b)) == pytest.approx(km, rel=1e-3)


@given(st.tuples(*[st.floats(-90, 90), st.floats(-180, 180)] * 2))
def test_distance_is_symmetric_and_at_most_half_the_equator(places):
    a, b = places[:2], places[2:]
    assert distance_km(*a, *b) == pytest.approx(distance_km(*b, *a))
    assert 0 <= distance_km(*a, *b) <= math.pi * 6371.01


@pytest.mark.parametrize("missing", range(4))
def test_a_distance_to_nowhere_is_missing(missing):
    places = [1.0, 2.0, 3.0, 4.0]
    places[missing] = math.nan
    assert math.isnan(distance_km(*places))


@given(st.lists(st.floats(width=32), min_size=1))
def test_tracked_values_are_outcomes_or_their_logarithm(outcomes):
    column = np.array(outcomes, np.float32)[:, None]
    out = np.empty((len(outcomes), 2), np.float32)
    track(np.zeros(2, np.int32), np.array([False, True]), column, out)
    np.testing.assert_array_equal(out[:, 0], column[:, 0])
    expected = [math.log1p(x) if x > -1 else math.nan for x in outcomes]
    np.testing.assert_array_equal(out[:, 1], np.array(expected, np.float32))


def shrunk(outcomes, now, client=1):
    """The mean of rtt under pair, kind x node and node, from outcomes of (client, kind, value) of one node."""
    history = new_history(SPEC)
    node = one(FEATURES.node, {"id": "box"})
    asked = {(who, kind) for who, kind, _ in outcomes}
    requests = {(who, kind): one(FEATURES.request, {"id": who, "kind": kind}) for who, kind in asked}
    for who, kind, value in outcomes:
        x = np.array([value, 0.0, math.nan, math.nan])
        learn(FEATURES.program, requests[who, kind], 0, node, 0, history, x, 0.0)
    return rows({"id": client, "kind": "live"}, {"id": "box"}, history, now)[FEATURES.names.index("shrunk")]


def test_a_new_client_starts_from_its_group_and_a_known_one_leaves_it():
    others = [(2, "live", 4.0)] * 1_000 + [(2, "bulk", 8.0)] * 1_000
    assert math.isnan(shrunk([], 0.0))
    assert shrunk([(2, "bulk", 8.0)], 0.0) == 8
    assert shrunk(others, 0.0) == pytest.approx(4, abs=0.02)
    few, many = (shrunk(others + [(1, "live", 2.0)] * n, 0.0) for n in (5, 500))
    assert few == pytest.approx(3, abs=0.02)  # five outcomes against a strength of five
    assert many == pytest.approx(2, abs=0.05)


def test_what_was_not_seen_for_long_gives_way_to_its_group():
    outcomes = [(2, "live", 4.0)] * 1_000 + [(1, "live", 2.0)] * 20
    assert shrunk(outcomes, 0.0) < 2.5
    assert 3.5 < shrunk(outcomes, 6 * 3600.0) < 4

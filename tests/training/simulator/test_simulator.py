"""The made-up fleet: the same for all policies, realistic enough, and beatable."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from scheduler.spec import load_spec
from training.simulator import RULES, START, Requests, RulePile, World, batches, write_telemetry
from training.simulator.fleet import evening
from training.simulator.noise import drift, normal, uniform
from training.telemetry import read_telemetry

HOUR = 3600.0
SPEC = load_spec(Path(__file__).resolve().parents[3] / "models" / "specs" / "demo.toml")


@pytest.fixture(scope="module")
def world():
    return World(0)


@pytest.fixture(scope="module")
def demo(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    write_telemetry(world, folder, hours=24, requests=20_000)
    return folder


@pytest.fixture(scope="module")
def evaluation(world):
    times = START + 24 * HOUR + np.arange(48) * HOUR / 2
    return list(batches(world, SPEC, times, requests=100, seed=1))


def test_noise_is_uniform_and_normal_and_does_not_depend_on_company():
    draws = uniform(7, np.arange(100_000))
    assert draws.min() >= 0
    assert draws.max() < 1
    assert abs(draws.mean() - 0.5) < 5 * np.sqrt(1 / 12 / 1e5)
    values = normal(7, np.arange(100_000.0))
    assert abs(values.mean()) < 5 / np.sqrt(1e5)
    assert abs(values.std() - 1) < 5 / np.sqrt(2e5)
    assert uniform(7, 41)[0] == draws[41]


def test_drift_is_continuous():
    who, time = np.zeros(1001, np.int64), np.linspace(0, 10, 1001)
    assert np.abs(np.diff(drift(1, who, time, 1.0))).max() < 0.1


def test_evening_peaks_at_its_hour_every_day():
    assert evening(np.array([20.0, 44.0]) * HOUR, 20.0).tolist() == [1, 1]
    assert evening(np.array([8.0]) * HOUR, 20.0)[0] < 1e-6


def test_an_outcome_is_a_function_of_the_request_and_the_node(world):
    asked = world.requests(50, START, START + HOUR, seed=3)
    nodes = world.candidates(asked, 20)
    together = world.outcomes(asked, nodes)
    again = World(0).outcomes(asked.part(10, 11), nodes[10:11, ::-1])
    for name, values in together.items():
        np.testing.assert_array_equal(values[10, ::-1], again[name][0])
    other = World(1).outcomes(asked, nodes)
    assert not np.array_equal(together["ok"], other["ok"])


def test_outcomes_are_there_where_they_should_be(world):
    asked = world.requests(2_000, START, START + 24 * HOUR, seed=3)
    found = world.outcomes(asked, world.candidates(asked, 20))
    ok = found["ok"]
    np.testing.assert_array_equal(np.isnan(found["latency_ms"]), ~ok)
    np.testing.assert_array_equal(np.isnan(found["throughput_kbps"]), ~ok)
    np.testing.assert_array_equal(np.isnan(found["fail_ms"]), ok)
    assert found["latency_ms"][ok].min() > 0
    assert 0.03 < 1 - ok.mean() < 0.2


def test_crossing_carriers_hurts_at_the_evening_peak(world):
    north = np.flatnonzero(world.clients.columns["isp"].codes == 2)[:1].astype(np.int32)
    south = np.flatnonzero(world.nodes.columns["isp"].codes == 3)
    noon, peak = (
        world.outcomes(one_request(START + hour * HOUR, north), south[None, :])["latency_ms"] for hour in (12, 20.5)
    )
    assert np.nanmedian(peak) > np.nanmedian(noon) + 80


def one_request(time, client):
    zero = np.zeros(1, np.int32)
    return Requests(np.array([time]), client, zero + 1, np.array([1000.0]), zero, zero)


def test_candidates_are_distinct_holders(world):
    asked = world.requests(200, START, START + HOUR, seed=3)
    nodes = np.sort(world.candidates(asked, 32), axis=1)
    assert nodes.shape == (200, 32)
    assert (np.diff(nodes, axis=1) > 0).all()


def test_requests_are_sorted_and_peak_in_the_evening(world):
    asked = world.requests(20_000, START, START + 48 * HOUR, seed=3)
    assert (np.diff(asked.time) >= 0).all()
    by_hour = np.bincount((asked.time / HOUR % 24).astype(int), minlength=24)
    assert by_hour.argmax() in (19, 20)
    assert by_hour.max() > 2 * by_hour.min()


def test_reported_load_lags_and_stays_in_range(world):
    loads = [world.reported_load(START + 20 * HOUR + s) for s in (0, 10, 400)]
    assert all(((load >= 0) & (load <= 1)).all() for load in loads)
    assert (loads[0] == loads[1]).mean() > 0.9
    assert (loads[0] == loads[2]).mean() < 0.7


@pytest.mark.slow
def test_telemetry_is_accepted_whole_by_the_demo_spec(demo):
    got = read_telemetry(demo, SPEC)
    assert got.rejected == {}
    assert len(got) == 20_000
    assert (got.slice.min(), got.slice.max()) == (0, 95)
    assert set(got.request) == set(SPEC.request_columns("telemetry"))
    assert set(got.node_state) == {"load"}
    assert not np.isnan(got.node_state["load"]).any()


def test_telemetry_holds_the_worlds_own_outcomes(demo, world):
    frame = pl.read_parquet(demo / "telemetry.parquet")
    asked = world.requests(20_000, START, START + 24 * HOUR, seed=0)
    found = world.outcomes(asked, frame["node_id"].to_numpy()[:, None] - world.nodes.ids[0])
    np.testing.assert_array_equal(found["ok"][:, 0], frame["ok"].to_numpy())
    np.testing.assert_array_equal(found["latency_ms"][:, 0], frame["latency_ms"].fill_null(float("nan")).to_numpy())


@pytest.mark.slow
def test_telemetry_is_the_same_for_the_same_seed(demo, world, tmp_path):
    write_telemetry(world, tmp_path, hours=24, requests=20_000)
    for name in ("telemetry", "nodes", "clients"):
        assert pl.read_parquet(tmp_path / f"{name}.parquet").equals(pl.read_parquet(demo / f"{name}.parquet"))


def test_batches_offer_every_policy_the_same(evaluation, world):
    times = [r.time for r in evaluation]
    again = list(batches(world, SPEC, times, requests=100, seed=1))
    for one, other in zip(evaluation, again, strict=True):
        np.testing.assert_array_equal(one.candidates, other.candidates)
        np.testing.assert_array_equal(one.cost, other.cost)


def test_batches_have_the_shapes_and_types_of_measured_ones(evaluation, world):
    for r in evaluation:
        assert r.candidates.shape == r.ok.shape == r.cost.shape == r.arrival.shape == (100, 20)
        assert (r.candidates.dtype, r.client.dtype, r.cost.dtype) == (np.int32, np.int32, np.float32)
        assert set(r.outcomes) == set(SPEC.outcomes)
        assert set(r.request) == set(SPEC.request_columns("telemetry"))
        assert r.node_state["load"].shape == (len(world.nodes),)
        assert (r.cost[~r.ok] == SPEC.cost.failure).all()
        assert (r.arrival > r.time).all()


def test_the_rules_are_decent_but_beatable(evaluation, world):
    pile, picked, random, best = RulePile(world), [], [], []
    for r in evaluation:
        asked = Requests(
            np.full(100, r.time),
            r.client,
            r.request["workload"].codes,
            r.request["bitrate_kbps"],
            r.request["customer"].codes,
            np.zeros(100, np.int32),
        )
        row = np.arange(100)
        place = pile.pick(asked, r.candidates, r.node_state["load"])
        pile.observe(r.candidates[row, place], r.ok[row, place], r.time)
        picked.append(r.cost[row, place].mean())
        random.append(r.cost.mean())
        best.append(r.cost.min(axis=1).mean())
    gap_closed = (np.mean(random) - np.mean(picked)) / (np.mean(random) - np.mean(best))
    assert 0.3 < gap_closed < 0.7


def test_a_node_that_keeps_failing_is_blacklisted_until_forgotten(world):
    pile, load = RulePile(world), np.zeros(len(world.nodes))
    asked = one_request(START, np.zeros(1, np.int32))
    nodes = world.candidates(asked, 20)
    first = nodes[:, pile.pick(asked, nodes, load)[0]]
    pile.observe(np.repeat(first, 3), np.zeros(3, np.bool_), START)
    assert nodes[0, pile.pick(asked, nodes, load)[0]] != first[0]
    pile.observe(first[:0], np.zeros(0, np.bool_), START + 24 * HOUR)
    assert nodes[0, pile.pick(asked, nodes, load)[0]] == first[0]


def test_every_rule_makes_a_difference_somewhere(world):
    asked = world.requests(5_000, START, START + 24 * HOUR, seed=3)
    nodes, load = world.candidates(asked, 20), world.reported_load(START + 20 * HOUR)
    pile = RulePile(world)
    pile.observe(np.repeat(np.arange(600), 3)[:900], np.zeros(900, np.bool_), START)
    sight = pile.sight(asked, nodes, load)
    for name, rule in RULES.items():
        points = np.broadcast_to(rule(sight), nodes.shape)
        assert points.min() < points.max(), name

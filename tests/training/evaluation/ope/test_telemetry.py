"""Telemetry with propensities, judged for a model whose cost on the same requests is known."""

import dataclasses

import msgspec
import numpy as np
import pytest

from scheduler import Model
from scheduler.errors import DataError
from tests.small_world import write_logged
from training.evaluation.ope.evaluate import evaluate_off_policy
from training.evaluation.ope.telemetry import decisions_of_telemetry, replayed, unreserved, weigh
from training.policies import Learned, Setting
from training.simulator import Requests, World
from training.telemetry import read_telemetry

pytestmark = pytest.mark.slow

START = 12


@pytest.fixture(scope="module")
def logged(trained, tmp_path_factory):
    """Return telemetry of uniform draws, and what makes the model behind a policy that has seen nothing."""
    folder = tmp_path_factory.mktemp("logged")
    write_logged(folder)
    spec = trained.world.spec
    spec = msgspec.structs.replace(spec, telemetry=msgspec.structs.replace(spec.telemetry, propensity="propensity"))
    telemetry = read_telemetry(folder, spec)
    model = Model.load(trained.artifact)

    def policy(asked=None):
        return Learned(Setting(asked or unreserved(spec), telemetry.clients, telemetry.nodes, 0), model)

    return telemetry, policy


def true_cost(telemetry, policy):
    """Return the mean cost of what the policy picks for the logged requests; every outcome of that fleet is known."""
    world, costs = World(1, n_nodes=20, n_clients=40), []
    for rows, question, _ in replayed(telemetry, [policy], START, 1):
        node = np.take_along_axis(question.candidates, policy.pick(question)[:, None], axis=1)
        columns = (telemetry.request[name] for name in ("workload", "bitrate_kbps", "customer"))
        workload, bitrate, customer = columns
        asked = Requests(
            np.round(telemetry.time[rows], 3),
            telemetry.client[rows],
            np.array([("download", "live", "vod").index(workload.values[c]) for c in workload.codes[rows]], np.int32),
            bitrate[rows],
            customer.codes[rows],
            np.zeros(rows.size, np.int32),
        )
        found = world.outcomes(asked, node)
        costs.append(np.where(found["ok"], found["latency_ms"], 4_000.0)[:, 0])
    return float(np.concatenate(costs).mean())


def test_the_cost_of_the_model_lies_within_the_intervals_estimated_from_the_log(logged):
    telemetry, policy = logged
    decisions = decisions_of_telemetry(telemetry, policy(), START, 1)
    truth, found = true_cost(telemetry, policy()), evaluate_off_policy(decisions)
    assert found.refused is None
    for name in ("ips", "snips", "dr", "switch_dr"):
        assert found.estimates[name].low < truth < found.estimates[name].high, name
    assert found.logged.value == pytest.approx(decisions.cost.mean())


@pytest.mark.parametrize("requests", [1, 5])
def test_no_request_is_left_to_the_origin_because_others_of_its_moment_hold_the_uplinks(logged, requests):
    telemetry, policy = logged
    assert policy().scheduler.state.spec.ledger is None
    found = decisions_of_telemetry(telemetry, policy(), 40, requests)
    assert (found.left_out, found.cost.size) == ({}, (telemetry.slice >= 40).sum())


def test_what_the_model_leaves_to_the_origin_is_left_out_and_counted(logged, trained):
    telemetry, policy = logged
    spec = trained.world.spec
    assert spec.ledger is not None
    full, free = (decisions_of_telemetry(telemetry, policy(one), 40, 1) for one in (spec, unreserved(spec)))
    n_left = full.left_out["no node was chosen"]
    assert 0 < n_left == free.cost.size - full.cost.size
    weight = weigh(telemetry, {"one": policy(spec)}, 40, 1).weight["one"]
    assert (weight > 0.0).sum() == (full.target == 1.0).sum()


def test_the_features_of_both_choices_are_those_of_the_scheduler(logged):
    telemetry, policy = logged
    found = decisions_of_telemetry(telemetry, policy(), 40, 1)
    n = found.cost.size
    assert found.candidates.x.shape == (2 * n, len(policy().scheduler.model.features.names))
    assert found.candidates.target.reshape(n, 2).sum(axis=1).tolist() == [1.0] * n
    meets = found.target == 1.0
    assert 0.0 < meets.mean() < 0.2
    assert (found.candidates.target[::2] == found.target).all()
    assert np.isnan(found.candidates.x[1::2][meets]).all()
    assert not np.isnan(found.candidates.x[::2]).all(axis=1).any()


def test_telemetry_without_propensities_is_refused(logged):
    telemetry, policy = logged
    for propensity, message in (
        (None, r"expected telemetry\.propensity in the spec, or --propensity COLUMN, found none"),
        (np.full(len(telemetry), np.nan), "expected rows with a propensity from slice 12 on, found none"),
    ):
        bare = dataclasses.replace(telemetry, propensity=propensity)
        with pytest.raises(DataError, match=message):
            decisions_of_telemetry(bare, policy(), START, 1)

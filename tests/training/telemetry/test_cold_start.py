"""Cold start: who is shares out, that training never meets them, and that nobody knows them when decisions begin."""

import numpy as np
import pytest

from scheduler.errors import DataError, InputError
from tests import evaluation_world as world
from training.evaluation.evaluate import evaluate
from training.evaluation.measured_requests import measured_requests
from training.features.vocabulary import find_vocabulary
from training.pipeline.train import read_window
from training.policies import baselines
from training.telemetry.cold_start import COLD_SIDES, ColdShares, cold_rows, cold_start, is_cold, without_cold

MOST = ColdShares(nodes=0.75, clients=0.4)
"""Three of the six nodes and three of the four clients."""


@pytest.fixture(scope="module")
def telemetry():
    return world.telemetry(3_000)


def cold_ids(side, table):
    return set(table.ids[is_cold(table.ids, side, getattr(MOST, side))].tolist())


def test_about_the_share_is_cold_and_a_larger_share_holds_the_smaller():
    ids = np.arange(20_000)
    small, large = (is_cold(ids, "nodes", share) for share in (0.2, 0.3))
    assert small.mean() == pytest.approx(0.2, abs=0.01)
    assert large[small].all()
    assert not is_cold(ids, "nodes", 0.0).any()


def test_who_is_cold_depends_on_the_id_alone():
    ids = np.array(["a", "b", "c", "d", "e", "f"], dtype=object)
    np.testing.assert_array_equal(is_cold(ids, "nodes", 0.5)[2:], is_cold(ids[2:], "nodes", 0.5))


def test_who_is_cold_never_changes():
    """Models on disk were trained without them."""
    numbers, letters = np.arange(60), np.array(list("abcdefghijklmnopqrstuvwxyz"), dtype=object)
    assert np.flatnonzero(is_cold(numbers, "nodes", 0.2)).tolist() == [0, 3, 16, 21, 27, 29, 41, 42, 49, 50, 53]
    assert np.flatnonzero(is_cold(numbers, "clients", 0.2)).tolist() == [0, 4, 8, 12, 17, 18, 24, 42, 44, 51, 53]
    assert "".join(letters[is_cold(letters, "nodes", 0.2)]) == "ejmnps"
    assert "".join(letters[is_cold(letters, "clients", 0.2)]) == "klt"
    huge = np.array([2**63 - 1, 2**63, 2**63 + 1, 2**64 - 2, 2**64 - 1], np.uint64)
    assert is_cold(huge, "nodes", 0.5).tolist() == [True, False, False, True, False]


def test_a_device_that_is_client_and_node_is_left_out_of_each_by_itself():
    ids = np.arange(20_000)
    both = is_cold(ids, "nodes", 0.2) & is_cold(ids, "clients", 0.2)
    assert both.mean() == pytest.approx(0.04, abs=0.01)


def test_what_is_cold_is_in_no_row_no_table_and_no_vocabulary(telemetry):
    rest = without_cold(telemetry, MOST)
    for side, table, was in (("nodes", rest.nodes, telemetry.nodes), ("clients", rest.clients, telemetry.clients)):
        assert 0 < len(table) < len(was)
        assert not cold_ids(side, was) & set(table.ids.tolist())
    red = telemetry.nodes.columns["isp"].raw()
    left = [isp for isp, cold in zip(red, is_cold(telemetry.nodes.ids, "nodes", MOST.nodes), strict=True) if not cold]
    assert set(find_vocabulary(rest, world.SPEC)["node.isp"]) == {isp for isp in left if isp is not None}


def test_the_rows_that_stay_are_the_same_as_before(telemetry):
    rest = without_cold(telemetry, MOST)
    cold = cold_rows(telemetry, MOST)
    keep = ~(cold["nodes"] | cold["clients"])
    np.testing.assert_array_equal(rest.nodes.ids[rest.node], telemetry.nodes.ids[telemetry.node[keep]])
    np.testing.assert_array_equal(rest.clients.ids[rest.client], telemetry.clients.ids[telemetry.client[keep]])
    np.testing.assert_array_equal(rest.outcomes["cost"], telemetry.outcomes["cost"][keep])
    assert len(rest.request["kind"].codes) == len(rest.node_state["load"]) == len(rest)


def test_the_window_tells_what_was_left_out_and_counts_it_as_no_rejected_row(telemetry):
    window = read_window(without_cold(telemetry, ColdShares(nodes=0.5)))
    assert window["cold_nodes"] == 0.5
    assert "cold_clients" not in window
    assert window["rejected"] == 0
    assert ColdShares.of(window) == ColdShares(nodes=0.5)
    assert ColdShares.of({"held_out_nodes": 0.5}) == ColdShares(nodes=0.5)  # a manifest of a format before 4
    assert without_cold(telemetry, ColdShares()) is telemetry


@pytest.mark.parametrize("shares", [ColdShares(nodes=1.0), ColdShares(clients=-0.1), ColdShares(nodes=float("nan"))])
def test_a_share_out_of_range_is_refused(telemetry, shares):
    with pytest.raises(InputError, match="expected a share from 0 to below 1"):
        without_cold(telemetry, shares)


def test_leaving_out_everything_is_an_error(telemetry):
    with pytest.raises(
        DataError, match=r"expected rows besides those of cold nodes .share 0.9999. and cold clients .share 0.,"
    ):
        without_cold(telemetry, ColdShares(nodes=0.9999))


@pytest.mark.parametrize("side", COLD_SIDES)
def test_decisions_are_among_the_cold_and_nobody_has_met_them(telemetry, side):
    known, among = cold_start(telemetry, MOST, side, 30)
    before = known.where(known.slice < 30)
    cold = {
        "nodes": is_cold(known.nodes.ids, "nodes", MOST.nodes),
        "clients": is_cold(known.clients.ids, "clients", MOST.clients),
    }
    assert len(before)
    assert not cold["nodes"][before.node].any()
    assert not cold["clients"][before.client].any()
    batches = list(measured_requests(known, world.SPEC, start=30, requests=1, candidates=3, seed=0, among=among))
    clients = np.concatenate([one.client for one in batches])
    nodes = np.concatenate([one.candidates[one.candidates >= 0] for one in batches])
    assert cold["clients"][clients].all() == (side != "nodes")
    assert cold["nodes"][nodes].all() == (side != "clients")


@pytest.mark.slow
def test_policies_learn_the_cold_from_their_picks(telemetry):
    known, among = cold_start(telemetry.where(telemetry.ok), MOST, "nodes", 10)
    batches = measured_requests(known, world.SPEC, start=10, requests=5, candidates=3, seed=0, among=among)
    policies = baselines(world.setting(), without=["vowpal_wabbit"])
    scores = evaluate(batches, policies, world.SPEC, known.where(known.slice < 10)).policies
    assert scores["node_average"].gap_closed > 0.3


@pytest.mark.parametrize(
    ("shares", "side", "message"),
    [
        (ColdShares(), "nodes", "cold: expected a model whose training left nodes out .*--cold-nodes.* trained on all"),
        (ColdShares(nodes=0.5), "both", "expected a model whose training left clients out"),
        (MOST, "all", "cold: expected one of clients, nodes, both, found 'all'"),
    ],
)
def test_a_side_that_the_model_has_met_is_refused(telemetry, shares, side, message):
    with pytest.raises(InputError, match=message):
        cold_start(telemetry, shares, side, 30)

"""Records as logged decisions: the policy that decided has the propensities that were recorded."""

import msgspec
import numpy as np
import polars as pl
import pytest

from scheduler import InputError
from scheduler.errors import DataError
from scheduler.policy.compile import with_policy
from scheduler.spec import COST, Policy, Utility
from tests import models
from tests.schedulers import LEDGER, OK, new
from training.evaluation.ope.records import EARLIER, SEEN, STILL_OPEN, decisions_of_records, is_records
from training.telemetry import read_telemetry
from training.telemetry.records.dataset import write_dataset

pytestmark = pytest.mark.slow

HEADS = {"latency": -1.0, "failure": -100.0}
UTILITY = Utility(heads=HEADS)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return models.load_small(tmp_path_factory)


def record(sched, folder, *, n=60, kbps=0, first=0.0):
    """Decide and observe with everything recorded; a last decision is still open, so that no other one is."""
    recorder = sched.record(folder, full=1.0, every=60.0)
    for t in range(n):
        d = sched.decide({"client_id": [17, "tv"][t % 2], "kind": "live", "kbps": kbps}, now=first + 100.0 * t)
        for node in d.nodes:
            sched.observe(d.id, {"ok": True, "rtt_ms": 10.0 + t, "speed": 5.0}, now=first + 100.0 * t, node=node)
    sched.decide({"client_id": 17}, now=first + 100.0 * n)
    recorder.stop()
    return folder


def test_the_policy_that_decided_draws_as_it_did(model, tmp_path):
    sched = new(model, utility=UTILITY, policy=Policy(explore="epsilon", epsilon=0.5))
    folder = record(sched, tmp_path / "records")
    assert is_records(folder)
    assert not is_records(tmp_path)
    found = decisions_of_records(folder, sched.model)
    assert found.cost.size == 60
    assert len(np.unique(found.propensity)) > 1
    assert found.target == pytest.approx(found.propensity)
    assert sorted(np.bincount(found.client)) == [30, 30]
    assert found.candidates.target[found.candidates.chosen] == pytest.approx(found.propensity)
    decision = np.repeat(np.arange(60), np.diff(found.candidates.begin))
    assert np.bincount(decision, found.candidates.target) == pytest.approx(np.ones(60))
    assert found.cost[0] == pytest.approx(10.0)


def test_a_slate_has_the_probability_of_its_first_node_where_the_others_are_the_same(model, tmp_path):
    policy = Policy(explore="epsilon", epsilon=0.5, max_nodes=2)
    sched = new(model, utility=UTILITY, policy=policy, ledger=LEDGER)
    folder = record(sched, tmp_path / "records", kbps=4_500)
    found = decisions_of_records(folder, sched.model)
    assert found.candidates is None  # some slates have two nodes
    assert found.target == pytest.approx(found.propensity)
    assert len(np.unique(found.propensity)) > 1
    turned = msgspec.structs.replace(sched.model.spec, utility=Utility(heads={"latency": 1.0, "failure": 100.0}))
    other = decisions_of_records(folder, with_policy(sched.model, turned))
    assert (other.target == 0.0).any()
    assert (other.target > 0.0).any()


def test_another_policy_has_its_own_probabilities(model, tmp_path):
    sched = new(model, utility=UTILITY, policy=Policy(explore="epsilon", epsilon=0.5))
    folder = record(sched, tmp_path / "records")
    greedy = with_policy(sched.model, msgspec.structs.replace(sched.model.spec, policy=Policy()))
    found = decisions_of_records(folder, greedy)
    assert set(found.target) == {0.0, 1.0}
    assert (found.target == 1.0).sum() == (found.propensity > 0.4).sum()
    late = decisions_of_records(folder, greedy, start=int(found.slice.max()))
    assert 0 < late.cost.size < found.cost.size


def test_records_without_outcomes_and_of_other_features_are_refused(model, tmp_path):
    sched = new(model, utility=UTILITY)
    folder = record(sched, tmp_path / "records", n=0)
    with pytest.raises(DataError, match="expected decisions that were recorded in full and have an outcome"):
        decisions_of_records(folder, sched.model)
    features = dict(list(model.spec.features.items())[:-1])
    other = msgspec.structs.replace(model.spec, features=features)
    object.__setattr__(changed := with_policy(model, model.spec), "spec", other)
    with pytest.raises(InputError, match="expected the fingerprint of"):
        decisions_of_records(folder, changed)


def test_nodes_that_do_not_answer_cost_what_they_cost_in_a_dataset_of_the_records(model, tmp_path):
    sched = new(model, utility=UTILITY, policy=Policy(explore="epsilon", epsilon=0.5))
    sched.fleet.remove(["box", "1"])
    recorder = sched.record(tmp_path / "records", full=1.0, every=1e5)
    made = [sched.decide({"client_id": 17}, now=now) for now in (1_000.0, 1_001.0, 1_002.0, 1_100.0)]
    sched.observe(made[0].id, OK, now=1_003.0, node=made[0].nodes[0])
    recorder.flush()
    sched.observe(made[1].id, OK, now=1_101.0, node=made[1].nodes[0])
    recorder.stop()
    found = decisions_of_records(tmp_path / "records", sched.model)
    assert found.cost.tolist() == [30.0, 30.0, 1_000.0]
    assert found.left_out == {STILL_OPEN: 1}
    assert write_dataset(tmp_path / "records", tmp_path / "out").timeouts == 1
    telemetry = read_telemetry(tmp_path / "out", model.spec)
    assert telemetry.outcomes[COST].tolist() == found.cost.tolist()


def test_of_the_last_window_fast_answers_do_not_count_either(model, tmp_path):
    sched = new(model, utility=UTILITY, policy=Policy(explore="epsilon", epsilon=0.5))
    recorder = sched.record(tmp_path / "records", full=1.0, every=1e5)
    for now in (1_000.0, 1_100.0, 1_101.0, 1_102.0):
        made = sched.decide({"client_id": 17}, now=now)
        if now != 1_101.0:
            sched.observe(made.id, OK, now=now, node=made.nodes[0])
    recorder.stop()
    found = decisions_of_records(tmp_path / "records", sched.model)
    assert found.cost.tolist() == [30.0]
    assert found.left_out == {STILL_OPEN: 3}


def test_a_slate_is_left_out_until_all_its_nodes_are_known(model, tmp_path):
    sched = new(model, utility=UTILITY, policy=Policy(max_nodes=2), ledger=LEDGER)
    recorder = sched.record(tmp_path / "records", full=1.0, every=1e5)
    made = [sched.decide({"client_id": 17, "kbps": 4_500}, now=now) for now in (1_000.0, 1_100.0)]
    assert [len(one.nodes) for one in made] == [2, 2]
    for one, now in zip(made, (1_001.0, 1_101.0), strict=True):
        sched.observe(one.id, OK, now=now, node=one.nodes[0])
    recorder.stop()
    found = decisions_of_records(tmp_path / "records", sched.model)
    assert found.cost.tolist() == [0.5 * (30.0 + 1_000.0)]
    assert found.left_out == {STILL_OPEN: 1}


def test_slices_are_those_of_a_dataset_of_the_records(model, tmp_path):
    sched = new(model, utility=UTILITY, policy=Policy(explore="epsilon", epsilon=0.5))
    sched.fleet.remove(["1"])  # no table can hold it beside 1
    folder = record(sched, tmp_path / "records", first=1.7e9)
    write_dataset(folder, tmp_path / "out")
    slices = pl.read_parquet(tmp_path / "out" / "telemetry.parquet")["slice"]
    found = decisions_of_records(folder, sched.model)
    assert found.slice.tolist() == slices.to_list()
    half = decisions_of_records(folder, sched.model, start=slices[30])
    assert (half.cost.size, half.left_out) == (30, {EARLIER: 30, STILL_OPEN: 1})


def test_decisions_before_a_time_are_left_out_as_seen(model, tmp_path):
    sched = new(model, utility=UTILITY)
    folder = record(sched, tmp_path / "records", n=10)
    found = decisions_of_records(folder, sched.model, since=700.0)
    assert (found.cost.tolist(), found.left_out) == ([17.0, 18.0, 19.0], {SEEN: 7, STILL_OPEN: 1})
    with pytest.raises(DataError, match=f"found 11 left out: {SEEN}"):
        decisions_of_records(folder, sched.model, since=1e9)

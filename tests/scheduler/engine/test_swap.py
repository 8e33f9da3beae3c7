"""Arms over one state: another model takes over between two decisions, and nothing that was learned is lost."""

import dataclasses
import threading

import numpy as np
import pytest

from scheduler import InputError, Model, Scheduler
from scheduler.spec import Candidates, Policy
from tests import models
from tests.schedulers import COLUMNS, IDS, LEDGER, OK, new


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Another model of the same features, with other trees and another vocabulary."""
    folder = tmp_path_factory.mktemp("other") / "small"
    turned = {name: list(reversed(values)) for name, values in models.VOCABULARY.items()}
    return Model.load(models.write_small(folder, seed=9, vocabulary=turned))


def rows(arm):
    return arm.arrays.content.node_rows


def fresh_rows(sched, arm):
    """The rows of an arm that is prepared now."""
    found = sched.prepare(arm.model)
    made = rows(found)[sched.fleet.slots()].copy()
    sched.release(found)
    return made


def taught(model, **parts):
    sched = new(model, ledger=LEDGER, **parts)
    for i in range(20):
        d = sched.decide({"client_id": 17, "kbps": 500.0}, IDS[: 1 + i % 5], now=float(i))
        sched.observe(d.id, OK, now=i + 0.5, node=d.nodes[0])
    return sched


def test_another_model_decides_over_the_same_history(model, other):
    sched = taught(model)
    expected = sched.features({"client_id": [17]}, [IDS], now=30.0)
    alone = Scheduler(models.changed(other, ledger=LEDGER), first_id=0)
    assert alone.model.version != sched.model.version
    earlier = sched.swap(models.changed(other, ledger=LEDGER))
    assert earlier.model.version == model.version
    d = sched.decide({"client_id": 17, "kbps": 500.0}, now=30.0)
    assert d.model_version == other.version
    known = sched.features({"client_id": [17]}, [IDS], now=30.0)
    categorical = set(other.features.categorical)
    same = [f for f in range(known.shape[2]) if f not in categorical]
    np.testing.assert_array_equal(known[:, :, same], expected[:, :, same])


def test_an_outcome_of_a_decision_before_the_swap_teaches_after_it(model, other):
    sched = taught(model)
    open_ = sched.decide({"client_id": 17, "kbps": 500.0}, [1], now=30.0)
    reserved = sched.fleet.arrays.reserved.sum()
    assert reserved > 0
    sched.swap(models.changed(other, ledger=LEDGER))
    before = sched.counters()["outcomes"]
    sched.observe(open_.id, OK, now=31.0)
    assert sched.counters()["outcomes"] == before + 1
    assert sched.fleet.arrays.reserved.sum() < reserved


@pytest.mark.slow
def test_the_rows_of_every_arm_follow_each_change(model, other):
    sched = taught(model)
    arms = [sched.state.arms[0], sched.prepare(models.changed(other, ledger=LEDGER))]
    for step in (
        lambda: sched.fleet.upsert([1, "new"], {"isp": [8, 7], "load": [0.9, 0.1]}),
        lambda: sched.observe(sched.decide({"client_id": 17}, [2], now=40.0).id, OK, now=41.0),
        lambda: sched.fleet.remove([3]),
        lambda: sched.fleet.upsert(list(range(100, 3_000)), {}),
        sched.refresh,
    ):
        step()
        for arm in arms:
            np.testing.assert_array_equal(rows(arm)[sched.fleet.slots()], fresh_rows(sched, arm))


def test_the_way_back_is_immediate_and_decides_as_before(model, other):
    sched, twin = taught(model), taught(model)
    earlier = sched.swap(models.changed(other, ledger=LEDGER))
    sched.swap(earlier)
    request = {"client_id": 17, "kbps": 500.0}
    assert sched.decide(request, now=50.0) == twin.decide(request, now=50.0)


def test_a_challenger_decides_beside_the_champion(model, other):
    sched = taught(model)
    arm = sched.prepare(models.changed(other, ledger=LEDGER))
    versions = [sched.decide({"client_id": 17}, IDS, now=50.0, arm=a).model_version for a in (None, arm, None)]
    assert versions == [model.version, other.version, model.version]
    batch = sched.decide_batch({"client_id": [17, 17]}, now=50.0, arm=arm)
    assert batch.model_version == other.version


def test_an_arm_may_have_longer_slates_than_the_log_had_room_for(model):
    sched = taught(model)
    open_ = sched.decide({"client_id": 17, "kbps": 500.0}, [2], now=30.0)
    wide = models.changed(model, ledger=LEDGER, policy=Policy(max_nodes=3, alternatives=2))
    sched.swap(wide)
    d = sched.decide({"client_id": 17, "kbps": 7_000.0}, IDS[:3], now=31.0)
    assert len(d.nodes) > 1
    for node in d.nodes:
        sched.observe(d.id, OK, now=32.0, node=node)
    sched.observe(open_.id, OK, now=32.0)


REFUSED = {
    "another fingerprint": lambda m: dataclasses.replace(
        m, spec=models.changed(m, history=m.spec.history.__class__(("failed",), ("2h",), m.spec.history.keys)).spec
    ),
    "other candidates": lambda m: models.changed(m, candidates=Candidates(limit=3), ledger=LEDGER),
    "another ledger": lambda m: models.changed(m, ledger=None),
}


@pytest.mark.parametrize("wrong", REFUSED.values(), ids=REFUSED)
def test_a_model_that_does_not_fit_is_refused_and_nothing_has_changed(model, wrong):
    sched = taught(model)
    arms = sched.state.arms
    for call in (sched.prepare, sched.swap):
        with pytest.raises(InputError, match="expected the"):
            call(wrong(model))
        assert sched.state.arms == arms


def test_a_released_arm_is_refused_and_the_one_in_charge_cannot_be_released(model, other):
    sched = taught(model)
    arm = sched.prepare(models.changed(other, ledger=LEDGER))
    sched.release(arm)
    for call in (
        lambda: sched.decide({"client_id": 17}, IDS, now=60.0, arm=arm),
        lambda: sched.swap(arm),
        lambda: sched.release(arm),
    ):
        with pytest.raises(InputError, match="arm: expected one that was prepared here"):
            call()
    with pytest.raises(InputError, match="arm: expected one that is not in charge"):
        sched.release(sched.state.arms[0])


@pytest.mark.slow
def test_decisions_go_on_while_arms_come_and_go(model, other):
    """Each decision is by one version alone, and no thread fails."""
    sched, stop, failed = taught(model), threading.Event(), []
    scores = {}
    for arm in (sched.state.arms[0], sched.prepare(models.changed(other, ledger=LEDGER))):
        scores[arm.model.version] = arm.model.heads

    def serve():
        try:
            while not stop.is_set():
                d = sched.decide({"client_id": 17, "kbps": 10.0}, now=100.0)
                assert d.model_version in scores
                sched.observe(d.id, OK, now=100.0, node=d.nodes[0])
                sched.fleet.upsert([1], {"load": [0.5]})
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    threads = [threading.Thread(target=serve) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(8):
        earlier = sched.swap(models.changed(other if i % 2 else model, ledger=LEDGER))
        sched.release(earlier)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failed
    assert sched.fleet.arrays.reserved.max() <= max(COLUMNS["uplink"])

"""A scheduler that was saved and restored goes on as if it had never stopped."""

import math
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler import DuplicateOutcomeError, InputError, Scheduler, UnknownDecisionError
from scheduler.decisions.arrays import EARLIER_LIVES
from scheduler.runtime.parts import PART
from scheduler.snapshot.folder import SnapshotWriter
from scheduler.snapshot.id_columns import IdColumns, to_columns, to_ids
from scheduler.spec import Policy
from tests import models
from tests.scheduler.snapshot.conftest import request_of, used
from tests.schedulers import OK

BATCH = {"client_id": [17, "tv", 99], "kind": ["film", None, "song"]}
SAME = ("decisions", "outcomes", "explored", "expired", "forgotten", "nodes", "history_entries", "history_evicted")


def restored(sched, model, folder, **settings):
    sched.save(folder)
    return Scheduler.restore(folder, model, **{"first_id": sched.state.log.next_id()} | settings)


def assert_same(first, second, now):
    """Two schedulers know the same."""
    ids = sorted(first.fleet.ids(), key=str)
    assert sorted(second.fleet.ids(), key=str) == ids
    assert [second.fleet.get(id_) for id_ in ids] == [first.fleet.get(id_) for id_ in ids]
    assert {name: first.counters()[name] for name in SAME} == {name: second.counters()[name] for name in SAME}
    assert second.fleet.silent(now) == [id_ for id_ in second.fleet.ids() if id_ in first.fleet.silent(now)]
    for category in ("film", "song", 7):
        columns = [category] * len(ids)
        assert (
            second.fleet.holds(ids, "content", columns).tolist() == first.fleet.holds(ids, "content", columns).tolist()
        )
    assert sorted(map(repr, second.clients)) == sorted(map(repr, first.clients))
    some = [[id_ for id_ in ids if id_ != 2]] * 3
    np.testing.assert_array_equal(
        first.features(BATCH, some, now=now), second.features(BATCH, some, now=now), err_msg="features"
    )


def test_a_restored_scheduler_decides_and_learns_as_the_one_that_was_saved(rich, tmp_path):
    sched = used(rich, remember=512)
    twin = restored(sched, rich, tmp_path)
    assert_same(sched, twin, 40.0)
    for i in range(40, 120):
        for one in (sched, twin):
            one.decide(request_of(i), now=float(i))
        if i % 3 == 0:
            given, same = (one.decide(request_of(i + 1), now=i + 0.2) for one in (sched, twin))
            assert set(given.nodes) == set(same.nodes) or given.propensity < 1.0
            for node in set(given.nodes) & set(same.nodes):
                for one, decision in ((sched, given), (twin, same)):
                    one.observe(decision.id, OK, now=i + 0.4, node=node)
    assert sched.counters()["expired"] == twin.counters()["expired"] > 0


def test_outcomes_of_open_decisions_are_taken_once(rich, tmp_path):
    sched = used(rich, n=8)
    decision = sched.decide(request_of(1), now=9.0)
    answered = sched.decide(request_of(2), now=9.0)
    sched.observe(answered.id, OK, now=9.5, node=answered.nodes[0])
    twin = restored(sched, rich, tmp_path)
    twin.observe(decision.id, OK, now=10.0, node=decision.nodes[0])
    sched.observe(decision.id, OK, now=10.0, node=decision.nodes[0])
    assert_same(sched, twin, 11.0)
    for id_, node in ((decision.id, decision.nodes[0]), (answered.id, answered.nodes[0])):
        with pytest.raises(DuplicateOutcomeError):
            twin.observe(id_, OK, now=11.0, node=node)


def test_reservations_end_as_they_would_have(rich, tmp_path):
    sched = used(rich, n=8)
    decision = sched.decide({"client_id": 17, "kbps": 700.0}, [1], now=20.0)
    twin = restored(sched, rich, tmp_path)
    assert decision.nodes == (1,)
    before = twin.fleet.get(1).reserved
    assert before == pytest.approx(sched.fleet.get(1).reserved)
    assert before >= 700.0
    twin.decide({"client_id": 17}, ["box"], now=79.0)
    assert twin.fleet.get(1).reserved >= 700.0
    twin.decide({"client_id": 17}, ["box"], now=81.0)
    assert twin.fleet.get(1).reserved == 0.0


def test_reservations_end_after_several_restarts_too(rich, tmp_path):
    sched = used(rich, n=0)
    held = []
    for i in range(3):
        held.append(sched.decide({"client_id": 17, "kbps": 100.0}, [1], now=float(i)))
        sched = restored(sched, rich, tmp_path, first_id=None)
    assert sched.fleet.get(1).reserved == pytest.approx(300.0)
    sched.decide({"client_id": 17, "kbps": 1.0}, ["box"], now=62.5)
    assert sched.fleet.get(1).reserved == pytest.approx(0.0)
    assert sched.counters()["expired"] == 3


@pytest.mark.slow
def test_outcomes_of_decisions_before_several_restarts_count(rich, tmp_path):
    """Each life has ids of its own, and the log knows those of the lives before."""
    sched, made = used(rich, n=0), []
    for life in range(6):
        made += [sched.decide(request_of(life), [1], now=9.0 + life).id for _ in range(3)]
        sched = restored(sched, rich, tmp_path, first_id=None)
    assert len(set(made)) == 18
    for id_ in made:
        sched.observe(id_, OK, now=20.0)
        with pytest.raises(DuplicateOutcomeError):
            sched.observe(id_, OK, now=20.0)
    assert sched.counters()["outcomes"] == 18


def test_lives_before_those_that_are_known_are_forgotten(rich):
    sched, made = used(rich, n=0), []
    for life in range(EARLIER_LIVES + 2):
        made.append(sched.decide(request_of(life), [1], now=9.0 + life).id)
        sched.state.log.begin_ids(made[-1] + 1_000)
    for id_ in made[:2]:
        with pytest.raises(UnknownDecisionError, match="another scheduler made"):
            sched.observe(id_, OK, now=20.0)
    for id_ in made[2:]:
        with pytest.raises(UnknownDecisionError, match="another scheduler made"):
            sched.observe(id_ + 1, OK, now=20.0)
        sched.observe(id_, OK, now=20.0)


def test_ids_begin_anew_after_a_restart(rich, tmp_path):
    sched = used(rich, n=5)
    last = sched.decide(request_of(1), now=9.0)
    first, second = (restored(sched, rich, tmp_path, first_id=None) for _ in range(2))
    ids = {one.decide(request_of(1), now=10.0).id for one in (first, second)}
    assert len(ids) == 2
    assert min(ids) > last.id
    with pytest.raises(UnknownDecisionError, match="another scheduler"):
        first.observe(second.decide(request_of(1), now=10.0).id, OK, now=11.0)


def test_a_smaller_log_keeps_the_newest_decisions(rich, tmp_path):
    sched = used(rich, n=0)
    made = [sched.decide({"client_id": 17, "kbps": 10.0}, [1], now=float(i)) for i in range(12)]
    twin = restored(sched, rich, tmp_path, remember=4)
    assert twin.fleet.get(1).reserved == pytest.approx(40.0)
    for decision in made[-4:]:
        twin.observe(decision.id, OK, now=13.0)
    assert twin.fleet.get(1).reserved == pytest.approx(0.0)
    with pytest.raises(UnknownDecisionError):
        twin.observe(made[0].id, OK, now=13.0)


@pytest.mark.parametrize("capacity", [16, 100_000])
def test_history_of_another_size_keeps_what_fits(rich, tmp_path, capacity):
    sched = used(rich, n=200)
    twin = restored(sched, rich, tmp_path, history_capacity=capacity)
    n = sched.counters()["history_entries"]
    assert twin.counters()["history_entries"] <= n
    if capacity > n:
        assert_same(sched, twin, 200.0)
    else:
        assert twin.counters()["history_evicted"] > 0
        kept = twin.state.history.seen[twin.state.history.keys != 0]
        assert np.median(kept) >= np.median(sched.state.history.seen[sched.state.history.keys != 0])


def test_who_was_silent_or_set_aside_is_not_found_after_a_restart(rich, tmp_path):
    sched = used(rich, n=4)
    twin = restored(sched, rich, tmp_path, now=600.0)
    assert set(twin.fleet.silent(600.0)) == {"1", -9}
    found = {node for i in range(60) for node in twin.decide({"client_id": i}, now=600.0).nodes}
    assert not found & {"1", -9}
    assert 2 in found  # its quarantine is over
    twin.fleet.heartbeat(["1"], alive_until=math.inf)
    assert twin.fleet.silent(600.0) == [-9]


def test_a_time_far_ahead_does_not_outlive_a_restart(rich, tmp_path):
    sched = used(rich, n=4)
    sched.state.history.seen[sched.state.history.keys != 0] = 1.7e12
    twin = restored(sched, rich, tmp_path, now=50.0)
    assert twin.state.history.seen.max() <= 50.0
    twin.decide(request_of(0), now=51.0)


def test_settings_are_those_that_were_saved_unless_given(rich, tmp_path):
    sched = used(rich, n=2, max_nodes=50, forget_after=77.0)
    twin = restored(sched, rich, tmp_path)
    assert twin.state.settings == sched.state.settings
    assert restored(sched, rich, tmp_path, max_nodes=60).state.settings["max_nodes"] == 60


def test_an_empty_scheduler_is_saved_too(rich, tmp_path):
    twin = restored(Scheduler(rich), rich, tmp_path)
    assert twin.counters()["nodes"] == 0
    assert twin.decide({"client_id": 1}, now=0.0).reason == "origin:no_candidates"


@pytest.mark.parametrize(("name", "value"), [("keep", 0), ("keep", "3")])
def test_a_wrong_setting_of_a_save_is_named(rich, tmp_path, name, value):
    with pytest.raises(InputError, match=name):
        Scheduler(rich).save(tmp_path, **{name: value})
    assert list(tmp_path.iterdir()) == []


def test_an_arm_with_longer_slates_may_join_while_a_snapshot_is_written(rich, tmp_path, monkeypatch):
    """The log gets wider between two of its parts; what was decided before is whole."""
    sched, append = used(rich, remember=1 << 14), SnapshotWriter.append
    before, n_parts = sched.counters(), 0

    def widen_after_the_first_part(self, name, rows, dtype=None):
        nonlocal n_parts
        append(self, name, rows, dtype)
        n_parts += name == "log.id"
        if name == "log.held" and n_parts == 1:
            sched.swap(models.changed(rich, policy=Policy(max_nodes=3, alternatives=2)))
            sched.decide({"client_id": 17, "kind": "film", "kbps": 6_000.0}, now=41.0)

    monkeypatch.setattr(SnapshotWriter, "append", widen_after_the_first_part)
    sched.save(tmp_path)
    monkeypatch.undo()
    assert n_parts > 1
    twin = Scheduler.restore(tmp_path, rich)
    assert {name: twin.counters()[name] for name in SAME} == {name: before[name] for name in SAME}
    log, restored_log = sched.state.log.arrays, twin.state.log.arrays
    np.testing.assert_array_equal(log.held[:40, :2], restored_log.held[:40])


IDS = st.integers(-(2**63), 2**64 - 1) | st.text(st.characters(exclude_categories=()))


@pytest.mark.slow
@settings(max_examples=200)
@given(st.lists(IDS, max_size=20))
def test_ids_come_back_as_they_were(ids):
    assert to_ids(to_columns(ids)) == ids


def test_texts_that_do_not_fit_are_refused():
    columns = to_columns(["a", "bc"])
    with pytest.raises(ValueError, match="expected texts of 3 bytes, found 2"):
        to_ids(IdColumns(columns.kind, columns.number, columns.text[:2]))


@pytest.mark.slow
@pytest.mark.parametrize("n_threads", [3])
def test_saves_beside_traffic_are_whole(rich, tmp_path, n_threads):
    """Nodes come and go, decisions and outcomes go on: each snapshot can be restored and agrees with itself."""
    sched = used(rich, n=4, remember=512)
    ids = [f"n{i}" for i in range(3 * PART)]
    stop, failed = threading.Event(), []

    def work(t):
        try:
            i = 0
            while not stop.is_set():
                i += 1
                if i % 5 == t:
                    sched.fleet.upsert(ids[t::n_threads], {"uplink": [1_000.0] * len(ids[t::n_threads])})
                elif i % 9 == t:
                    sched.fleet.remove([id_ for id_ in ids[t::n_threads] if id_ in sched.fleet])
                decision = sched.decide(request_of(i), now=10.0)
                for node in decision.nodes[:1]:
                    sched.observe(decision.id, OK, now=10.0, node=node)
        except Exception as error:  # noqa: BLE001 - of any kind
            failed.append(error)

    threads = [threading.Thread(target=work, args=(t,)) for t in range(n_threads)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(6):
            before = sched.counters()["outcomes"]
            sched.save(tmp_path)
            twin = Scheduler.restore(tmp_path, rich)
            assert twin.counters()["outcomes"] >= before
            assert len(set(twin.fleet.ids())) == len(twin.fleet)
            log = twin.state.log.arrays
            held = np.bincount(log.slot.ravel(), log.held.ravel(), len(twin.fleet.arrays.reserved))
            np.testing.assert_allclose(held, twin.fleet.arrays.reserved)
            assert (twin.fleet.arrays.reserved <= twin.fleet.arrays.capacity + 1e-6)[twin.fleet.slots()].all()
            twin.decide(request_of(1), now=10.0)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failed == []

"""What is appended while decisions are made: one row each, equal to what the caller got, and no decision is changed."""

import gc
import os
import threading

import numpy as np
import pytest
from numba import config

from scheduler.columns.ids import id_key
from scheduler.decisions.arrays import DROPS, REASONS
from scheduler.decisions.record.arrays import ADMITTED, PADDING
from scheduler.decisions.record.read import read_segments
from scheduler.engine.trial import dry_run
from scheduler.runtime.random import DRAW_FULL, uniform
from scheduler.spec import Policy
from tests import models
from tests.record_world import POLICY, count, ids_of, recorded, recording, rows_of, serve, whole_rows
from tests.scheduler.runtime.test_locks import in_threads
from tests.schedulers import COLUMNS, IDS, LEDGER, OK, new, same, state

N = 6 if config.DISABLE_JIT else 60


def test_decisions_and_state_are_those_of_a_scheduler_that_records_nothing(model, tmp_path):
    plain = new(model, policy=POLICY, ledger=LEDGER)
    sched = recorded(model, tmp_path, full=0.5)
    with recording(sched):
        assert serve(sched, N) == serve(plain, N)
        batch = {"client_id": [17, 99, "tv"], "kbps": [500.0, 0.0, 9_000.0]}
        for mine, other in zip(
            sched.decide_batch(batch, now=float(N)), plain.decide_batch(batch, now=float(N)), strict=True
        ):
            np.testing.assert_array_equal(mine, other)
        assert same(state(sched), state(plain))


def test_every_decision_has_one_thin_row_that_says_what_it_said(model, tmp_path):
    sched = recorded(model, tmp_path)
    with recording(sched):
        decisions = serve(sched, N)
        sched.fleet.heartbeat(IDS, alive_until=N + 0.5)
        decisions.append(sched.decide({"client_id": 17}, now=N + 1.0))  # from the origin
    rows = rows_of(tmp_path)
    heads, places = len(model.heads), POLICY.max_nodes + POLICY.alternatives
    assert rows["id"].tolist() == [d.id for d in decisions]
    assert rows["time"].tolist() == [*map(float, range(N)), N + 1.0]
    assert decisions[-1].nodes == ()
    for i, d in enumerate(decisions):
        assert REASONS[rows["reason"][i]] == d.reason
        assert rows["propensity"][i] == d.propensity
        assert {DROPS[k]: n for k, n in enumerate(rows["dropped"][i].tolist()) if n} == d.dropped
        names = [*d.nodes, *d.alternatives]
        assert rows["nodes"].row(i) == list(map(str, names))
        assert rows["n_slate"][i] == len(d.nodes)
        assert rows["client"][i] == (["17", "tv", "99"][i % 3] if i < N else "17")
        at = [*range(len(d.nodes)), *(POLICY.max_nodes + a for a in range(len(d.alternatives)))]
        scores = [*d.scores, *d.alternatives.values()]
        values, utility = rows["values"][i].reshape(places, heads), rows["utility"][i]
        keys = rows["node_keys"][i].reshape(places, -1)
        for place, name, score in zip(at, names, scores, strict=True):
            assert utility[place] == score["utility"]
            assert values[place].tolist() == [np.float32(score[head]) for head in model.heads]
            assert keys[place, 0] == id_key(name)


def test_the_features_of_the_chosen_node_are_those_that_it_was_scored_by(model, tmp_path):
    sched, seen = recorded(model, tmp_path), []
    with recording(sched):
        serve(sched, 9)
        for k in range(9, 20):
            request, before = {"client_id": [17, 99][k % 2], "kbps": 300.0}, float(k)
            rows = sched.features({name: [x] for name, x in request.items()}, [IDS], now=before)[0]
            d = sched.decide(request, now=before)
            seen.append(rows[IDS.index(d.nodes[0])] if d.nodes else np.full(rows.shape[1], np.nan))
    np.testing.assert_array_equal(rows_of(tmp_path)["chosen_features"][9:], seen)


def test_full_rows_hold_all_that_a_decision_was_made_from(model, tmp_path):
    sched, seen = recorded(model, tmp_path, full=1.0), []
    serve(sched, 9)
    sched.fleet.heartbeat([3], alive_until=5.0)
    sched.fleet.quarantine(["box"], until=1e9)
    with recording(sched):
        for k in range(9, 20):
            request, now = {"client_id": [17, 99][k % 2], "kbps": 900.0}, float(k)
            asked = {name: [x] for name, x in request.items()}
            rows, values = sched.features(asked, [IDS], now=now)[0], sched.score(asked, [IDS], now=now)
            free = sched.fleet.arrays.capacity - sched.fleet.arrays.reserved
            seen.append((sched.decide(request, IDS, now=now, exclude=["1"]), rows, values, free[:5].tolist()))
    (segment,) = read_segments(tmp_path)
    program, arm = model.features.program, segment.manifest.arms[0]
    records = list(segment.full_records())[9:]
    assert (arm.name, arm.version, arm.fingerprint) == (model.name, model.version, model.spec.fingerprint())
    assert len(records) == len(seen)
    for record, (d, rows, values, free) in zip(records, seen, strict=True):
        kept = record.verdict == ADMITTED
        assert record.id == d.id
        assert record.nodes == IDS
        assert record.draw == uniform(sched.state.seed, d.id, 0)
        assert record.demand == 900.0
        assert np.bincount(record.verdict, minlength=1 + len(DROPS))[1:].sum() == sum(d.dropped.values())
        assert {record.nodes[at] for at in record.position if at >= 0} == {*d.nodes, *d.alternatives}
        np.testing.assert_array_equal(whole_rows(record, program, rows.shape[1])[kept], rows[kept])
        for h, head in enumerate(model.heads):
            np.testing.assert_array_equal(record.values[kept, h], values[head][0][kept])
        assert np.isnan(record.values[~kept]).all()
        assert record.capacity[kept].tolist() == np.array(COLUMNS["uplink"], float)[kept].tolist()
        assert np.array(free)[kept].tolist() == record.free[kept].tolist()
        chosen = [record.nodes.index(node) for node in d.nodes]
        assert record.utility[chosen].tolist() == [score["utility"] for score in d.scores]


def test_empty_places_of_a_candidate_list_are_told_from_nodes(model, tmp_path):
    sched = recorded(model, tmp_path, full=1.0)
    with recording(sched):
        sched.decide_batch({"client_id": [17, 17]}, np.array([[1, None, 2], [3, None, None]], object), now=0.0)
    (segment,) = read_segments(tmp_path)
    first, second = segment.full_records()
    assert first.nodes == [1, None, 2]
    assert first.verdict.tolist() == [ADMITTED, PADDING, ADMITTED]
    assert second.nodes == [3]


def test_the_share_that_is_recorded_in_full_is_drawn_by_seed_and_id(model, tmp_path):
    sched = recorded(model, tmp_path, seed=5, full=0.3)
    with recording(sched):
        decisions = serve(sched, N)
    drawn = [d.id for d in decisions if uniform(5, d.id, DRAW_FULL) < 0.3]
    assert 0 < len(drawn) < N
    assert rows_of(tmp_path, "full")["id"].tolist() == drawn
    rows = rows_of(tmp_path)
    assert rows["id"][rows["is_full"].astype(bool)].tolist() == drawn


def test_what_finds_no_room_is_dropped_and_counted(model, tmp_path):
    sched = recorded(model, tmp_path, full=1.0, ring=4)
    with recording(sched) as recorder:
        with recorder._lock:  # noqa: SLF001 - the recorder's thread takes nothing meanwhile
            serve(sched, 10)
            dropped = recorder.status.dropped
        assert dropped["decisions"] == 6
        assert dropped["outcomes"] > 0
    assert len(ids_of(tmp_path)) == 4


def test_outcomes_are_told_with_all_that_history_learns_from(model, tmp_path):
    sched = recorded(model, tmp_path)
    other = new(model, policy=POLICY, ledger=LEDGER)
    other.state.log.begin_ids(1 << 40)  # which are unknown here
    token_of = other.decide({"client_id": 17}, now=0.0)
    with recording(sched):
        d = sched.decide({"client_id": "tv"}, now=0.0)
        sched.observe(d.id, OK, now=1.0, node=d.nodes[0])
        sched.observe_batch([sched.decide({"client_id": 17}, IDS[:1], now=1.0).id], {"ok": [False]}, now=2.0)
        sched.learn({"client_id": 99}, "stranger", OK, now=3.0)
        sched.observe(other.token(token_of), OK, now=4.0, node=token_of.nodes[0])
    rows = rows_of(tmp_path, "outcomes")
    assert rows["kind"].tolist() == [0, 0, 2, 1]
    assert rows["sequence"].tolist() == [1, 2, 3, 4]
    assert rows["time"].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert rows["decision"].tolist() == [d.id, d.id + 1, -1, token_of.id]
    assert rows["node"][:3] == [str(d.nodes[0]), str(IDS[0]), "stranger"]
    (segment,) = read_segments(tmp_path)
    at = segment.manifest.outcomes.index("failed")
    assert rows["outcomes"][:, at].tolist() == [0.0, 1.0, 0.0, 0.0]
    assert rows["request_keys"][2, 0] == id_key(99)


def test_nodes_that_come_change_and_go_are_told(model, tmp_path):
    sched = recorded(model, tmp_path)
    with recording(sched):
        sched.fleet.upsert([9, 1], {"uplink": [77.0, 88.0]})
        sched.fleet.quarantine([9], until=5.0)
        sched.fleet.remove([9])
    rows = rows_of(tmp_path, "nodes")
    assert rows["kind"].tolist() == [0] * len(IDS) + [0, 0, 2, 1]  # all that were known come first
    assert rows["node"] == [*map(str, IDS), "9", "1", "9", "9"]
    assert rows["capacity"].tolist() == [*COLUMNS["uplink"], 77.0, 88.0, 77.0, 77.0]


def test_nodes_and_clients_that_left_are_still_called_by_their_ids(model, tmp_path):
    sched = recorded(model, tmp_path)
    with recording(sched) as recorder, recorder._lock:  # noqa: SLF001 - all rows are taken after the ids are gone
        d = sched.decide({"client_id": "tv"}, [3], now=0.0)
        sched.fleet.remove([3])
        sched.clients.remove(["tv"])
        sched.observe(d.id, OK, now=1.0, node=3)
    assert rows_of(tmp_path)["nodes"].row(0) == ["3"]
    assert rows_of(tmp_path)["client"] == ["tv"]
    assert rows_of(tmp_path, "outcomes")["node"] == ["3"]


def test_dry_runs_and_warm_ups_leave_no_trace(model, tmp_path):
    sched = recorded(model, tmp_path, full=1.0)
    with recording(sched):
        serve(sched, 2)
        dry_run(sched.state, sched.state.arms[0], 5)
    assert len(ids_of(tmp_path)) == 2


def test_arms_that_are_swapped_are_told_apart(model, tmp_path):
    sched = recorded(model, tmp_path)
    with recording(sched):
        serve(sched, 3)
        sched.set_policy(models.changed(model, policy=Policy(max_nodes=2, alternatives=1), ledger=LEDGER).spec)
        serve(sched, 3, first=3)
        wide = Policy(max_nodes=3, alternatives=1)
        sched.release(sched.swap(models.changed(model, policy=wide, ledger=LEDGER)))
        serve(sched, 3, first=6)
    rows = rows_of(tmp_path)
    assert rows["arm"].tolist() == [0] * 3 + [1] * 3 + [2] * 3
    arms = list(read_segments(tmp_path))[-1].manifest.arms
    assert len({arm.policy for arm in arms}) == 3


def test_threads_under_contention_lose_nothing_and_mix_nothing_up(model, tmp_path):
    sched, found = recorded(model, tmp_path, every=0.01, full=0.2), []
    lock = threading.Lock()

    def decide(t):
        mine = [sched.decide({"client_id": [17, "tv", 99, 5][t], "kbps": 10.0 * t}, now=0.0) for _ in range(N)]
        with lock:
            found.extend((d.id, t, d.nodes, d.propensity) for d in mine)

    with recording(sched):
        in_threads(*[lambda t=t: decide(t) for t in range(4)])
    rows = rows_of(tmp_path)
    got = {
        int(id_): (client, rows["nodes"].row(i)[: rows["n_slate"][i]], rows["propensity"][i])
        for i, (id_, client) in enumerate(zip(rows["id"], rows["client"], strict=True))
    }
    assert len(rows["id"]) == 4 * N
    assert got == {
        id_: (["17", "tv", "99", "5"][t], list(map(str, nodes)), propensity) for id_, t, nodes, propensity in found
    }


def test_the_rows_of_a_thread_that_ended_are_written_and_its_rings_let_go(model, tmp_path):
    sched = recorded(model, tmp_path)
    with recording(sched) as recorder:
        thread = threading.Thread(target=serve, args=(sched, 3))
        thread.start()
        thread.join()
        gc.collect()
        recorder.flush()
        assert count(tmp_path) == 3
        assert sched.state.recording.rings == []


def test_a_call_from_within_a_call_has_a_row_of_its_own(model, tmp_path):
    sched = recorded(model, tmp_path)

    class Isp(str):
        __slots__ = ()

        def __hash__(self):
            inner.append(sched.decide({"client_id": 17}, now=0.0))
            return super().__hash__()

    inner = []
    with recording(sched):
        outer = sched.decide({"client_id": "tv", Isp("isp"): 7}, now=0.0)
    assert sorted(ids_of(tmp_path)) == sorted([outer.id, *(d.id for d in inner)])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_records_nothing_and_says_so_and_may_begin_its_own(model, tmp_path):
    from tests.scheduler.test_forks import in_child  # noqa: PLC0415 - not where there is no fork

    sched = recorded(model, tmp_path / "parent")

    def child():
        before = sched.recorder.status.is_on, sched.status().recording.is_on
        serve(sched, 2, first=3)
        sched.recorder.flush()
        sched.recorder.stop()
        sched.record(tmp_path / "child", every=1e5)
        serve(sched, 4, first=5)
        sched.recorder.stop()
        return [*before, len(ids_of(tmp_path / "child"))]

    with recording(sched) as recorder:
        serve(sched, 3)
        assert in_child(child) == [False, False, 4]
        serve(sched, 1, first=3)
        assert recorder.status.is_on
    assert len(ids_of(tmp_path / "parent")) == 4


def test_after_its_end_nothing_is_recorded_and_another_may_begin(model, tmp_path):
    sched = recorded(model, tmp_path)
    serve(sched, 3)
    status = sched.recorder.stop()
    assert not status.is_on
    assert status.written["decisions"] == 3
    serve(sched, 3, first=3)
    assert sched.recorder.stop().written["decisions"] == 3
    sched.record(tmp_path, every=1e5)
    serve(sched, 2, first=6)
    sched.close()
    assert len(ids_of(tmp_path)) == 5


@pytest.mark.parametrize("key", [None, b"sixteen bytes or more"])
def test_keys_of_categories_have_names_as_far_as_these_are_known(model, tmp_path, key):
    sched = recorded(model, tmp_path, full=1.0, key=key)
    with recording(sched):
        sched.fleet.upsert([9], {"isp": ["told with a node"], "uplink": [9e6]})
        sched.decide({"client_id": "tv", "kind": "asked once", "isp": 7}, [9], now=0.0)
    (segment,) = read_segments(tmp_path)
    names, rows = segment.names(), rows_of(tmp_path)
    assert {"asked once", 7, "told with a node"} <= set(names.values())
    assert "tv" not in names.values()
    at = model.features.request.key_columns["kind"]
    assert names[int(rows["request_keys"][0, at])] == "asked once"

"""Requests find those that live, however many do not: against a scan of all nodes in a dict."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from scheduler import Scheduler
from scheduler.fleet.arrays import FORGETS, LEAVES, RETURNS
from scheduler.fleet.presence import HOLD, HOLDS, LOOK
from scheduler.spec import Candidates, Tier, parse_spec
from tests import models
from tests.models import SPEC

TIERS = """
[candidates]
limit = 12
[[candidates.tiers]]
name = "holders of the client's carrier"
match = { kind = "content", isp = "isp" }
limit = 4
[[candidates.tiers]]
name = "holders"
match = { kind = "content" }
limit = 5
[[candidates.tiers]]
name = "carrier"
match = { isp = "isp" }
limit = 5
[[candidates.tiers]]
name = "any"
"""
HEAD, REST = SPEC.replace("[node]\n", '[node]\ncontent = { type = "categories", source = "nodes" }\n').split(
    "[candidates]", 1
)
LAST = 'name = "any"\nlimit = 16\n'
TEXT = HEAD + TIERS + REST[REST.index(LAST) + len(LAST) :]


class Twin:
    """The same nodes in a dict, each with carrier, contents and times."""

    def __init__(self, model):
        self.sched = Scheduler(model, parse_spec(TEXT), forget_after=30.0)
        self.nodes, self.now = {}, 0.0

    def join(self, ids, isp, alive_until):
        self.sched.fleet.upsert(ids, {"isp": [isp] * len(ids)}, alive_until=alive_until)
        for id_ in ids:
            node = self.nodes.setdefault(id_, {"held": set(), "alive": math.inf, "ends": -math.inf})
            node["isp"] = isp
            node["alive"] = node["alive"] if alive_until is None else alive_until

    def known(self, ids):
        return [id_ for id_ in ids if id_ in self.nodes]

    def leave(self, ids):
        self.sched.fleet.remove(self.known(ids))
        for id_ in self.known(ids):
            del self.nodes[id_]

    def heartbeat(self, ids, until):
        self.sched.fleet.heartbeat(self.known(ids), alive_until=until)
        for id_ in self.known(ids):
            alive = self.nodes[id_]["alive"]
            self.nodes[id_]["alive"] = until if alive == math.inf else max(alive, until)

    def quarantine(self, ids, until):
        self.sched.fleet.quarantine(self.known(ids), until=until)
        for id_ in self.known(ids):
            self.nodes[id_]["ends"] = until

    def hold(self, ids, content):
        ids = self.known(ids)
        self.sched.fleet.add(ids, "content", [content] * len(ids))
        for id_ in ids:
            self.nodes[id_]["held"].add(content)

    def drop(self, ids, content):
        ids = self.known(ids)
        self.sched.fleet.discard(ids, "content", [content] * len(ids))
        for id_ in ids:
            self.nodes[id_]["held"].discard(content)

    def replace(self, ids, contents):
        ids = self.known(ids)
        self.sched.fleet.update(ids, {"content": [contents] * len(ids)})
        for id_ in ids:
            self.nodes[id_]["held"] = set(contents)

    def decide(self, seconds, isp, content):
        self.now += seconds
        self.sched.decide({"client_id": 1, "isp": isp, "kind": content}, now=self.now)
        self.forget()
        slots = self.sched.state.arms[0].thread.workspace.content.found[0]
        self.check(self.sched.fleet.table.ids_at(slots[slots >= 0]).tolist(), isp, content)

    def forget(self):
        gone = set(self.nodes) - set(self.sched.fleet.ids())
        assert all(max(self.nodes[id_]["alive"] + 30.0, self.nodes[id_]["ends"]) <= self.now for id_ in gone)
        for id_ in gone:
            del self.nodes[id_]

    def check(self, found, isp, content):
        living = {id_ for id_, n in self.nodes.items() if n["alive"] > self.now and n["ends"] <= self.now}
        holders = {id_ for id_ in living if content in self.nodes[id_]["held"]}
        carrier = {id_ for id_ in living if isp is not None and self.nodes[id_]["isp"] == isp}
        taken = []
        for eligible, limit in ((holders & carrier, 4), (holders, 5), (carrier, 5), (living, 12)):
            fresh = eligible - set(taken)
            n = min(limit, 12 - len(taken), len(fresh))
            part = found[len(taken) : len(taken) + n]
            assert set(part) <= fresh
            assert len(set(part)) == n
            taken += part
        assert found == taken


ids = st.lists(st.integers(0, 80), min_size=1, max_size=40, unique=True)
contents = st.sampled_from(["film", "song", 7])
isps = st.sampled_from([7, 8, None])
ahead = st.sampled_from([0.0, 0.05, 0.5, 2.0, 10.0, 40.0])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("join"), ids, isps, st.none() | ahead),
        st.tuples(st.just("leave"), ids),
        st.tuples(st.just("heartbeat"), ids, ahead),
        st.tuples(st.just("quarantine"), ids, ahead),
        st.tuples(st.just("hold"), ids, contents),
        st.tuples(st.just("drop"), ids, contents),
        st.tuples(st.just("replace"), ids, st.lists(contents, max_size=3, unique_by=repr)),
        st.tuples(st.just("decide"), st.sampled_from([0.0, 0.03, 0.3, 1.0, 7.0]), isps, contents),
        st.tuples(st.just("decide"), st.sampled_from([0.0, 0.03, 0.3, 1.0, 7.0]), isps, contents),
    ),
    min_size=4,
    max_size=30,
)
TIMED = {"join", "heartbeat", "quarantine"}


@pytest.mark.slow
@pytest.mark.parametrize("holds", [{RETURNS: 8, FORGETS: 1, LEAVES: 2}, {RETURNS: 8, FORGETS: 1, LEAVES: 0}])
@settings(max_examples=60, deadline=None)
@given(changes=steps)
def test_a_request_finds_what_a_scan_of_the_living_finds(model, holds, changes):
    """Also where the index never gets to let the silent go, and passes over them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scheduler.fleet.fleet.HOLDS", holds)
        twin = Twin(model)
        twin.join(list(range(40)), 7, 5.0)
        for what, *told in changes:
            if what in TIMED and told[-1] is not None:
                told[-1] += twin.now
            getattr(twin, what)(*told)
        twin.decide(0.5, 7, "film")


def crowd(model, n=20_000, limit=128, **options):
    tiers = (Tier(name="carrier", match={"isp": "isp"}, limit=64), Tier(name="any"))
    sched = Scheduler(models.changed(model, candidates=Candidates(limit=limit, tiers=tiers)), seed=0, **options)
    sched.fleet.upsert(range(n), {"isp": [7 + i % 2 for i in range(n)]}, alive_until=1_060.0)
    return sched


def candidates(sched, now, client=1):
    sched.decide({"client_id": client, "isp": 7}, now=now)
    slots = sched.state.arms[0].thread.workspace.content.found[0]
    return sched.fleet.table.ids_at(slots[slots >= 0]).tolist()


def test_at_99_percent_silent_every_request_finds_its_128_of_those_that_live(model):
    sched = crowd(model)
    live = set(np.random.default_rng(0).choice(20_000, 200, replace=False).tolist())
    sched.fleet.heartbeat(live, alive_until=1e9)
    for i in range(300):
        found = candidates(sched, 1_100.0 + i * 0.01, i)
        assert len(set(found)) == 128
        assert set(found) <= live
    assert sched.fleet.arrays.listed.sum() == 200


def test_quarantined_nodes_leave_the_index_at_once_and_are_back_when_it_ends(model):
    sched = crowd(model)
    sched.fleet.quarantine(range(50, 20_000), until=1_050.0)
    assert set(candidates(sched, 1_000.0)) == set(range(50))
    assert len(set(candidates(sched, 1_050.0)) - set(range(50))) > 100


def test_all_are_found_from_the_first_call_after_a_quarantine_of_many(model):
    sched = crowd(model, limit=4_000)
    sched.fleet.quarantine(range(20_000), until=1_050.0)
    assert candidates(sched, 1_000.0) == []
    assert len(set(candidates(sched, 1_050.0))) == 4_000
    assert sched.fleet.arrays.listed.sum() == HOLDS[RETURNS] * HOLD // LOOK
    candidates(sched, 1_050.0)
    assert sched.fleet.arrays.listed.sum() == 20_000


def test_a_heartbeat_brings_a_silent_node_back_at_once(model):
    sched = crowd(model, n=1_000)
    assert candidates(sched, 1_100.0) == []
    sched.fleet.heartbeat([5, 6], alive_until=1_200.0)
    assert set(candidates(sched, 1_100.0)) == {5, 6}
    sched.fleet.update([7], alive_until=1_200.0)
    assert set(candidates(sched, 1_100.0)) == {5, 6, 7}


def test_a_late_heartbeat_never_shortens_a_life_and_what_is_told_may(model):
    sched = crowd(model, n=3)
    sched.fleet.heartbeat([0, 1], alive_until=2_000.0)
    sched.fleet.heartbeat([0, 1], alive_until=1_500.0)
    assert [sched.fleet.get(i).alive_until for i in range(3)] == [2_000.0, 2_000.0, 1_060.0]
    sched.fleet.update([1], alive_until=1_100.0)
    assert set(candidates(sched, 1_200.0)) == {0}


def test_all_the_living_have_about_the_same_chance_while_the_silent_are_passed_over(model, monkeypatch):
    monkeypatch.setattr("scheduler.fleet.fleet.HOLDS", {LEAVES: 0})
    sched = crowd(model, n=2_000, limit=16)
    sched.fleet.heartbeat(range(0, 2_000, 20), alive_until=1e9)
    counts = np.zeros(2_000)
    for i in range(3_000):
        counts[candidates(sched, 1_100.0, i)] += 1
    assert counts.sum() == 3_000 * 16
    live = counts[::20]
    assert live.sum() == counts.sum()
    assert 0.5 < live.min() / live.mean() <= live.max() / live.mean() < 2.0


def test_candidates_that_the_caller_names_are_still_dropped_with_their_reasons(model):
    sched = crowd(model, n=10)
    sched.fleet.heartbeat([0, 1, 2], alive_until=1e9)
    sched.fleet.quarantine([2], until=2_000.0)
    candidates(sched, 1_100.0)
    d = sched.decide({"client_id": 1}, list(range(10)), now=1_100.0)
    assert d.dropped == {"silent": 7, "quarantined": 1}
    assert set(d.nodes) <= {0, 1}


def test_nodes_silent_for_longer_than_forget_after_are_removed_and_counted(model):
    sched = crowd(model, n=3_000, forget_after=100.0)
    sched.fleet.heartbeat([1, 2], alive_until=1_200.0)
    sched.fleet.quarantine([3], until=2_000.0)
    candidates(sched, 1_159.0)
    assert len(sched.fleet) == 3_000
    assert set(sched.fleet.silent(1_159.0)) == set(range(3_000)) - {1, 2}
    candidates(sched, 1_161.0)
    removed = 3_000 - len(sched.fleet)
    assert 0 < removed < 2_997  # a bounded part
    for i in range(20):
        candidates(sched, 1_161.0 + i)
    assert set(sched.fleet.ids()) == {1, 2, 3}  # or 3 came back without its quarantine
    assert sched.counters()["nodes_forgotten"] == 2_997
    for now in (2_001.0, 2_001.2):
        candidates(sched, now)
    assert sched.fleet.ids() == []
    assert sched.counters()["nodes_forgotten"] == 3_000


def test_one_wrong_time_removes_nobody_and_heartbeats_bring_all_back(model):
    """A time 20 days ahead is accepted; the next call sets the clock back."""
    sched = crowd(model, n=500, forget_after=100.0)
    assert len(candidates(sched, 1_000.0)) == 128
    assert candidates(sched, 1_000.0 + 20 * 86_400.0) == []
    assert candidates(sched, 1_001.0) == []
    assert len(sched.fleet) == 500
    sched.fleet.heartbeat(range(500), alive_until=1_120.0)
    assert len(candidates(sched, 1_002.0)) == 128


def test_a_decision_from_within_a_call_that_reads_leaves_the_index_alone(model):
    sched = crowd(model, n=100)

    class Asking(dict):
        def items(self):
            assert sched.decide({"client_id": 2}, now=1_100.0).nodes == ()
            return super().items()

    sched.decide(Asking(client_id=1), [1], now=1_050.0)
    assert sched.fleet.arrays.listed.sum() == 100
    candidates(sched, 1_100.0)
    assert not sched.fleet.arrays.listed.any()

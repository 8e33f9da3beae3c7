"""Queues of nodes by time against a sorted list, and how much one call of many looks at."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from scheduler import InputError, Scheduler
from scheduler.fleet.arrays import FORGETS, LEAVES, NEXT_LEAVE, QUEUE, RETURNS
from scheduler.fleet.fleet import Fleet
from scheduler.fleet.hooks import Hooks
from scheduler.fleet.presence import BATCH, HOLD, HOLDS, LAG, LOOK

N = 120
times = st.integers(0, 60).map(float) | st.just(math.inf)
slots = st.lists(st.integers(0, N - 1), min_size=1, max_size=40, unique=True)
calls = st.lists(
    st.one_of(
        st.tuples(st.just("heartbeat"), slots, times),
        st.tuples(st.just("quarantine"), slots, times),
        st.tuples(st.just("told"), slots, times),
        st.tuples(st.just("advance"), slots, st.integers(0, 60).map(float)),
    ),
    max_size=40,
)


def check_heaps(presence):
    """Each entry is due no later than those below it, and each node knows where it waits."""
    arrays, waiting = presence.arrays, {}
    for q, heap in enumerate(arrays.heaps):
        size = int(arrays.sizes[q])
        for place in range(size):
            waiting[int(heap[place, 1])] = (q, place)
            assert place == 0 or heap[(place - 1) // 4, 0] <= heap[place, 0]
        assert arrays.clock[NEXT_LEAVE + q] == (heap[0, 0] if size else math.inf)
    assert presence.n_listed == np.count_nonzero(arrays.listed)
    found = {slot: tuple(wait) for slot, wait in enumerate(arrays.waits.tolist()) if wait[QUEUE] >= 0}
    assert found == waiting
    return waiting


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(calls, st.booleans())
def test_nodes_are_listed_exactly_while_they_live_and_are_not_quarantined(model, changes, forgets):
    fleet = Fleet(model.features.node, forget_after=5.0 if forgets else math.inf)
    fleet.upsert(range(N))
    alive, quarantined, now = dict.fromkeys(range(N), math.inf), dict.fromkeys(range(N), -math.inf), -math.inf
    for what, some, time in changes:
        ids = [id_ for id_ in some if id_ in fleet]
        if what == "advance":
            now = max(now, time)
            for _ in range(2):  # who was only now found silent is forgotten by the next call
                fleet.advance(now)
            gone = set(alive) - set(fleet.ids())
            assert all(max(alive[id_] + 5.0, quarantined[id_]) <= now for id_ in gone)
            for id_ in gone:
                del alive[id_], quarantined[id_]
            assert forgets or not gone
        elif what == "heartbeat":
            fleet.heartbeat(ids, alive_until=time)
            alive |= {id_: time if alive[id_] == math.inf else max(alive[id_], time) for id_ in ids}
        elif what == "quarantine":
            fleet.quarantine(ids, until=time)
            quarantined |= dict.fromkeys(ids, time)
        else:
            fleet.update(ids, alive_until=time)
            alive |= dict.fromkeys(ids, time)
        ids = list(alive)
        at = fleet.table.slots(ids)
        assert fleet.arrays.alive_until[at].tolist() == list(alive.values())
        if what == "advance":
            expected = [alive[id_] > now and quarantined[id_] <= now for id_ in ids]
            assert fleet.arrays.listed[at].tolist() == expected
            assert not fleet.is_due(now)
        waits = check_heaps(vars(fleet)["_store"].presence)
        for id_, slot in zip(ids, at.tolist(), strict=True):
            q = waits.get(slot, (None,))[0]
            assert fleet.arrays.listed[slot] or q in (RETURNS, FORGETS, None)
            assert q != LEAVES or fleet.arrays.listed[slot], id_


def counting(fleet_of):
    """A fleet, and how many nodes each of its hooks was told of at once."""
    told = []
    hooks = Hooks(*(lambda slots: told.append(len(slots)),) * 3)
    return fleet_of(hooks), told


def test_one_call_looks_at_a_bounded_part_of_those_that_fell_silent_at_once(model):
    n = 12_000
    fleet, told = counting(lambda hooks: Fleet(model.features.node, hooks=hooks))
    fleet.upsert(range(n), alive_until=10.0)
    told.clear()
    most, left = HOLDS[LEAVES] * (HOLD // (LOOK * BATCH)) * BATCH, n
    while left:
        fleet.advance(20.0)
        assert left - int(fleet.arrays.listed.sum()) == min(most, left)
        left = int(fleet.arrays.listed.sum())
    assert max(told) == BATCH
    assert sum(told) == n


def test_a_heartbeat_costs_nothing_of_the_queue(model):
    fleet = Fleet(model.features.node)
    fleet.upsert(range(1_000), alive_until=10.0)
    presence = vars(fleet)["_store"].presence
    before = presence.arrays.heaps[LEAVES].copy()
    for _ in range(3):
        fleet.heartbeat(range(1_000), alive_until=50.0)
    np.testing.assert_array_equal(before, presence.arrays.heaps[LEAVES])
    fleet.advance(20.0)
    assert fleet.arrays.listed.sum() == 1_000
    assert presence.clock[NEXT_LEAVE] == 50.0


def test_the_end_of_a_life_waits_for_others_and_the_end_of_a_quarantine_does_not(model):
    fleet = Fleet(model.features.node)
    fleet.upsert([1, 2], alive_until=10.0)
    assert not fleet.is_due(10.0)
    assert fleet.is_due(10.0 + LAG)
    fleet.quarantine([2], until=9.0)
    assert fleet.is_due(9.0)


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, "1h", None])
def test_a_time_to_be_forgotten_after_is_checked(model, seconds):
    with pytest.raises(InputError, match="forget_after: expected seconds, more than 0"):
        Scheduler(model, forget_after=seconds)


REFUSED = {
    "a column that is none": lambda sched, now: sched.decide({"client_id": 17, "typo": 1}, now=now),
    "a node that is unknown": lambda sched, now: sched.decide({"client_id": 17}, [99], now=now),
    "a batch with a column that is none": lambda sched, now: sched.decide_batch(
        {"client_id": [17], "typo": [1]}, now=now
    ),
    "a batch with a node that is unknown": lambda sched, now: sched.decide_batch({"client_id": [17]}, [[99]], now=now),
    "a batch with too many blocklists": lambda sched, now: sched.decide_batch(
        {"client_id": [17]}, exclude=[[], []], now=now
    ),
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
def test_a_call_that_is_refused_leaves_no_node_silent_and_forgets_none(model, call):
    sched = Scheduler(model, seed=0, forget_after=86_400.0)
    sched.fleet.upsert([1, 2, 3], alive_until=1_060.0)
    sched.decide({"client_id": 17}, now=1_000.0)
    for _ in range(2):
        with pytest.raises(InputError):
            call(sched, 1_000.0 + 2 * 86_400.0)
    assert sched.fleet.n_by_presence()["live"] == len(sched.fleet) == 3
    assert sched.decide({"client_id": 17}, now=1_001.0).reason == "best"

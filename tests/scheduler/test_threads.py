"""Threads that decide at once: no uplink twice, no id twice, and each decision as if it had been alone."""

import sys
import threading

import numpy as np
import pytest
from numba import config

from scheduler import Scheduler
from scheduler.decisions.arrays import N_FORGOTTEN, NEXT, NEXT_HOLD
from scheduler.errors import NestedCallError
from scheduler.runtime.random import uniform
from scheduler.spec import Policy
from tests.scheduler.runtime.test_locks import free, in_threads
from tests.schedulers import COLUMNS, IDS, LEDGER, OK, new

ROUNDS, BATCH = (2, 8) if config.DISABLE_JIT else (20, 64)
THREADS = 4
CLIENTS = [17, "tv", 99, 5]


@pytest.fixture(autouse=True)
def _often_switched():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def requests(random, n=BATCH, kbps=(0.0, 300.0, 900.0)):
    return {
        "client_id": [CLIENTS[k] for k in random.integers(len(CLIENTS), size=n)],
        "kind": [["live", "bulk", None][k] for k in random.integers(3, size=n)],
        "kbps": random.choice(kbps, n),
    }


def held_by_slot(sched):
    """What the log holds of each slot, none of whose nodes left."""
    log = sched.state.log.arrays
    return np.bincount(log.slot.ravel(), log.held.ravel(), len(sched.fleet.arrays.reserved))


@pytest.mark.parametrize("seed", range(3))
def test_no_uplink_is_promised_twice(model, seed):
    """Many threads want the last of five nodes' uplink; outcomes and expiry give it back meanwhile."""
    sched = new(model, seed=seed, policy=Policy(explore="softmax", temperature=1e6, max_nodes=2), ledger=LEDGER)
    over, ids, served = [], [], []
    together = threading.Barrier(THREADS, timeout=60)  # or their clocks part

    def serve(t):
        random = np.random.default_rng([seed, t])
        for r in range(ROUNDS):
            together.wait()
            ds = sched.decide_batch(requests(random, kbps=(700.0, 1_300.0)), now=20.0 * r)
            ids.extend(ds.id.tolist())
            reserved, capacity = (a.copy() for a in (sched.fleet.arrays.reserved, sched.fleet.arrays.capacity))
            over.append((reserved - capacity)[np.isfinite(capacity)].max())
            taken = np.flatnonzero(ds.position[:, 0] >= 0)
            served.append(len(taken))
            for k in taken[::2]:
                for node in ds.one(k).nodes:
                    sched.observe(int(ds.id[k]), OK, now=20.0 * r, node=node)

    in_threads(*[lambda t=t: serve(t) for t in range(THREADS)])
    n = THREADS * ROUNDS * BATCH
    assert sorted(ids) == list(range(n))
    assert 0 < sum(served) < n
    assert max(over) <= 1e-6
    np.testing.assert_allclose(held_by_slot(sched), sched.fleet.arrays.reserved, atol=1e-6)
    sched.decide({"client_id": 17}, now=1e6)
    np.testing.assert_allclose(sched.fleet.arrays.reserved, 0, atol=1e-6)


def test_each_unit_of_uplink_goes_to_exactly_one(model):
    """With room for 60 requests on three nodes exactly 60 of many are served, whoever asks."""
    sched = new(model, ledger=LEDGER)
    sched.fleet.remove(IDS)
    columns = {name: column[:3] for name, column in COLUMNS.items()} | {"uplink": [2_000, 2_000, 2_000]}
    sched.fleet.upsert(["a", "b", "c"], columns)
    served = []

    def serve(t):
        random = np.random.default_rng(t)
        asked = [requests(random, kbps=(100.0,)) for _ in range(4)]
        served.extend((sched.decide_batch(batch, now=0.0).position >= 0).sum() for batch in asked)

    in_threads(*[lambda t=t: serve(t) for t in range(THREADS)])
    assert sum(served) == min(60, THREADS * 4 * BATCH)
    assert (sched.fleet.arrays.reserved <= 2_000).all()


@pytest.mark.slow
@pytest.mark.parametrize("candidates", ["given", "retrieved"])
def test_where_nothing_changes_threads_decide_what_one_thread_does(model, candidates):
    """Without demand a decision depends on request and id alone: one thread goes through them in the order of ids."""
    policy = Policy(explore="epsilon", epsilon=0.5, max_nodes=2)
    sched, alone = (new(model, seed=3, policy=policy, ledger=LEDGER) for _ in range(2))
    sched.fleet.upsert(range(100, 400), {"isp": [7, 8, "mobile"] * 100})
    alone.fleet.upsert(range(100, 400), {"isp": [7, 8, "mobile"] * 100})
    rows = [IDS] * BATCH if candidates == "given" else None
    found = {}

    def serve(t):
        random = np.random.default_rng(t)
        for r in range(ROUNDS):
            asked = requests(random, kbps=(0.0,))
            if r % 4 == 3:
                one = {name: column[0] for name, column in asked.items()}
                d = sched.decide(one, rows and IDS, now=1.0)
                found[d.id] = one, d
                continue
            ds = sched.decide_batch(asked, rows, now=1.0)
            for i in range(BATCH):
                one = {name: column[i] for name, column in asked.items()}
                found[int(ds.id[i])] = one, ds.one(i)

    in_threads(*[lambda t=t: serve(t) for t in range(THREADS)])
    assert sorted(found) == list(range(len(found)))
    for id_ in range(len(found)):
        asked, decision = found[id_]
        assert repr(alone.decide(asked, rows and IDS, now=1.0)) == repr(decision)


def test_scores_under_load_are_those_of_one_thread(model):
    sched, alone = new(model, ledger=LEDGER), new(model)
    wrong = []

    def serve(t):
        random = np.random.default_rng(t)
        for _ in range(ROUNDS):
            asked = requests(random)
            ds = sched.decide_batch(asked, [IDS] * BATCH, now=1.0)
            expected = alone.score(asked, [IDS] * BATCH, now=1.0)
            i = np.flatnonzero(ds.position[:, 0] >= 0)
            for h, name in enumerate(ds.heads):
                wrong.append((ds.values[i, 0, h] != expected[name][i, ds.position[i, 0]]).sum())

    in_threads(*[lambda t=t: serve(t) for t in range(THREADS)])
    assert sum(wrong) == 0


def test_growth_removal_and_outcomes_go_on_beside_decisions(model):
    """Rows, index and tables are replaced by growth again and again; no decision names a node that never was."""
    sched = new(model, policy=Policy(explore="softmax", temperature=1e6), ledger=LEDGER)
    done = threading.Event()

    def serve(t):
        random = np.random.default_rng(t)
        while not done.is_set():
            ds = sched.decide_batch(requests(random), now=0.0)
            nodes = ds.nodes[ds.position[:, 0] >= 0, 0].tolist()
            assert all(node in IDS or node.startswith("g") for node in nodes)
            d = sched.decide({"client_id": 17}, now=0.0)
            assert np.isfinite(d.scores[0]["latency"])
            assert not np.isnan(sched.score(requests(random, 2), [IDS] * 2, now=0.0)["failure"]).any()
            sched.observe(d.id, OK, now=0.0)

    def change():
        try:
            random = np.random.default_rng(9)
            for n in range(ROUNDS):
                names = [f"g{n}-{k}" for k in range(40)]
                sched.fleet.upsert(names, {"uplink": random.integers(500, 3_000, 40), "isp": [7] * 40})
                sched.clients.upsert(names, {"isp": [8] * 40})
                if n % 3 == 2:
                    sched.fleet.remove([f"g{n - 1}-{k}" for k in range(40)])
                sched.refresh()
        finally:
            done.set()

    in_threads(change, *[lambda t=t: serve(t) for t in range(THREADS - 1)])
    rows = sched.state.arms[0].arrays.content.node_rows.copy()
    sched.refresh()
    live = sched.fleet.arrays.alive_until > -np.inf
    np.testing.assert_array_equal(rows[live], sched.state.arms[0].arrays.content.node_rows[live])
    assert free(sched.state.lock.words)


def test_a_ring_smaller_than_what_is_under_way_forgets_and_holds_nothing_for_ever(model):
    spec = new(model, ledger=LEDGER).model.spec
    sched = Scheduler(model, spec, remember=2, first_id=0)
    sched.fleet.upsert(IDS, COLUMNS)

    def serve(t):
        random = np.random.default_rng(t)
        for _ in range(ROUNDS):
            sched.decide_batch(requests(random), now=0.0)

    in_threads(*[lambda t=t: serve(t) for t in range(THREADS)])
    log = sched.state.log.arrays
    n = THREADS * ROUNDS * BATCH
    assert log.counters[NEXT] == n
    assert sorted(log.id) == [n - 2, n - 1]
    assert log.counters[NEXT_HOLD] >= n - 2
    assert (log.state != 0).sum() <= 2
    assert log.counters[N_FORGOTTEN] > 0
    np.testing.assert_allclose(held_by_slot(sched), sched.fleet.arrays.reserved, atol=1e-6)


def test_expiry_waits_for_an_id_that_is_taken_but_not_written(model):
    sched = new(model, ledger=LEDGER)
    log = sched.state.log.arrays
    sched.decide({"client_id": 17, "kbps": 100.0}, [1], now=0.0)
    log.counters[NEXT] += 1  # another thread takes id 1
    d = sched.decide({"client_id": 17, "kbps": 100.0}, [1], now=0.0)
    assert d.id == 2
    sched.decide({"client_id": 17}, [1], now=100.0)
    assert log.counters[NEXT_HOLD] == 1
    assert log.held.sum() == 100.0
    log.id[1] = 1  # and writes it
    sched.decide({"client_id": 17}, [1], now=100.0)
    assert not log.held.any()


def test_draws_can_be_made_again_from_seed_and_id(model):
    sched = new(model, seed=11, policy=Policy(explore="epsilon", epsilon=1.0))
    ds = sched.decide_batch({"client_id": [17] * BATCH}, [IDS] * BATCH, now=0.0)
    for i in range(BATCH):
        assert ds.position[i, 0] == int(uniform(11, int(ds.id[i]), 0) * len(IDS))


def test_the_clock_never_goes_back(model):
    sched = new(model)
    in_threads(
        *[lambda t=t: [sched.decide({"client_id": 17}, now=t + n / 100) for n in range(50)] for t in range(THREADS)]
    )
    assert sched.state.clock.latest == THREADS - 1 + 49 / 100


def test_a_request_that_would_change_the_scheduler_is_refused(sched):
    class Mischief(dict):
        def __getitem__(self, key):
            sched.fleet.upsert(["new"])
            return super().__getitem__(key)

    with pytest.raises(NestedCallError):
        sched.decide_batch(Mischief(client_id=[17]), now=0.0)
    assert "new" not in sched.fleet
    sched.fleet.upsert(["new"])
    assert free(sched.state.lock.words)

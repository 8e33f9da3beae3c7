"""The public face: what a control plane calls and what it gets."""

import math
import threading

import numpy as np
import pytest

from scheduler import DuplicateOutcomeError, InputError, UnknownDecisionError
from scheduler.decisions.arrays import REASONS
from scheduler.features.kernels.operations import fill_row
from scheduler.features.program import compile_features
from scheduler.spec import Policy
from tests.schedulers import COLUMNS, IDS, LEDGER, OK, flat, new, same, state

INF, NAN = math.inf, math.nan


def test_the_day_of_a_control_plane(sched, model):
    d = sched.decide({"client_id": 17, "kind": "live"}, candidates=[1, 2, "box"], now=100.0)
    assert d.nodes[0] in {1, 2, "box"}
    assert (d.id, d.propensity, d.reason, d.dropped) == (0, 1.0, "best", {})
    assert d.model_version == model.version
    assert d.scores[0].keys() == {"failure", "latency", "utility"}
    sched.observe(d.id, {"ok": True, "rtt_ms": 31.0, "speed": 9.0}, now=100.031)
    counters = sched.counters()
    assert (counters["decisions"], counters["outcomes"], counters["nodes"]) == (1, 1, 5)
    assert counters["history_entries"] == 5  # one for each key


def test_a_batch_is_arrays_in_and_arrays_out(sched):
    ds = sched.decide_batch({"client_id": np.array([17, 18, 17])}, candidates=np.array([[1, 2, 3]] * 3), now=0.0)
    assert ds.id.tolist() == [0, 1, 2]
    assert ds.nodes.shape == ds.position.shape == ds.utility.shape == (3, 1)
    assert ds.values.shape == (3, 1, 2)
    assert ds.heads == ("failure", "latency")
    assert [ds.one(i).nodes[0] for i in range(3)] == [[1, 2, 3][p] for p in ds.position[:, 0]]
    assert ds.one(1).reason == REASONS[ds.reason[1]] == "best"


@pytest.mark.parametrize("candidates", ["given", "retrieved"])
@pytest.mark.parametrize("explore", ["none", "epsilon", "softmax"])
def test_one_by_one_equals_a_batch(model, explore, candidates):
    policy = Policy(explore=explore, epsilon=0.5, temperature=100.0, max_nodes=3)
    a, b = (new(model, seed=9, policy=policy, ledger=LEDGER) for _ in range(2))
    clients = [17, "tv", 99, 17] * 10
    kbps = np.linspace(0, 3_000, 40)
    rows = None if candidates == "retrieved" else [IDS] * 40
    ds = a.decide_batch({"client_id": clients, "kbps": kbps}, rows, now=5.0)
    for i, (client, demand) in enumerate(zip(clients, kbps.tolist(), strict=True)):
        one = b.decide({"client_id": client, "kbps": demand}, rows and IDS, now=5.0)
        assert repr(one) == repr(ds.one(i))  # as text, so that NaN equals NaN
    assert same(state(a), state(b))


def test_the_same_seed_and_calls_decide_the_same_and_another_seed_does_not(model):
    def run(seed):
        sched = new(model, seed=seed, policy=Policy(explore="softmax", temperature=1e6))
        nodes = []
        for n in range(60):
            d = sched.decide({"client_id": n % 5}, now=float(n))
            sched.observe(d.id, {"ok": n % 7 > 0, "rtt_ms": 10.0 + n}, now=n + 0.5)
            nodes.append((d.nodes, d.propensity))
        return nodes, state(sched)

    (a, after_a), (b, after_b), (c, _) = run(4), run(4), run(5)
    assert a == b
    assert same(after_a, after_b)
    assert a != c


def test_without_candidates_the_tiers_find_them(sched):
    nodes = {sched.decide({"client_id": 17}, now=0.0).nodes[0] for _ in range(5)}
    assert nodes <= set(IDS)
    sched.fleet.remove(IDS)
    assert sched.decide({"client_id": 17}, now=0.0).reason == "origin:no_candidates"
    sched.fleet.upsert(["new"])
    assert sched.decide({"client_id": 17}, now=0.0).nodes == ("new",)


def test_a_row_may_be_padded(sched):
    rows = np.array([[None, 3, None], [None] * 3, ["box", None, 1]], dtype=object)
    ds = sched.decide_batch({"client_id": [17] * 3}, rows, now=0.0)
    assert ds.one(0).nodes == (3,)
    assert ds.position[0, 0] == 1
    assert ds.one(1).reason == "origin:no_candidates"
    assert ds.one(2).nodes[0] in {"box", 1}
    assert np.isnan(sched.score({"client_id": [17] * 3}, rows, now=0.0)["latency"]).tolist() == [
        [True, False, True],
        [True] * 3,
        [False, True, False],
    ]


def test_no_requests_are_no_decisions(sched):
    ds = sched.decide_batch({"client_id": []}, np.empty((0, 4), np.int64), now=0.0)
    assert len(ds.id) == 0
    assert len(sched.decide_batch({"client_id": []}, now=0.0).id) == 0


def test_more_candidates_than_tiers_would_give_are_fine(sched):
    sched.fleet.upsert(range(100, 1100))
    d = sched.decide({"client_id": 17}, list(range(100, 1100)), now=0.0)
    assert 100 <= d.nodes[0] < 1100


def test_a_client_is_looked_up_and_the_request_goes_before_it(sched):
    known = sched.score({"client_id": [17]}, [IDS], now=0.0)["latency"]
    spelled = sched.score(
        {"client_id": ["unknown"], "isp": [7], "lat": [1], "lon": [3], "taste": [[1, 0, 0]]}, [IDS], now=0.0
    )["latency"]
    other = sched.score({"client_id": [17], "lat": [80]}, [IDS], now=0.0)["latency"]
    np.testing.assert_array_equal(known, spelled)
    assert (known != other).any()
    np.testing.assert_array_equal(sched.score({"client_id": [np.int64(17)]}, [IDS], now=0.0)["latency"], known)
    sched.clients.remove([17])
    nobody = sched.score({"client_id": [17]}, [IDS], now=0.0)["latency"]
    np.testing.assert_array_equal(nobody, sched.score({"client_id": ["unknown"]}, [IDS], now=0.0)["latency"])


def drive(sched, n=200, seed=0):
    """Decide and observe for a while; outcomes come late and out of order."""
    random = np.random.default_rng(seed)
    waiting = []
    for i in range(n):
        now = float(i)
        client = [17, "tv", 5][random.integers(3)]
        d = sched.decide({"client_id": client, "kind": ["live", "bulk", None][random.integers(3)]}, IDS, now=now)
        waiting.append(d.id)
        while len(waiting) > 3:
            failed = random.random() < 0.3
            measured = {"ok": not failed, "rtt_ms": None if failed else float(random.uniform(1, 500))}
            speed = float(random.uniform(0, 100)) if random.random() < 0.5 else None
            sched.observe(waiting.pop(random.integers(len(waiting))), {**measured, "speed": speed}, now=now)


def test_scores_are_those_of_the_model_on_rows_from_scratch(sched, model):
    """What is kept between calls (a node's forest row, request rows) never differs from a row filled anew."""
    drive(sched)
    now = 210.0
    features = compile_features(model.spec, model.vocabulary)
    rows = np.empty((len(IDS), len(features.names)), np.float32)
    nodes = sched.fleet.arrays.columns
    client = sched.clients.columns
    (c,) = sched.clients.slots([17])
    for row, slot in zip(rows, sched.fleet.table.slots(IDS), strict=True):
        fill_row(features.program, client, c, nodes, slot, sched.history, now, row)
    assert not np.isnan(rows).all(axis=1).any()
    np.testing.assert_array_equal(sched.features({"client_id": [17]}, [IDS], now=now)[0], rows)
    found = sched.score({"client_id": [17]}, [IDS], now=now)
    for head, expected in model.predict(rows).items():
        np.testing.assert_allclose(found[head][0], expected, rtol=2e-5)


def test_scoring_changes_nothing(sched):
    drive(sched, 20)
    before = state(sched)
    sched.score({"client_id": [17]}, [IDS], now=1e9)
    assert same(before, state(sched))


def test_history_filled_from_outside_counts_after_a_refresh(sched, model):
    other = new(model)
    drive(other)
    for ours, theirs in zip(flat(sched.history), flat(other.history), strict=True):
        if ours is not sched.history.rates:
            ours[...] = theirs
    sched.refresh()
    for head, values in other.score({"client_id": [17]}, [IDS], now=300.0).items():
        np.testing.assert_array_equal(sched.score({"client_id": [17]}, [IDS], now=300.0)[head], values)


def slate_of_three(model):
    sched = new(model, policy=Policy(max_nodes=3), ledger=LEDGER)
    d = sched.decide({"client_id": 17, "kbps": 6_500.0}, ["box", "1", 2], now=0.0)
    assert len(d.nodes) == 3
    return sched, d


def test_a_row_follows_every_column_that_it_reads(sched):
    for name, raw in COLUMNS.items():
        before = sched.state.arms[0].arrays.content.node_rows.copy()
        sched.fleet.update([1, 2], {name: [raw[2], raw[3]]})
        kept = sched.state.arms[0].arrays.content.node_rows.copy()
        assert (kept == before).all() == (name not in {"isp", "load"})
        sched.refresh()
        np.testing.assert_array_equal(kept, sched.state.arms[0].arrays.content.node_rows)


def test_each_node_of_a_slate_has_its_own_outcome(model):
    sched, d = slate_of_three(model)
    with pytest.raises(InputError, match="which node"):
        sched.observe(d.id, OK, now=1.0)
    with pytest.raises(UnknownDecisionError, match="a node of its slate, found 1"):
        sched.observe(d.id, OK, now=1.0, node=1)  # the slate holds "1"
    sched.observe(d.id, OK, now=1.0, node=d.nodes[1])
    before = state(sched)
    with pytest.raises(DuplicateOutcomeError):
        sched.observe(d.id, OK, now=1.0, node=d.nodes[1])
    with pytest.raises(DuplicateOutcomeError):
        sched.observe_batch([d.id] * 2, {"ok": False}, now=1.0, nodes=[d.nodes[0]] * 2)
    with pytest.raises(InputError, match="nodes: expected 2, found 1"):
        sched.observe_batch([d.id] * 2, {"ok": False}, now=1.0, nodes=[d.nodes[0]])
    assert same(before, state(sched))
    sched.observe_batch([d.id] * 2, {"ok": False}, now=1.0, nodes=[d.nodes[2], d.nodes[0]])
    assert sched.counters()["outcomes"] == 3


def test_outcomes_one_by_one_equal_a_batch(model):
    a, b = new(model), new(model)
    for sched in (a, b):
        sched.decide_batch({"client_id": [17, "tv", 5]}, [IDS] * 3, now=0.0)
    a.observe(2, {"ok": False}, now=1.0)
    a.observe(0, {"ok": True, "rtt_ms": 5.0}, now=2.0)
    a.observe(1, {"ok": True, "rtt_ms": 7.0, "speed": 3.0}, now=1.5)
    b.observe_batch(
        np.array([2, 0, 1]),
        {"ok": [False, True, True], "rtt_ms": [NAN, 5, 7], "speed": [None, None, 3]},
        now=np.array([1.0, 2.0, 1.5]),
    )
    assert same(state(a), state(b))
    a.observe_batch([], {"ok": []}, now=0.0)
    assert same(state(a), state(b))


@pytest.mark.parametrize("now", [[1.0, 2.0, 3.0], [1.0, NAN], "x", [1.0, "x"], [[1.0, 2.0]]])
def test_a_batch_of_outcomes_needs_one_time_or_one_for_each(sched, now):
    sched.decide_batch({"client_id": [17, 18]}, [IDS] * 2, now=0.0)
    before = state(sched)
    with pytest.raises(InputError, match="now: expected"):
        sched.observe_batch([0, 1], {"ok": False}, now=now)
    assert same(before, state(sched))


def test_an_outcome_of_a_removed_node_teaches_history_but_not_the_next_in_its_slot(model):
    sched, fresh = new(model, ledger=LEDGER), new(model, ledger=LEDGER)
    d = sched.decide({"client_id": 17, "kbps": 500.0}, [3], now=0.0)
    sched.fleet.remove([3])
    sched.fleet.upsert(["heir"], {"uplink": [900]})
    slot = sched.fleet.table.slots(["heir"])[0]
    e = sched.decide({"client_id": 18, "kbps": 400.0}, ["heir"], now=0.0)
    sched.observe(d.id, OK, now=1.0)
    assert sched.fleet.arrays.reserved[slot] == 400
    fresh.fleet.remove([3])
    fresh.fleet.upsert(["heir"], {"uplink": [900]})
    asked = {"client_id": [99]}
    for head, values in fresh.score(asked, [["heir"]], now=2.0).items():
        assert sched.score(asked, [["heir"]], now=2.0)[head] == values
    assert sched.counters()["history_entries"] == 4  # its kind was not given
    sched.observe(e.id, OK, now=2.0)
    assert sched.fleet.arrays.reserved[slot] == 0


@pytest.mark.parametrize("back", ["to its slot", "to another slot"])
def test_a_node_that_comes_back_finds_its_past_also_what_came_while_it_was_away(model, back):
    left, stayed = new(model, ledger=LEDGER), new(model, ledger=LEDGER)
    columns = {name: [column[2]] for name, column in COLUMNS.items()}
    for sched in (left, stayed):
        d = sched.decide({"client_id": 17, "kbps": 500.0}, [3], now=0.0)
        if sched is left:
            sched.fleet.remove([3])
            if back == "to another slot":
                sched.fleet.upsert(["heir"])
            sched.fleet.upsert([3], columns)
        sched.observe(d.id, {"ok": True, "rtt_ms": 5_000.0, "speed": 3.0}, now=1.0)
    assert not left.fleet.arrays.reserved.any()
    asked = {"client_id": [17]}
    for head, values in stayed.score(asked, [[3]], now=2.0).items():
        assert left.score(asked, [[3]], now=2.0)[head] == values


@pytest.mark.slow
def test_threads_neither_fail_nor_promise_more_uplink_than_there_is(model):  # noqa: C901 - four kinds of threads
    policy = Policy(explore="softmax", temperature=100.0, max_nodes=2)
    sched = new(model, policy=policy, ledger=LEDGER)
    errors, over = [], []
    done = threading.Event()

    def guarded(work):
        def run():
            try:
                work(np.random.default_rng(threading.get_ident() % 2**32))
            except Exception as error:  # noqa: BLE001 - shown by the assertion below
                errors.append(error)

        return run

    def serve(random):
        for n in range(400):
            d = sched.decide({"client_id": int(random.integers(50)), "kbps": 700.0}, now=n / 100)
            for node in d.nodes:
                if random.random() < 0.8:
                    sched.observe(d.id, OK, now=n / 100, node=node)

    def grow(random):
        for n in range(200):
            sched.fleet.upsert([f"g{n}"], {"uplink": [float(random.integers(500, 3_000))], "isp": [7]})
            if n > 20:
                sched.fleet.remove([f"g{n - 20}"])
            sched.clients.upsert([n % 50], {"isp": [7]})

    def watch(_):
        def look():
            arrays = sched.fleet.arrays
            held = arrays.alive_until > -INF
            over.extend((arrays.reserved[held] - arrays.capacity[held] * (1 + 1e-9)).clip(0).tolist())

        while not done.is_set():
            sched.state.lock.write(look)

    watcher = threading.Thread(target=guarded(watch))
    workers = [threading.Thread(target=guarded(work)) for work in (serve, serve, serve, grow)]
    watcher.start()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    done.set()
    watcher.join()
    assert errors == []
    assert max(over) == 0
    assert sched.counters()["decisions"] == 1_200
    last = sched.decide({"client_id": 1}, now=1e6)
    assert last.nodes
    assert not sched.fleet.arrays.reserved.any()

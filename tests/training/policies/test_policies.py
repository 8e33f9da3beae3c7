"""What every policy promises, and what each baseline does of its own."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from scheduler.errors import InputError
from scheduler.model.model import Model
from scheduler.scheduler import Scheduler
from tests import evaluation_world as world
from training.evaluation.evaluate import evaluate
from training.features.replay import replay
from training.policies import (
    Learned,
    LinUCB,
    LowRank,
    Nearest,
    NodeAverage,
    PairAverage,
    PairLast,
    Question,
    Random,
    SameCarrier,
    Seen,
    ThompsonNode,
    ThompsonPair,
    VowpalWabbit,
    all_policies,
    baselines,
    protocol,
)
from training.policies.bandit_features import Inputs
from training.policies.moving_averages import HALF_LIFE, Averages
from training.policies.protocol import least
from training.telemetry import at_rows

NAMES = [
    "random",
    "node_average",
    "pair_average",
    "pair_last",
    "key_average",
    "nearest",
    "same_carrier",
    "thompson_node",
    "thompson_pair",
    "low_rank",
    "linucb",
    "vowpal_wabbit",
    "learned",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Model.load(world.write_model(tmp_path_factory.mktemp("model") / "tiny-1"))


@pytest.fixture(params=NAMES)
def make(request, model):
    """Make the policy afresh, by seed."""
    if request.param == "learned":
        return lambda seed=0: Learned(world.setting(seed), model)
    return lambda seed=0: baselines(world.setting(seed))[request.param]


def run(policy, batches, warm=None):
    """Return what a policy picks when everything else is random."""
    telemetry = world.telemetry() if warm is None else warm
    policies = {"random": Random(world.setting()), "judged": policy}
    return evaluate(batches, policies, world.SPEC, telemetry).picks["judged"]


# The contract: every policy.


def test_all_policies_are_under_contract(model):
    assert list(all_policies(world.setting(), model)) == NAMES


def test_a_pick_is_never_padding(make):
    picks = run(make(), world.batches(30))
    assert (picks.node >= 0).all()
    assert np.isfinite(picks.cost).all()


def test_the_same_seed_picks_the_same(make):
    first, second = (run(make(7), world.batches(20)).node for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_outcomes_that_were_not_picked_change_nothing(make):
    batches = world.batches(20)
    before = run(make(), batches).node.reshape(len(batches), -1)
    rng = np.random.default_rng(5)
    others = [scrambled(one, picked, rng) for one, picked in zip(batches, before, strict=True)]
    np.testing.assert_array_equal(run(make(), others).node, before.ravel())


def scrambled(one, picked, rng):
    """Return a batch in which only the picked nodes have their true outcomes."""
    other = (one.candidates != picked[:, None]) & (one.candidates >= 0)
    ok = np.where(other, rng.random(one.ok.shape) < 0.5, one.ok)
    rtt = np.where(other, np.where(ok, rng.uniform(1, 999, ok.shape), np.nan), one.outcomes["rtt_ms"])
    cost = np.where(other, np.where(ok, rtt, 1000.0), one.cost).astype(np.float32)
    arrival = np.where(other, one.time + cost / 1000.0, one.arrival)
    return replace(one, ok=ok, outcomes={"rtt_ms": rtt.astype(np.float32)}, cost=cost, arrival=arrival)


def test_a_single_candidate_is_picked(make):
    batches = world.batches(5, k=1)
    expected = np.concatenate([one.candidates[:, 0] for one in batches])
    np.testing.assert_array_equal(run(make(), batches).node, expected)


def test_nodes_and_clients_never_seen_are_no_trouble(make):
    picks = run(make(), world.batches(20), warm=world.telemetry(clients=1, nodes=2))
    assert (picks.node >= 0).all()


def test_nothing_seen_at_all_is_no_trouble(make):
    batches = world.batches(5)
    policy = make()
    for one in batches:
        n = len(one.client)
        asked = Question(one.time, np.arange(n), one.client, one.candidates, one.request, one.node_state)
        columns = policy.pick(asked)
        assert (one.candidates[np.arange(n), columns] >= 0).all()


def test_failures_of_everything_are_no_trouble(make):
    picks = run(make(), world.batches(20, fail=1.1))
    assert not picks.ok.any()
    assert (picks.cost == 1000.0).all()


def test_outcomes_late_and_out_of_turn_are_no_trouble(make):
    batches = world.batches(30, seconds=0.02)  # answers take 5 ms to 1 s, so batches overlap
    assert (run(make(), batches).node >= 0).all()


@pytest.mark.slow
def test_every_baseline_that_learns_beats_chance():
    batches, telemetry = world.batches(200, fail=0.0), world.telemetry(2_000)
    scores = evaluate(batches, baselines(world.setting()), world.SPEC, telemetry).policies
    assert all(scores[name].gap_closed > 0.5 for name in scores if name not in ("random", "nearest", "same_carrier"))


def test_baselines_can_be_left_out_but_for_random():
    assert "vowpal_wabbit" not in baselines(world.setting(), without=["vowpal_wabbit"])
    for name in ("random", "linucbb"):
        with pytest.raises(InputError, match=f"without: expected some of node_average, .*found {name}"):
            baselines(world.setting(), without=[name])


MANY = {"clients": 100_000, "nodes": 200_000}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("vowpal_wabbit", "learned")])
def test_memory_grows_with_the_pairs_that_were_seen(name):
    """100,000 clients and 200,000 nodes: one number for each pair that may be would be 160 GB."""
    rng = np.random.default_rng(0)
    clients, nodes = (
        replace(
            table,
            ids=np.arange(n),
            columns={c: at_rows(v, np.arange(n) % len(table)) for c, v in table.columns.items()},
        )
        for table, n in ((world.CLIENTS, MANY["clients"]), (world.NODES, MANY["nodes"]))
    )
    n = 10_000
    client, node = rng.integers(0, MANY["clients"], n), rng.integers(0, MANY["nodes"], (n, 4))
    asked = Question(1e6, np.arange(n), client.astype(np.int32), node.astype(np.int32), {}, {})
    rows = list(zip(client.tolist(), node[:, 0].tolist(), rng.uniform(1.0, 900.0, n).tolist(), range(n), strict=True))
    tracemalloc.start()
    try:
        policy = baselines(world.setting()._replace(clients=clients, nodes=nodes))[name]
        columns = policy.pick(asked)
        told(policy, rows)
        columns = policy.pick(asked)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert ((columns >= 0) & (columns < 4)).all()
    assert peak < 200_000_000


def test_a_question_in_blocks_is_answered_as_in_one(make, monkeypatch):
    batches, none = (
        world.batches(20),
        world.telemetry().where(np.zeros(300, bool)),
    )  # warming up goes block by block too
    expected = run(make(), batches, none).node
    monkeypatch.setattr(protocol, "BLOCK", 3)
    np.testing.assert_array_equal(run(make(), batches, none).node, expected)


# Averages.


def naive(values, times, half_life):
    """Weigh every value by its age at the time of the last one."""
    weights = [0.5 ** ((times[-1] - t) / half_life) for t in times]
    return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)


def test_averages_fade_as_a_weighted_mean_does():
    rng = np.random.default_rng(0)
    keys, values, times = rng.integers(0, 5, 200), rng.uniform(1, 9, 200), np.sort(rng.uniform(0, 100, 200))
    averages = Averages(6, 20.0)
    averages.add(keys[:90], values[:90], times[:90])
    averages.add(keys[90:], values[90:], times[90:])
    expected = [naive(values[keys == k], times[keys == k], 20.0) for k in range(5)]
    np.testing.assert_allclose(averages.read(np.arange(6)), [*expected, np.nan])


@pytest.mark.parametrize(("half_life", "expected"), [(np.inf, 4.0), (0.0, 7.0)])
def test_averages_without_or_with_complete_fading_are_means_and_last_values(half_life, expected):
    averages = Averages(1, half_life)
    averages.add(np.zeros(3, int), np.array([2.0, 3.0, 7.0]), np.array([0.0, 5.0, 9.0]))
    assert averages.read(np.zeros(1, int)) == pytest.approx(expected)


def test_a_value_that_comes_late_counts_as_if_it_came_with_the_last():
    averages = Averages(1, 10.0)
    averages.add(np.zeros(2, int), np.array([2.0, 4.0]), np.array([10.0, 5.0]))
    assert averages.read(np.zeros(1, int)) == pytest.approx(3.0)


def told(policy, rows):
    """Tell a policy outcomes given as (client, node, cost, arrival)."""
    client, node, cost, arrival = (np.array(column) for column in zip(*rows, strict=True))
    ok = cost < 1000.0
    rtt = np.where(ok, cost, np.nan).astype(np.float32)
    policy.learn(
        Seen(
            np.arange(len(rows)),
            client.astype(np.int32),
            node.astype(np.int32),
            ok,
            cost.astype(np.float32),
            {"rtt_ms": rtt},
            arrival - 0.1,
            arrival.astype(np.float64),
        )
    )
    return policy


def picked(policy, client, candidates):
    """Return the node picked for one request."""
    asked = Question(10_000.0, np.array([99]), np.array([client], np.int32), np.array([candidates], np.int32), {}, {})
    return candidates[int(policy.pick(asked)[0])]


def test_node_average_goes_by_all_clients():
    policy = told(NodeAverage(world.setting()), [(0, 0, 10.0, 1.0), (1, 0, 90.0, 2.0), (1, 1, 40.0, 2.0)])
    assert picked(policy, 0, [0, 1]) == 1


def test_pair_average_goes_by_the_client_and_else_by_the_node():
    policy = told(PairAverage(world.setting()), [(0, 0, 10.0, 1.0), (1, 0, 90.0, 2.0), (1, 1, 40.0, 2.0)])
    assert picked(policy, 0, [1, 0]) == 0
    assert picked(policy, 1, [0, 1]) == 1
    assert picked(policy, 2, [0, 1]) == 1


def test_pair_last_forgets_all_but_the_last():
    policy = told(PairLast(world.setting()), [(0, 0, 10.0, 1.0), (0, 1, 40.0, 1.0), (0, 0, 90.0, 2.0)])
    assert picked(policy, 0, [0, 1]) == 1


def test_a_node_never_seen_counts_as_average():
    policy = told(NodeAverage(world.setting()), [(0, 0, 10.0, 1.0), (1, 1, 90.0, 2.0)])
    assert picked(policy, 0, [1, 2]) == 2
    assert picked(policy, 0, [2, 0]) == 0


def test_old_outcomes_fade_by_half_in_the_half_life():
    life = HALF_LIFE * 60.0
    rows = [(0, 0, 100.0, 0.0), (0, 0, 1.0, life), (0, 1, 36.0, life)]
    # Roots: (10 / 2 + 1) / 1.5 = 4 against 6; without fading it would be 5.5, with none forgotten still less.
    policy = told(PairAverage(world.setting()), rows)
    assert policy.levels.pair.read(np.zeros(1, int)) == pytest.approx(4.0)


def test_failures_count_with_their_cost():
    policy = told(PairAverage(world.setting()), [(0, 0, 1000.0, 1.0), (0, 1, 900.0, 1.0)])
    assert picked(policy, 0, [0, 1]) == 1


# Places.


def test_nearest_goes_by_great_circles():
    assert picked(Nearest(world.setting()), 0, [4, 2, 1]) == 1
    assert picked(Nearest(world.setting()), 1, [0, 3, 2]) == 2


def test_nearest_takes_an_unknown_place_only_where_no_place_is_known():
    assert picked(Nearest(world.setting()), 0, [5, 4]) == 4
    assert picked(Nearest(world.setting()), 0, [5]) == 5
    assert picked(Nearest(world.setting()), 3, [4, 1]) == 4


def test_same_carrier_prefers_its_own_then_the_least_average():
    rows = [(0, 0, 50.0, 1.0), (0, 2, 40.0, 1.0), (0, 1, 1.0, 1.0)]
    policy = told(SameCarrier(world.setting()), rows)
    assert picked(policy, 1, [1, 0, 2]) == 2  # client 1, nodes 0 and 2 are red
    assert picked(policy, 1, [1, 3]) == 1
    assert picked(policy, 2, [0, 1]) == 1  # of unknown carrier
    assert picked(policy, 0, [0, 4, 1]) == 1  # no node is blue, and unknown equals nothing


def test_places_and_carriers_that_the_tables_lack_are_left_out():
    bare = replace(world.CLIENTS, columns={})
    assert not {"nearest", "same_carrier"} & baselines(world.setting()._replace(clients=bare)).keys()


# Thompson sampling.


def test_a_posterior_lies_between_its_prior_and_what_was_seen():
    policy = told(ThompsonPair(world.setting(), prior=2.0), [(0, 0, 16.0, 1.0), (1, 0, 64.0, 1.0)])
    clients, nodes = np.array([0, 2], np.int32), np.array([[0], [0]], np.int32)
    mean, weight = policy.posterior(clients, nodes, 1.0)
    of_node = (2 * 6.0 + 2 * 6.0) / 4  # roots 4 and 8; the average over all is the node's own
    np.testing.assert_allclose(mean[:, 0], [(2 * of_node + 4.0) / 3, of_node])
    np.testing.assert_allclose(weight[:, 0], [3.0, 2.0])


def test_silence_takes_a_posterior_back_to_its_prior():
    policy = told(ThompsonNode(world.setting()), [(0, 0, 100.0, 0.0), (0, 1, 4.0, HALF_LIFE * 60.0)])
    _, weight = policy.posterior(np.zeros(1, np.int32), np.zeros((1, 1), np.int32), HALF_LIFE * 60.0)
    assert weight.item() == pytest.approx(1.5)


def test_thompson_sampling_tries_what_is_uncertain_and_seldom_what_is_surely_worse():
    rows = [(0, 0, 100.0, 1.0 + i) for i in range(30)] + [(0, 1, 400.0, 31.0 + i) for i in range(30)]
    policy = told(ThompsonNode(world.setting(), width=2.0), rows)
    n = 500
    candidates = np.tile(np.array([0, 1, 2], np.int32), (n, 1))
    question = Question(61.0, np.arange(n), np.zeros(n, np.int32), candidates, {}, {})
    share = np.bincount(policy.pick(question), minlength=3) / n
    assert share[0] > 0.5
    assert 0.02 < share[2] < 0.5
    assert share[1] < 0.1


# Vowpal Wabbit.


@pytest.mark.slow
def test_vowpal_wabbit_learns_which_node_is_good_for_which_client():
    policy = VowpalWabbit(world.setting())
    warm = world.telemetry(0)
    policy.warm(warm)
    rng, right = np.random.default_rng(0), []
    for number in range(400):
        client = int(rng.integers(2))
        asked = Question(
            60.0 * number,
            np.array([number]),
            np.array([client], np.int32),
            np.array([[0, 1]], np.int32),
            {},
            {},
        )
        node = int(policy.pick(asked)[0])
        right.append(node == client)
        cost = 10.0 if node == client else 90.0
        policy.learn(
            Seen(
                np.array([number]),
                np.array([client], np.int32),
                np.array([node], np.int32),
                np.ones(1, bool),
                np.array([cost], np.float32),
                {},
                np.array([60.0 * number]),
                np.array([60.0 * number + 1.0]),
            )
        )
    assert np.mean(right[200:]) > 0.8


# Factors.


def test_factors_do_not_hold_a_slow_client_against_the_node_it_asked():
    """Node 0 was asked by a fast client alone, node 1 by a slow one; nodes 2 and 3 by both."""
    cost = {(0, 0): 100.0, (1, 1): 400.0, (0, 2): 144.0, (1, 2): 625.0, (0, 3): 121.0, (1, 3): 600.0}
    rows = [(*pair, x, float(t)) for t in range(30) for pair, x in cost.items()]
    assert picked(told(NodeAverage(world.setting()), rows), 2, [1, 0]) == 0
    assert picked(told(LowRank(world.setting()), rows), 2, [1, 0]) == 1


# LinUCB.


@pytest.mark.parametrize("n", [60, 1_000])
def test_a_bandit_is_fitted_to_all_but_a_fiftieth_of_few_rows_too(n):
    fitted = sum(len(seen) for seen, _ in Inputs(world.setting()).warm(world.telemetry(n)))
    assert 0.98 * n - 1 <= fitted < n


def test_linucb_without_a_bonus_picks_by_the_ridge_regression_of_its_features():
    ridge = 1000.0  # so large that a wrong one changes picks
    policy = LinUCB(world.setting(), width=0.0, ridge=ridge)
    batches = world.batches(10)
    rows, costs = [], []
    for number, one in enumerate(batches):
        n = len(one.client)
        numbers = np.arange(n) + n * number
        asked = Question(one.time, numbers, one.client, one.candidates, one.request, one.node_state)
        x = policy.inputs.features(one.client, np.maximum(one.candidates, 0))
        at = np.arange(n), policy.pick(asked)
        rows.append(x[at])
        costs.append(one.cost[at])
        fields = (numbers, one.client, one.candidates[at], one.ok[at], one.cost[at])
        policy.learn(Seen(*fields, {"rtt_ms": one.outcomes["rtt_ms"][at]}, np.full(n, one.time), one.arrival[at]))
    x, y = np.concatenate(rows), np.sqrt(np.concatenate(costs), dtype=np.float64)
    stacked = np.vstack([x, np.sqrt(ridge) * np.eye(x.shape[1])])
    expected = np.linalg.lstsq(stacked, np.append(y, np.zeros(x.shape[1])), rcond=None)[0]
    for one in world.batches(200, seed=3, start=7_200.0):
        x = policy.inputs.features(one.client, np.maximum(one.candidates, 0))
        question = Question(one.time, np.arange(len(x)), one.client, one.candidates, one.request, one.node_state)
        assert policy.pick(question).tolist() == least(x @ expected, one.candidates).tolist()


# The learned model.


def test_learned_is_the_scheduler_fed_the_same_way(model):
    """Asking a scheduler one request at a time, warmed by replay, gives the same nodes."""
    telemetry, batches = world.telemetry(), world.batches(15)
    got = run(Learned(world.setting(), model), batches, telemetry)
    sched = Scheduler(model, seed=0, first_id=0)
    raw = {n: c.raw() if hasattr(c, "raw") else c for n, c in world.NODES.columns.items()}
    sched.fleet.upsert(world.NODES.ids, raw)
    raw = {n: c.raw() if hasattr(c, "raw") else c for n, c in world.CLIENTS.columns.items()}
    sched.clients.upsert(world.CLIENTS.ids, raw)
    replay(telemetry, world.SPEC, model.features, sched.history, keep=np.zeros(len(telemetry), bool))
    sched.refresh()
    nodes = []
    for one in batches:
        sched.fleet.upsert(world.NODES.ids, {"load": one.node_state["load"]})
        kinds = one.request["kind"].raw()
        answers = []
        for i, client in enumerate(one.client):
            places = [c for c in one.candidates[i].tolist() if c >= 0]
            request = {"client_id": int(world.CLIENTS.ids[client]), "kind": kinds[i]}
            decision = sched.decide(request, candidates=world.NODES.ids[places].tolist(), now=one.time)
            node = world.NODES.ids.tolist().index(decision.nodes[0])
            column = one.candidates[i].tolist().index(node)
            rtt = one.outcomes["rtt_ms"][i, column]
            outcome = {"ok": bool(one.ok[i, column]), "rtt_ms": None if np.isnan(rtt) else float(rtt)}
            answers.append((one.arrival[i, column], i, decision.id, outcome))
            nodes.append(node)
        for arrival, _, decision, outcome in sorted(answers, key=lambda a: a[:2]):
            sched.observe(decision, outcome, now=arrival)
    assert got.node.tolist() == nodes

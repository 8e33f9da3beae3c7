"""Utilities, draws, slates and reservations against brute force and slow models."""

import math

import hypothesis.strategies as st
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from scheduler import Scheduler
from scheduler.policy.kernels.slate import leaders, ranked
from scheduler.runtime.random import uniform
from scheduler.spec import Ledger, Policy
from tests import models

LEDGER = Ledger(capacity="uplink", demand="kbps", hold="60s")
N = 12
NODES = {
    "isp": [7, 8, "mobile", None] * 3,
    "load": np.linspace(0, 1, N),
    "price": [*np.linspace(0, 30, N - 1), None],
    "uplink": np.linspace(500, 6_000, N).round(),
    "lat": np.linspace(-80, 80, N),
    "lon": np.linspace(-170, 170, N),
    "taste": np.arange(3.0 * N).reshape(N, 3) % 7,
}
CLIENT = {"isp": [7], "lat": [10.0], "lon": [20.0], "taste": [[1.0, 0.5, -1.0]]}


def scheduler(model, seed=0, **parts):
    weights = parts.pop("utility", {})
    spec = model.spec
    utility = msgspec.structs.replace(spec.utility, **weights)
    sched = Scheduler(models.changed(model, utility=utility, **parts), seed=seed, first_id=0)
    sched.fleet.upsert(range(N), NODES)
    sched.clients.upsert([1], CLIENT)
    return sched


def weights(utility, request):
    """Weights of the first profile whose conditions the request meets, else the default ones."""
    asked = {"isp": 7, **request}
    for profile in utility.profiles:
        if all(repr(asked.get(column)) == repr(value) for column, value in profile.when.items()):
            load = utility.load if profile.load is None else profile.load
            money = utility.price_weight if profile.price_weight is None else profile.price_weight
            return {**utility.heads, **profile.heads}, load, money
    return utility.heads, utility.load, utility.price_weight


def utilities(sched, request, ids, now, reserved):
    """By the words of the spec: heads given success count with its chance, then load and money."""
    spec = sched.model.spec
    values = sched.score({k: [v] for k, v in request.items()}, [ids], now=now)
    heads, load, money = weights(spec.utility, request)
    found = []
    for i, id_ in enumerate(ids):
        failure = float(values["failure"][0, i])
        total = heads["failure"] * failure + heads["latency"] * (1 - failure) * float(values["latency"][0, i])
        if load:
            total += load * reserved.get(id_, 0.0) / max(float(NODES["uplink"][id_]), 1.0)
        if money:
            price = NODES["price"][id_]
            total += money * (math.nan if price is None else price)
        found.append(-math.inf if math.isnan(total) else total)
    return dict(zip(ids, found, strict=True))


def greedy(first, utility, free, demand, longest):
    """The drawn node, then the best others until the demand is covered; empty where it is not."""
    slate = [first]
    others = sorted((i for i in utility if i != first and utility[i] > -math.inf), key=lambda i: -utility[i])
    while demand > 0 and sum(free[i] for i in slate) < demand:
        if not others or len(slate) == longest:
            return []
        slate.append(others.pop(0))
    return slate


def expected(sched, request, ids, now, reserved, longest):
    """The slate of the best node that can begin one."""
    demand = request.get("kbps", 0.0) if sched.model.spec.ledger else 0.0
    free = {i: float(NODES["uplink"][i]) - reserved.get(i, 0.0) for i in ids}
    open_ = [i for i in ids if free[i] > 0 or demand == 0]
    utility = utilities(sched, request, open_, now, reserved)
    slates = {i: greedy(i, utility, free, demand, longest) for i in open_}
    able = [i for i in open_ if slates[i]]
    return slates[max(able, key=lambda i: utility[i])] if able else []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats() | st.sampled_from([0.0, 1.0, -math.inf]), max_size=20), st.integers(1, 6))
def test_leaders_are_the_best_first(utility, room):
    utility = np.array([-math.inf if math.isnan(u) else u for u in utility])
    out = np.empty(room, np.int32)
    n = leaders(utility, len(utility), out)
    able = [c for c in range(len(utility)) if utility[c] > -math.inf]
    assert out[:n].tolist() == sorted(able, key=lambda c: -utility[c])[:room]
    out = np.empty(len(utility), np.int32)
    assert out[: ranked(utility, len(utility), out)].tolist() == sorted(able, key=lambda c: -utility[c])


requests = st.fixed_dictionaries(
    {"client_id": st.just(1)},
    optional={
        "kind": st.sampled_from(["live", "bulk", "other"]),
        "isp": st.sampled_from([7, 8, "7"]),
        "kbps": st.floats(0, 9_000),
    },
)
chosen = st.lists(st.integers(0, N - 1), min_size=1, max_size=N, unique=True)


@pytest.fixture(scope="module")
def plain(model):
    return scheduler(model)


@settings(max_examples=60, deadline=None)
@given(request=requests, ids=chosen)
def test_the_top_pick_is_that_of_brute_force(plain, request, ids):
    d = plain.decide(request, ids, now=1.0)
    assert list(d.nodes) == expected(plain, request, ids, 1.0, {}, 1)
    assert d.scores[0]["utility"] == pytest.approx(utilities(plain, request, ids, 1.0, {})[d.nodes[0]])
    assert (d.propensity, d.reason) == (1.0, "best")


def test_the_first_profile_that_fits_weighs_a_request(model):
    sched = scheduler(model)
    seen = set()
    for kind, isp in (("live", 7), ("live", 8), ("bulk", 7), ("other", 7)):
        request = {"client_id": 1, "kind": kind, "isp": isp}
        d = sched.decide(request, list(range(N)), now=1.0)
        assert d.scores[0]["utility"] == pytest.approx(max(utilities(sched, request, range(N), 1.0, {}).values()))
        seen.add(weights(model.spec.utility, request)[1:])
    assert len(seen) == 3


def test_a_node_without_price_is_never_best_where_money_counts(model):
    sched = scheduler(model)
    unpriced = N - 1
    d = sched.decide({"client_id": 1, "kind": "bulk"}, [unpriced, 3], now=1.0)
    assert d.nodes == (3,)
    d = sched.decide({"client_id": 1, "kind": "bulk"}, [unpriced], now=1.0)
    assert (d.nodes, d.scores[0]["utility"]) == ((unpriced,), -math.inf)


DRAWS = 100_000
EXPLORERS = {
    "epsilon": Policy(explore="epsilon", epsilon=0.3),
    "always": Policy(explore="epsilon", epsilon=1.0),
    "never": Policy(explore="epsilon", epsilon=0.0),
    "softmax": Policy(explore="softmax", temperature=40.0),
    "cold": Policy(explore="softmax", temperature=1e-9),
    "hot": Policy(explore="softmax", temperature=1e12),
}


@pytest.mark.slow
@pytest.mark.parametrize("policy", EXPLORERS.values(), ids=EXPLORERS)
def test_nodes_are_drawn_as_often_as_the_logged_propensity_says(model, policy):
    sched = scheduler(model, seed=3, policy=policy)
    ids = list(range(6))
    request = {"client_id": 1, "kind": "live"}
    utility = utilities(sched, request, ids, 1.0, {})
    top = max(ids, key=lambda i: utility[i])
    if policy.explore == "softmax":
        weight = {i: math.exp((utility[i] - utility[top]) / policy.temperature) for i in ids}
        chance = {i: weight[i] / sum(weight.values()) for i in ids}
    else:
        chance = {i: policy.epsilon / len(ids) + (1 - policy.epsilon) * (i == top) for i in ids}
    ds = sched.decide_batch({"client_id": [1] * DRAWS, "kind": ["live"] * DRAWS}, np.tile(ids, (DRAWS, 1)), now=1.0)
    nodes = ds.nodes[:, 0].astype(int)
    np.testing.assert_allclose(ds.propensity, [chance[i] for i in nodes.tolist()], rtol=1e-9)
    for i in ids:
        p = chance[i]
        assert abs((nodes == i).mean() - p) <= 5 * math.sqrt(p * (1 - p) / DRAWS) + 1e-12
    assert ((ds.reason == 0) == (nodes == top)).all()  # best
    assert ((ds.reason == 1) == (nodes != top)).all()  # explored


def test_propensities_are_those_of_the_slate_where_uplink_is_short(model):
    """Only nodes that can begin a slate are drawn, so that exploring never costs the service."""
    policy = Policy(explore="epsilon", epsilon=1.0, max_nodes=2)
    sched = scheduler(model, ledger=LEDGER, policy=policy)
    ids, demand = [0, 1, 2, 9, 10], 4_000.0
    request = {"client_id": 1, "kbps": demand}
    free = {i: float(NODES["uplink"][i]) for i in ids}
    utility = utilities(sched, request, ids, 0.0, {})
    slates = {i: greedy(i, utility, free, demand, 2) for i in ids}
    able = {tuple(slate) for slate in slates.values() if slate}
    assert 0 < len(able) <= len(ids)
    seen = set()
    for n in range(300):  # each hold is over when the next request comes
        d = sched.decide(request, ids, now=61.0 * n)
        assert d.propensity == pytest.approx(1 / len(able))
        seen.add(d.nodes)
    assert seen == able


def test_draws_depend_on_seed_and_decision_alone():
    draws = [uniform(seed, d, k) for seed in range(5) for d in range(200) for k in range(3)]
    assert draws == [uniform(seed, d, k) for seed in range(5) for d in range(200) for k in range(3)]
    assert len(set(draws)) == len(draws)
    assert 0 <= min(draws) < max(draws) < 1
    assert abs(np.mean(draws) - 0.5) < 5 / math.sqrt(12 * len(draws))


def test_origin_serves_where_there_is_no_candidate(model):
    d = scheduler(model).decide({"client_id": 1}, [], now=0.0)
    assert (d.nodes, d.scores, d.reason, d.dropped, d.propensity) == ((), (), "origin:no_candidates", {}, 1.0)


def test_origin_serves_where_all_were_dropped_and_says_why(model):
    sched = scheduler(model, ledger=LEDGER)
    sched.fleet.heartbeat([0, 1, 2], alive_until=10.0)
    sched.fleet.quarantine([3, 4], until=20.0)
    sched.fleet.upsert([5], {"uplink": [0]})
    ids = list(range(6))
    d = sched.decide({"client_id": 1, "kbps": 1.0}, ids, now=10.0)
    assert (d.nodes, d.reason) == ((), "origin:all_dropped")
    assert d.dropped == {"silent": 3, "quarantined": 2, "full": 1}
    assert sched.decide({"client_id": 1}, ids, now=10.0).dropped == {"silent": 3, "quarantined": 2}
    assert sched.decide({"client_id": 1, "kbps": 1.0}, ids, now=9.5).dropped == {"quarantined": 2, "full": 1}
    assert sched.decide({"client_id": 1, "kbps": 1.0}, ids, now=20.0).dropped == {"silent": 3, "full": 1}


def test_origin_serves_where_no_slate_covers_the_demand(model):
    sched = scheduler(model, ledger=LEDGER, policy=Policy(max_nodes=2))
    d = sched.decide({"client_id": 1, "kbps": 12_000.0}, list(range(N)), now=0.0)
    assert (d.nodes, d.reason, d.propensity) == ((), "origin:no_uplink", 1.0)
    assert not sched.fleet.arrays.reserved.any()


def test_a_slate_covers_the_demand_and_no_more_than_needed(model):
    sched = scheduler(model, ledger=LEDGER, policy=Policy(max_nodes=8))
    d = sched.decide({"client_id": 1, "kbps": 9_000.0}, list(range(N)), now=0.0)
    uplink = [NODES["uplink"][i] for i in d.nodes]
    assert sum(uplink[:-1]) < 9_000 <= sum(uplink)
    reserved = sched.fleet.arrays.reserved[sched.fleet.table.slots(list(d.nodes))]
    assert reserved.tolist() == [*uplink[:-1], 9_000 - sum(uplink[:-1])]
    given = [score["utility"] for score in d.scores[1:]]
    assert given == sorted(given, reverse=True)


def test_reservations_expire_and_are_freed_once(model):
    sched = scheduler(model, ledger=LEDGER)
    slot = sched.fleet.table.slots([5])[0]
    a, b = (sched.decide({"client_id": 1, "kbps": 1_000.0}, [5], now=t) for t in (0.0, 30.0))
    assert sched.fleet.arrays.reserved[slot] == 2_000
    sched.decide({"client_id": 1}, [0], now=59.9)
    assert sched.fleet.arrays.reserved[slot] == 2_000
    sched.decide({"client_id": 1}, [0], now=60.0)
    assert sched.fleet.arrays.reserved[slot] == 1_000
    assert sched.counters()["expired"] == 1
    sched.observe(a.id, {"ok": True, "rtt_ms": 5.0}, now=61.0)
    assert sched.fleet.arrays.reserved[slot] == 1_000
    sched.observe(b.id, {"ok": False}, now=61.0)
    assert sched.fleet.arrays.reserved[slot] == 0
    sched.decide({"client_id": 1}, [0], now=100.0)
    assert sched.fleet.arrays.reserved[slot] == 0
    assert sched.counters()["expired"] == 1


def test_forgotten_decisions_give_their_uplink_back(model):
    sched = Scheduler(models.changed(model, ledger=LEDGER), remember=3)
    sched.fleet.upsert([1], {"uplink": [10_000]})
    for n in range(10):
        sched.decide({"client_id": 1, "kbps": 100.0}, [1], now=float(n))
        assert sched.fleet.arrays.reserved[sched.fleet.table.slots([1])[0]] == 100 * min(n + 1, 3)
    assert sched.counters()["forgotten"] == 7


class LedgerAgainstList(RuleBasedStateMachine):
    """Any run of calls reserves what a list of open reservations adds up to, and never more than there is."""

    model = None

    @initialize(load=st.sampled_from([0.0, -500.0]), longest=st.integers(1, 4))
    def start(self, load, longest):
        self.longest = longest
        policy = Policy(max_nodes=longest)
        self.sched = scheduler(self.model, ledger=LEDGER, policy=policy, utility={"load": load})
        self.open = []  # (decision, node, kbps, time)
        self.lasting = []  # decisions still to be answered, by node, also when the hold is over
        self.now = 0.0

    def reserved(self):
        found = {}
        for _, node, kbps, _ in self.open:
            found[node] = found.get(node, 0.0) + kbps
        return found

    @rule(request=requests, ids=chosen)
    def decide(self, request, ids):
        self.open = [r for r in self.open if r[3] + 60.0 > self.now]
        before = self.reserved()
        slate = expected(self.sched, request, ids, self.now, before, self.longest)
        d = self.sched.decide(request, ids, now=self.now)
        assert list(d.nodes) == slate
        left = request.get("kbps", 0.0)
        for node in d.nodes:
            kbps = min(left, float(NODES["uplink"][node]) - before.get(node, 0.0))
            left -= kbps
            self.open.append((d.id, node, kbps, self.now))
            self.lasting.append((d.id, node))
        assert left <= 0 or not d.nodes

    @rule(seconds=st.floats(0, 40))
    def wait(self, seconds):
        self.now += seconds

    @rule(pick=st.integers(0, 1000), ok=st.booleans())
    def observe(self, pick, ok):
        if self.lasting:
            decision, node = self.lasting.pop(pick % len(self.lasting))
            outcome = {"ok": True, "rtt_ms": 20.0} if ok else {"ok": False}
            self.sched.observe(decision, outcome, now=self.now, node=node)
            self.open = [r for r in self.open if r[:2] != (decision, node)]

    @rule(node=st.integers(0, N - 1))
    def leave_and_return(self, node):
        self.sched.fleet.remove([node])
        self.sched.fleet.upsert([node], {name: [column[node]] for name, column in NODES.items()})
        self.open = [r for r in self.open if r[1] != node]

    @invariant()
    def adds_up(self):
        if not hasattr(self, "sched"):
            return
        slots = self.sched.fleet.table.slots(list(range(N)))
        found = self.sched.fleet.arrays.reserved[slots]
        reserved = self.reserved()
        np.testing.assert_allclose(found, [reserved.get(i, 0.0) for i in range(N)], atol=1e-6)
        assert (found <= NODES["uplink"] * (1 + 1e-12)).all()


@pytest.mark.slow
def test_the_ledger_is_a_list_of_open_reservations(model):
    class Machine(LedgerAgainstList):
        pass

    Machine.model = model
    case = Machine.TestCase
    case.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
    case("runTest").runTest()

"""Spread limits and alternatives against brute force over a fleet where many nodes share a carrier or a place."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from scheduler import DuplicateOutcomeError, Scheduler, SpecError, UnknownDecisionError
from scheduler.spec import Ledger, Policy, parse_spec
from tests import models

LEDGER = Ledger(capacity="uplink", demand="kbps", hold="60s")
N = 16
SPEC = models.SPEC.replace("load = { min = 0, max = 1 }", 'load = { min = 0, max = 1 }\nhouse = { type = "category" }')
random = np.random.default_rng(4)
ISPS = [[7, 8, "mobile", None][k] for k in random.integers(0, 4, N)]
HOUSES = [[1, 2, 3, 4, None][k] for k in random.integers(0, 5, N)]
UPLINK = random.integers(500, 3_000, N).astype(float).tolist()
LOAD = random.random(N).tolist()
VALUES = {"isp": ISPS, "house": HOUSES}


@pytest.fixture(scope="module")
def housed(tmp_path_factory):
    """The small model with a category that no feature reads."""
    return models.load_small(tmp_path_factory, SPEC)


def scheduler(model, **policy):
    sched = Scheduler(models.changed(model, ledger=LEDGER, policy=Policy(**policy)), seed=1, first_id=0)
    sched.fleet.upsert(range(N), {**VALUES, "uplink": UPLINK, "load": LOAD, "price": [1] * N})
    return sched


def utilities(sched, ids, demand, now=0.0):
    values = sched.score({"client_id": [1], "kbps": [demand]}, [ids], now=now)
    failure, latency = values["failure"][0], values["latency"][0]
    return dict(zip(ids, (-1_000 * failure - latency * (1 - failure)).tolist(), strict=True))


def fits(node, slate, spread):
    return all(
        VALUES[column][node] is None or sum(VALUES[column][n] == VALUES[column][node] for n in slate) < most
        for column, most in spread.items()
    )


def greedy(first, utility, demand, longest, spread):
    """The slate that begins with a node, empty where none covers the demand, and whom the limits kept out."""
    slate, kept_out = [first], 0
    for node in sorted(utility, key=lambda n: -utility[n]):
        if sum(UPLINK[n] for n in slate) >= demand or len(slate) == longest:
            break
        if node != first:
            kept_out += not fits(node, slate, spread)
            slate += [node] if fits(node, slate, spread) else []
    return (slate if sum(UPLINK[n] for n in slate) >= demand else []), kept_out


asked = given(
    ids=st.lists(st.integers(0, N - 1), min_size=1, max_size=N, unique=True),
    demand=st.floats(1, 9_000),
    longest=st.integers(1, 5),
    spread=st.dictionaries(st.sampled_from(["isp", "house"]), st.integers(1, 2)),
)


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@asked
def test_no_slate_has_more_nodes_of_a_value_than_the_limit(housed, ids, demand, longest, spread):
    sched = scheduler(housed, max_nodes=longest, spread=spread)
    utility = utilities(sched, ids, demand)
    slates = {i: greedy(i, utility, demand, longest, spread) for i in ids}
    able = [i for i in ids if slates[i][0]]
    d = sched.decide({"client_id": 1, "kbps": demand}, ids, now=0.0)
    best = max(able or ids, key=lambda i: (utility[i], able and i == d.nodes[0]))  # equals share requests
    slate, kept_out = slates[best]
    assert list(d.nodes) == slate
    assert d.dropped.get("spread", 0) == kept_out
    assert d.reason == ("best" if able else "origin:no_uplink")


@settings(max_examples=20, deadline=None)
@asked
def test_propensities_count_only_the_nodes_that_can_begin_a_slate_under_the_limits(
    housed, ids, demand, longest, spread
):
    sched = scheduler(housed, max_nodes=longest, spread=spread, explore="epsilon", epsilon=1.0)
    for n in range(20):  # each hold is over when the next request comes
        utility = utilities(sched, ids, demand, 61.0 * n)  # the clock is a feature
        slates = {tuple(slate) for i in ids if (slate := greedy(i, utility, demand, longest, spread)[0])}
        d = sched.decide({"client_id": 1, "kbps": demand}, ids, now=61.0 * n)
        assert d.nodes in slates or not slates
        assert d.propensity == pytest.approx(1 / len(slates) if slates else 1.0)


@pytest.mark.slow
def test_slates_are_drawn_as_often_as_the_logged_propensity_says_under_limits(housed):
    limits = {"house": 1, "isp": 1}
    sched = scheduler(housed, max_nodes=3, spread=limits, explore="softmax", temperature=300.0)
    draws, counts, chance = 8_000, {}, {}
    for n in range(draws):  # each hold is over when the next request comes
        d = sched.decide({"client_id": 1, "kbps": 4_000.0}, list(range(N)), now=61.0 * n)
        counts[d.nodes] = counts.get(d.nodes, 0) + 1
        chance[d.nodes] = d.propensity
    assert len(counts) > 3
    for slate, p in chance.items():
        assert abs(counts[slate] / draws - p) <= 5 * math.sqrt(p * (1 - p) / draws)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@asked
def test_alternatives_are_the_next_best_that_could_have_begun_a_slate(housed, ids, demand, longest, spread):
    sched = scheduler(housed, max_nodes=longest, spread=spread, alternatives=3)
    utility = utilities(sched, ids, demand)
    able = [i for i in ids if greedy(i, utility, demand, longest, spread)[0]]
    d = sched.decide({"client_id": 1, "kbps": demand}, ids, now=0.0)
    rest = sorted((i for i in able if i not in d.nodes), key=lambda i: -utility[i])
    assert list(d.alternatives) == rest[:3]
    assert [scores["utility"] for scores in d.alternatives.values()] == pytest.approx([utility[i] for i in rest[:3]])
    slots = sched.fleet.table.slots(list(range(N)))
    assert {i for i in range(N) if sched.fleet.arrays.reserved[slots[i]] > 0} == set(d.nodes)


def test_a_batch_has_the_alternatives_of_single_decisions(housed):
    batch, single = (scheduler(housed, max_nodes=2, alternatives=4) for _ in range(2))
    kbps, ids = [500.0, 4_000.0, 0.0, 20_000.0], list(range(N))
    together = batch.decide_batch({"client_id": [1] * 4, "kbps": kbps}, [ids] * 4, now=0.0)
    alone = [single.decide({"client_id": 1, "kbps": k}, ids, now=0.0) for k in kbps]
    assert [together.one(i) for i in range(4)] == alone
    assert together.alternatives.shape == (4, 4)
    assert together.alternative_values.shape == (4, 4, 2)
    assert [len(alone[i].alternatives) for i in (0, 2, 3)] == [4, 4, 0]


def test_without_the_key_there_are_none(housed):
    d = scheduler(housed).decide({"client_id": 1}, [1, 2, 3], now=0.0)
    assert d.alternatives == {}


def test_an_alternative_that_served_teaches(housed):
    sched = scheduler(housed, alternatives=2)
    d = sched.decide({"client_id": 1, "kbps": 400.0}, [1, 2, 3, 4], now=0.0)
    spare, other = d.alternatives
    before = sched.history.counters[0]
    sched.observe(d.id, {"ok": False}, now=1.0)  # the slate's own needs no name
    sched.observe(d.id, {"ok": True, "rtt_ms": 5.0}, now=2.0, node=spare)
    assert sched.history.counters[0] > before
    with pytest.raises(DuplicateOutcomeError):
        sched.observe(d.id, {"ok": True, "rtt_ms": 5.0}, now=2.0, node=spare)
    (stranger,) = {1, 2, 3, 4} - {*d.nodes, spare, other}
    with pytest.raises(UnknownDecisionError):
        sched.observe(d.id, {"ok": True, "rtt_ms": 5.0}, now=2.0, node=stranger)
    assert sched.counters()["outcomes"] == 2


def test_an_alternative_never_asked_is_not_forgotten(housed):
    sched = scheduler(housed, alternatives=2)
    sched = Scheduler(sched.model, remember=2)
    sched.fleet.upsert(range(N), {"uplink": UPLINK})
    for n in range(6):
        d = sched.decide({"client_id": 1}, [1, 2, 3], now=float(n))
        sched.observe(d.id, {"ok": False}, now=float(n))
    assert sched.counters()["forgotten"] == 0


BAD = {
    "an unknown column": "spread = { color = 1 }",
    "a number column": "spread = { load = 1 }",
    "none at all": "spread = { isp = 0 }",
    "too many": "alternatives = 65",
    "fewer than none": "alternatives = -1",
}


@pytest.mark.parametrize("line", BAD.values(), ids=BAD)
def test_impossible_limits_are_refused(line):
    with pytest.raises(SpecError, match="policy"):
        parse_spec(SPEC + f"\n[policy]\n{line}\n")

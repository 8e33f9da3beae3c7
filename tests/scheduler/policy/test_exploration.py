"""Rules of exploration, vetting, guard and budget against a plain twin, and how often each candidate is drawn."""

import dataclasses
import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy.special import ndtr
from scipy.stats import chisquare

from scheduler import Scheduler
from scheduler.decisions.arrays import REASONS
from scheduler.errors import InputError
from scheduler.model.calibration import head_values
from scheduler.policy.kernels.exploration import draw
from scheduler.runtime.random import uniform
from tests import models

IDS = list(range(6))
REQUEST = {"client_id": 1, "kind": "live", "isp": 8}
HOUR = 3_600.0


def exploring(model, seed=3, **policy):
    """A scheduler that knows 0, 1, 2 ... outcomes of nodes 0, 1, 2 ..., all from client 1 at time 0."""
    sched = Scheduler(models.exploring(model, **policy), seed=seed, first_id=0)
    sched.fleet.upsert(IDS, {"load": np.linspace(0, 1, len(IDS)), "uplink": np.linspace(500, 6_000, len(IDS))})
    for node in IDS:
        for _ in range(node):
            d = sched.decide(REQUEST, [node], now=0.0)
            sched.observe(d.id, {"ok": True, "rtt_ms": 20.0 + node}, now=0.0)
    return sched


def utilities(sched, now):
    """Utility of each node, asked for one by one."""
    return [sched.decide(REQUEST, [i], now=now).scores[0]["utility"] for i in IDS]


def greatest(utility, deviation, free, top, n=20_001):
    """By Riemann's sum over 20,001 places, the chance of each to be the greatest of independent normals."""
    free = [c for c in free if c == top or utility[top] - utility[c] <= 5 * math.hypot(deviation[top], deviation[c])]
    widest = max(deviation[c] for c in free)
    if len(free) == 1 or widest == 0:
        best = [c for c in free if utility[c] == utility[top]]
        return {c: 1.0 / len(best) for c in best}
    deviation = {c: max(deviation[c], widest / 1024) for c in free}
    chance = {}
    for c in free:
        z = np.linspace(-8.0, 8.0, n)
        density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
        for other in free:
            if other != c:
                away = (utility[c] - utility[other] + deviation[c] * z) / deviation[other]
                density *= ndtr(away)
        chance[c] = density.sum()
    return {c: p / sum(chance.values()) for c, p in chance.items()}


def chances(policy, utility, counts, able=None):
    """By the words of the manual, each candidate's chance."""
    n = len(utility)
    able = [True] * n if able is None else able
    top = max((c for c in range(n) if able[c]), key=lambda c: utility[c])
    gap = [0.0 if utility[top] == u else utility[top] - u for u in utility]
    guard = math.inf if policy.max_utility_loss is None else policy.max_utility_loss
    free = [c for c in range(n) if able[c] and gap[c] <= guard]
    best = [c for c in free if utility[c] == utility[top]]
    chance = dict.fromkeys(range(n), 0.0)
    if policy.explore == "softmax":
        weight = {c: math.exp(-gap[c] / policy.temperature) for c in free}
        chance |= {c: weight[c] / sum(weight.values()) for c in free}
    elif policy.explore == "inverse_gap":
        chance |= {c: 1 / (len(free) + gap[c] / policy.temperature) for c in free if c not in best}
        chance |= dict.fromkeys(best, (1 - sum(chance.values())) / len(best))
    elif policy.explore == "thompson":
        chance |= greatest(utility, [policy.uncertainty_scale / math.sqrt(1 + count) for count in counts], free, top)
    else:
        bonus = [
            policy.uncertainty_scale / math.sqrt(1 + count) if policy.explore == "ucb" else 0.0 for count in counts
        ]
        epsilon = policy.epsilon if policy.explore == "epsilon" else 0.0
        bound = max(utility[c] + bonus[c] for c in free)
        leads = [c for c in free if utility[c] + bonus[c] == bound]
        chance |= {c: epsilon / len(free) + (1 - epsilon) * (c in leads) / len(leads) for c in free}
    new = [c for c in free if counts[c] < policy.newcomer_below]
    if policy.newcomer_share and new:
        for c in range(n):
            chance[c] = (1 - policy.newcomer_share) * chance[c] + policy.newcomer_share * (c in new) / len(new)
    return [chance[c] for c in range(n)]


RULES = {
    "none": {},
    "epsilon": {"explore": "epsilon", "epsilon": 0.3},
    "softmax": {"explore": "softmax", "temperature": 2.0},
    "inverse gap": {"explore": "inverse_gap", "temperature": 1.0},
    "ucb": {"explore": "ucb", "uncertainty_scale": 20.0},
    "thompson": {"explore": "thompson", "uncertainty_scale": 5.0},
}
IDEAL = {"thompson": 0.01}
"""How far chances may lie from those of an integral that is computed better."""
BOUNDS = {
    "free": {},
    "guarded": {"max_utility_loss": 2.0},
    "newcomer_share": {"newcomer_share": 0.2, "newcomer_below": 3},
    "both": {"max_utility_loss": 2.0, "newcomer_share": 0.2, "newcomer_below": 3},
}
DRAWS = 40_000
BOUNDED = [
    pytest.param(bounds, id=name, marks=[pytest.mark.slow] * (name != "both")) for name, bounds in BOUNDS.items()
]


@pytest.mark.slow
@pytest.mark.parametrize("bounds", BOUNDED)
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_nodes_are_drawn_as_often_as_the_logged_propensity_says(model, rule, bounds):
    sched = exploring(model, **rule, **bounds)
    now = HOUR  # the slowest weight has faded by half
    utility = utilities(sched, now)
    chance = chances(sched.model.spec.policy, utility, [i / 2 for i in IDS])
    before = sched.counters()["explored"]
    ds = sched.decide_batch({k: [v] * DRAWS for k, v in REQUEST.items()}, np.tile(IDS, (DRAWS, 1)), now=now)
    nodes = ds.nodes[:, 0].astype(int)
    np.testing.assert_allclose(ds.propensity, np.array(chance)[nodes], 1e-9, IDEAL.get(rule.get("explore"), 0.0))
    for i in np.unique(nodes):  # draws follow what is logged, without error
        (chance[i],) = np.unique(ds.propensity[nodes == i])
    for i, p in enumerate(chance):
        assert abs((nodes == i).mean() - p) <= 5 * math.sqrt(p * (1 - p) / DRAWS) + 1e-12
    explored = nodes != int(np.argmax(utility))
    assert (ds.reason == explored).all()
    assert sched.counters()["explored"] - before == explored.sum()


numbers = st.floats(-1e6, 1e6) | st.sampled_from([0.0, -1e300, 1e300, -math.inf, math.inf])
policies = st.fixed_dictionaries(
    {
        "explore": st.sampled_from(["none", "epsilon", "softmax", "inverse_gap", "ucb"]),
        "epsilon": st.floats(0, 1),
        "temperature": st.sampled_from([1e-9, 1.0, 1e12]) | st.floats(1e-9, 1e12),
        "uncertainty_scale": st.floats(0, 1e12),
        "max_utility_loss": st.none() | st.floats(0, 1e12),
        "newcomer_share": st.floats(0, 1),
        "newcomer_below": st.integers(1, 50),
    }
)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    policy=policies,
    candidates=st.lists(st.tuples(numbers, st.booleans(), st.floats(0, 100)), min_size=1, max_size=12),
    u=st.floats(0, 1, exclude_max=True),
)
def test_any_draw_is_that_of_the_plain_twin(model, policy, candidates, u):
    sched = Scheduler(models.exploring(model, **policy))
    policy, arrays = sched.model.spec.policy, sched.state.arms[0].arrays.content.policy
    work = sched.state.arms[0].thread.workspace_for(len(candidates)).content.candidates
    utility, able, counts = zip(*candidates, strict=True)
    n = len(candidates)
    work.utility[:n], work.feasible[:n] = utility, able
    work.uncertainty[:n] = policy.uncertainty_scale / np.sqrt(1 + np.array(counts)) if policy.explore == "ucb" else 0.0
    work.is_new[:n] = np.array(counts) < policy.newcomer_below
    pick, is_best = draw(arrays, n, u, True, work)  # noqa: FBT003
    if not any(able):
        assert (pick, is_best) == (-1, False)
        return
    expected = chances(policy, utility, counts, able)
    np.testing.assert_allclose(work.probability[:n], expected, rtol=1e-9, atol=1e-12)
    best = max(u for u, is_able in zip(utility, able, strict=True) if is_able)
    assert able[pick]
    assert is_best == (utility[pick] == best)
    assert is_best or not best - utility[pick] > arrays.max_utility_loss
    assert work.probability[pick] > 0
    pick, is_best = draw(arrays, n, u, False, work)  # noqa: FBT003
    assert is_best
    assert utility[pick] == best
    tied = [is_able and x == best for x, is_able in zip(utility, able, strict=True)]
    np.testing.assert_allclose(work.probability[:n], np.array(tied) / sum(tied))


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(
    candidates=st.lists(
        st.tuples(st.floats(-20, 20) | numbers, st.booleans(), st.just(0.0) | st.floats(0.1, 10) | st.just(1e100)),
        min_size=1,
        max_size=12,
    ),
    max_utility_loss=st.none() | st.floats(0, 20),
    u=st.floats(0, 1, exclude_max=True),
)
def test_thompson_sampling_has_chances_of_being_the_greatest(model, candidates, max_utility_loss, u):
    sched = Scheduler(
        models.exploring(model, explore="thompson", uncertainty_scale=1.0, max_utility_loss=max_utility_loss)
    )
    arrays, work = (
        sched.state.arms[0].arrays.content.policy,
        sched.state.arms[0].thread.workspace_for(len(candidates)).content.candidates,
    )
    utility, able, doubt = (list(part) for part in zip(*candidates, strict=True))
    n = len(candidates)
    work.utility[:n], work.feasible[:n], work.uncertainty[:n], work.is_new[:n] = utility, able, doubt, False
    pick, is_best = draw(arrays, n, u, True, work)  # noqa: FBT003
    chance = work.probability[:n]
    if not any(able):
        assert (pick, is_best) == (-1, False)
        return
    top = max((c for c in range(n) if able[c]), key=lambda c: utility[c])
    assert able[pick]
    assert is_best == (utility[pick] == utility[top])
    assert chance[pick] > 0
    assert chance.sum() == pytest.approx(1.0)
    assert (chance >= 0).all()
    assert not any(p > 0 and utility[top] - utility[c] > arrays.max_utility_loss for c, p in enumerate(chance))
    if all(abs(x) <= 20 for x in utility) and all(0.1 <= x <= 10 for x in doubt):
        free = [c for c in range(n) if able[c] and utility[top] - utility[c] <= arrays.max_utility_loss]
        ideal = greatest(utility, doubt, free, top, n=2_001)
        np.testing.assert_allclose(chance, [ideal.get(c, 0.0) for c in range(n)], atol=0.1)


def test_equals_have_equal_chances_however_sure_they_are(model):
    sched = Scheduler(models.exploring(model, explore="thompson", uncertainty_scale=1.0))
    work = sched.state.arms[0].thread.workspace_for(4).content.candidates

    def found(utility, doubt):
        work.utility[:4], work.feasible[:4], work.uncertainty[:4] = utility, True, doubt
        draw(sched.state.arms[0].arrays.content.policy, 4, 0.5, True, work)  # noqa: FBT003
        return work.probability[:4].tolist()

    assert found([3.0] * 4, [2.0] * 4) == pytest.approx([0.25] * 4)
    assert found([3.0] * 4, [0.0] * 4) == [0.25] * 4
    assert found([9.0, 8.0, 7.0, 6.0], [0.0] * 4) == [1.0, 0.0, 0.0, 0.0]
    # Of two normals around one value each is the greater half of the time, whatever their deviations.
    assert found([3.0, 3.0, -100.0, -100.0], [2.0, 0.5, 1.0, 1.0]) == pytest.approx([0.5, 0.5, 0.0, 0.0], abs=5e-3)
    assert found([1e300] * 4, [1.0] * 4) == [0.25] * 4  # where standard errors are lost


def standard_error(sched, raw, variance):
    """Of a utility of two heads without load and money, by small steps of each raw score."""

    def utility(raw):
        values = head_values(np.array([raw]), sched.model.calibration)[0]
        weights = sched.model.spec.utility.heads
        return weights["failure"] * values[0] + weights["latency"] * (1 - values[0]) * values[1]

    total = 0.0
    for h, (factor, power) in enumerate(sched.model.uncertainty):
        step = np.where(np.arange(2) == h, 1e-5, 0.0)
        slope = (utility(raw + step) - utility(raw - step)) / 2e-5
        total += slope**2 * factor * variance[h] ** power
    return math.sqrt(total)


DOUBTFUL = {"client_id": 1, "kind": "other", "isp": 8}
"""Of the default profile, in which money and load weigh nothing."""


def test_the_doubt_by_leaves_is_the_standard_error_of_the_utility_the_less_the_more_is_known(model):
    sched = exploring(model, explore="thompson", uncertainty="leaves", uncertainty_scale=0.3)
    work = sched.state.arms[0].thread.workspace_for(len(IDS)).content.candidates
    sched.decide(DOUBTFUL, IDS, now=HOUR)
    raw, doubts = work.raw[: len(IDS)].astype(float), work.uncertainty[: len(IDS)].copy()
    assert (raw[:, 2:] > 0).all()
    expected = [0.3 * standard_error(sched, one[:2], one[2:]) / math.sqrt(1 + i / 2) for i, one in enumerate(raw)]
    widest = max(expected)
    np.testing.assert_allclose(doubts, np.maximum(expected, widest / 1024), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("explore", ["thompson", "ucb"])
def test_what_leaves_doubt_is_drawn_as_often_as_logged(model, explore):
    sched = exploring(model, explore=explore, uncertainty="leaves", uncertainty_scale=0.5)
    work = sched.state.arms[0].thread.workspace_for(len(IDS)).content.candidates
    utility, doubt = [], []
    for node in IDS:
        utility.append(sched.decide(DOUBTFUL, [node], now=HOUR).scores[0]["utility"])
        doubt.append(float(work.uncertainty[0]))
    n = 20_000
    ds = sched.decide_batch({k: [v] * n for k, v in DOUBTFUL.items()}, np.tile(IDS, (n, 1)), now=HOUR)
    nodes = ds.nodes[:, 0].astype(int)
    if explore == "ucb":
        assert set(nodes) == {int(np.argmax(np.add(utility, doubt)))}
        return
    top = int(np.argmax(utility))
    ideal = greatest(utility, doubt, IDS, top, n=4_001)
    assert len(set(nodes)) > 1
    for node in set(nodes):
        p = ds.propensity[nodes == node][0]
        assert p == pytest.approx(ideal[node], abs=0.02)
        assert abs((nodes == node).mean() - p) <= 5 * math.sqrt(p * (1 - p) / n)


def test_a_model_without_variances_cannot_doubt_by_leaves(model):
    uncertainty = np.zeros((2, 2))
    uncertainty.flags.writeable = False  # kernels would be compiled anew for the other type
    plain = dataclasses.replace(model, uncertainty=uncertainty)
    doubting = models.exploring(plain, explore="ucb", uncertainty="leaves", uncertainty_scale=1.0)
    with pytest.raises(InputError, match=r"expected 'count', because small-.* found 'leaves'"):
        Scheduler(doubting)
    sched = Scheduler(plain)
    with pytest.raises(InputError, match="trained without variances"):
        sched.set_policy(doubting.spec)
    assert sched.model is plain
    Scheduler(models.exploring(plain, uncertainty="leaves"))  # whose rule has no doubt


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(
    budget=st.sampled_from([0.0, 0.02, 0.3, 1.0]) | st.floats(0, 1),
    rule=st.sampled_from(list(RULES.values())),
    newcomer_share=st.sampled_from([0.0, 0.5]),
)
def test_no_run_of_decisions_explores_beyond_its_budget(model, budget, rule, newcomer_share):
    sched = exploring(model, **rule, budget=budget, newcomer_share=newcomer_share, newcomer_below=100)
    for _ in range(20):
        ds = sched.decide_batch({k: [v] * 25 for k, v in REQUEST.items()}, np.tile(IDS, (25, 1)), now=1.0)
        counters = sched.counters()
        assert counters["explored"] <= budget * counters["decisions"]
        assert ((ds.propensity > 0) & (ds.propensity <= 1)).all()
    if rule.get("epsilon") and budget:
        assert counters["explored"] >= 0.5 * min(budget, 0.2) * counters["decisions"] - 1


def test_beyond_the_budget_the_best_is_certain(model):
    sched = exploring(model, explore="epsilon", epsilon=1.0, budget=0.0)
    d = sched.decide(REQUEST, IDS, now=1.0)
    assert (d.propensity, d.reason) == (1.0, "best")


def test_a_draw_can_be_repeated_from_seed_and_id(model):
    sched = exploring(model, seed=8, explore="softmax", temperature=2.0, newcomer_share=0.1)
    chance = np.cumsum(chances(sched.model.spec.policy, utilities(sched, 1.0), IDS))
    for _ in range(200):
        d = sched.decide(REQUEST, IDS, now=1.0)
        assert d.nodes[0] == IDS[int(np.searchsorted(chance, uniform(8, d.id, 0), side="right"))]


def test_what_was_learned_of_a_pair_shrinks_its_bonus_and_a_node_is_vetted_until_known(model):
    sched = exploring(model, explore="ucb", uncertainty_scale=1e9, newcomer_share=1e-3, newcomer_below=4)
    assert {sched.decide(REQUEST, IDS, now=0.0).nodes[0] for _ in range(20)} <= {0, 1, 2, 3}
    least_known = {sched.decide(REQUEST, IDS, now=0.0).nodes for _ in range(20)}
    assert least_known == {(0,)}
    shared = sched.decide({**REQUEST, "client_id": 2}, [4, 5], now=0.0)
    assert shared.propensity == pytest.approx(0.5)  # neither is a newcomer, and the client knows neither


def test_equal_new_nodes_share_requests_with_exact_propensities(model):
    """Nothing tells the nodes apart, and without exploration the first one used to get every request."""
    n, names = 2_000, [f"box-{i}" for i in range(40)]
    sched = Scheduler(models.exploring(model), seed=3, first_id=0)
    sched.fleet.upsert(names, {"isp": [7] * 40, "uplink": [5_000.0] * 40})
    found = sched.decide_batch({"client_id": [17] * n}, [names] * n, now=0.0)
    assert found.propensity.tolist() == pytest.approx([1 / 40] * n)
    assert set(found.reason.tolist()) == {REASONS.index("best")}
    counts = np.bincount([names.index(node) for node in found.nodes[:, 0]], minlength=40)
    assert chisquare(counts).pvalue > 1e-4

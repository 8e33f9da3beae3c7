"""Comparisons on logs: losses are proper, and weights by propensities give what a policy would have cost."""

import dataclasses

import msgspec
import numpy as np
import pytest

from tests import evaluation_world as world
from training.evaluation.head_losses import row_losses
from training.evaluation.ope.telemetry import judge_off_policy, weigh
from training.policies import Random
from training.policies.protocol import least

HEADS = world.SPEC.heads
RULES = world.SPEC.promotion


@pytest.mark.parametrize(
    ("head", "best"),
    [
        (HEADS["failure"], lambda y: (y > 40.0).mean()),
        (HEADS["latency"], np.mean),
        (msgspec.structs.replace(HEADS["latency"], quantile=0.8), lambda y: np.quantile(y, 0.8)),
        (msgspec.structs.replace(HEADS["latency"], link="identity", target="rtt_ms"), np.mean),
    ],
)
def test_a_loss_is_least_for_what_the_value_means(head, best):
    y = np.random.default_rng(0).lognormal(3.0, 1.0, 20_000)
    value, outcome = float(best(y)), (y > 40.0).astype(float) if head.link == "logistic" else y
    losses = [row_losses(head, np.full(y.size, value * by), outcome).mean() for by in (0.9, 1.0, 1.1)]
    assert np.argmin(losses) == 1
    assert row_losses(head, outcome, outcome).max() <= 1e-9


def test_rows_without_an_outcome_have_no_loss():
    assert np.isnan(row_losses(HEADS["latency"], np.array([3.0]), np.array([np.nan]))).all()


class _Always:
    """Picks the candidate with the lowest or the highest number, and learns nothing."""

    def __init__(self, sign):
        self._sign, self.learned = sign, 0

    def warm(self, telemetry):
        self.learned += len(telemetry)

    def pick(self, question):
        return least(self._sign * question.candidates.astype(float), question.candidates)

    def learn(self, seen):
        self.learned += len(seen)


def logged(n=6_000, known=1.0):
    """A log that drew low nodes more often, and says how often; node i costs about 10 (i + 1)."""
    rng = np.random.default_rng(0)
    chance = np.array([0.3, 0.25, 0.2, 0.1, 0.1, 0.05])
    base = world.telemetry(n)
    node = rng.choice(world.N_NODES, n, p=chance).astype(np.int32)
    cost = (10.0 * (node + 1) * rng.uniform(0.5, 1.5, n)).astype(np.float32)
    drawn = np.where(rng.random(n) < known, chance[node], np.nan)
    return dataclasses.replace(
        base,
        node=node,
        ok=np.ones(n, np.bool_),
        outcomes={"rtt_ms": cost, "cost": cost, "failed": np.zeros(n, np.float32)},
        propensity=drawn,
    )


def test_weights_give_the_cost_that_a_policy_would_have_had():
    rows = logged()
    policies = {"random": Random(world.setting()), "low": _Always(1.0), "high": _Always(-1.0)}
    found = weigh(rows, policies, start=30, requests=2)
    cost = rows.outcomes["cost"][found.rows]
    assert (rows.slice[found.rows] >= 30).all()
    estimate = {name: (w * cost).sum() / w.sum() for name, w in found.weight.items()}
    assert estimate["random"] == pytest.approx(35.0, rel=0.1)
    assert estimate["low"] == pytest.approx(10.0, rel=0.1)
    assert estimate["high"] == pytest.approx(60.0, rel=0.15)
    assert 100 < found.support() < len(found.rows)
    assert judge_off_policy(rows, found, "low", "high", RULES).outcome == "better"
    assert judge_off_policy(rows, found, "high", "low", RULES).outcome == "not better"
    assert judge_off_policy(rows, found, "low", "low", RULES).outcome == "not better"


def test_failures_that_may_have_risen_by_chance_leave_a_cheaper_policy_open():
    rows = logged()
    found = weigh(rows, {"low": _Always(1.0), "high": _Always(-1.0)}, start=30, requests=2)
    ok = rows.ok.copy()
    ok[np.flatnonzero((rows.node == 0) & (rows.slice >= 30))[:2]] = False
    failing = dataclasses.replace(rows, ok=ok)
    verdict = judge_off_policy(failing, found, "low", "high", RULES)
    assert verdict.outcome == "cannot be told"
    assert "worse by more than 0.1 %, maybe by chance" in verdict.reason
    allowed = msgspec.structs.replace(RULES, failures=0.01)
    assert judge_off_policy(failing, found, "low", "high", allowed).outcome == "better"


def test_a_tail_that_rises_keeps_the_champion_on_a_log_too():
    rows = logged()
    found = weigh(rows, {"low": _Always(1.0), "high": _Always(-1.0)}, start=30, requests=2)
    cost = rows.outcomes["cost"].copy()
    cost[np.flatnonzero(rows.node == 0)[::5]] = 100.0
    verdict = judge_off_policy(
        dataclasses.replace(rows, outcomes=rows.outcomes | {"cost": cost}), found, "low", "high", RULES
    )
    assert verdict.outcome == "not better"
    assert "worse by more than chance" in verdict.reason.partition("requests that cost over")[2]


def test_a_log_of_one_slice_has_no_interval_for_others():
    rows = logged()
    found = weigh(rows, {"low": _Always(1.0), "high": _Always(-1.0)}, start=30, requests=2)
    one = dataclasses.replace(rows, slice=np.full(len(rows), 30, np.int32))
    verdict = judge_off_policy(one, found, "low", "high", RULES)
    assert verdict.outcome == "cannot be told"
    assert "of one slice, so without an interval" in verdict.reason


def test_a_log_that_never_drew_what_a_policy_would_choose_says_nothing_of_it():
    """The weights of what it did draw are worth hundreds of decisions, of the requests that are easy."""
    rows = logged()
    free = (rows.client + rows.slice) % 2 == 0  # others were sent to the last node alone
    node, propensity = np.where(free, rows.node, world.N_NODES - 1), np.where(free, rows.propensity, 1.0)
    rows = dataclasses.replace(rows, node=node.astype(np.int32), propensity=propensity)
    found = weigh(rows, {"low": _Always(1.0)}, start=30, requests=2)
    assert found.support() > 100
    assert "the log lacks what the model would choose" in found.refusal(rows, least=100.0)


def test_a_log_that_drew_everything_is_not_refused():
    rows = logged()
    assert weigh(rows, {"low": _Always(1.0), "high": _Always(-1.0)}, start=30, requests=2).refusal(rows, 100.0) is None


def test_a_policy_has_learned_what_had_arrived_before_it_was_asked_and_nothing_later():
    rows = logged()
    policy, asked = _Always(1.0), []
    real = policy.pick
    policy.pick = lambda question: asked.append((question.time, policy.learned)) or real(question)
    weigh(rows, {"one": policy}, start=30, requests=2)
    assert len(asked) == 60
    for now, learned in asked:
        assert learned == (rows.arrival < now).sum()


def test_what_an_earlier_slice_tells_after_the_first_question_is_not_known_to_it():
    """Half of the earlier slices' outcomes arrive half an hour late."""
    rows = logged()
    late = np.arange(len(rows)) % 2 == 0
    rows = dataclasses.replace(rows, arrival=np.where(late, rows.time + 1_800.0, rows.arrival))
    policy, asked = _Always(1.0), []
    real = policy.pick
    policy.pick = lambda question: asked.append((question.time, policy.learned)) or real(question)
    weigh(rows, {"one": policy}, start=30, requests=2)
    assert asked[0][1] == (rows.arrival < asked[0][0]).sum() < 0.8 * (rows.slice < 30).sum()
    assert all(learned == (rows.arrival < now).sum() for now, learned in asked)


def test_rows_without_a_propensity_are_not_asked_about_and_a_log_without_any_has_no_estimate():
    rows = logged(known=0.5)
    found = weigh(rows, {"one": _Always(1.0)}, start=30, requests=2)
    assert np.isfinite(rows.propensity[found.rows]).all()
    for none in (None, np.full(len(rows), np.nan)):
        assert weigh(dataclasses.replace(rows, propensity=none), {"one": _Always(1.0)}, start=30, requests=2) is None

"""What each wrong call answers, and that it changes nothing."""

import math

import numpy as np
import pytest

from scheduler import ClockError, DuplicateOutcomeError, InputError, Scheduler, UnknownDecisionError, UnknownNodeError
from scheduler.engine.clock import MAX_JUMP
from tests.schedulers import IDS, OK, same, state

INF, NAN = math.inf, math.nan

# --- What can go wrong with a decision.

REQUESTS = {
    "no client": {},
    "no mapping": [("client_id", 17)],
    "missing client": {"client_id": None},
    "nan client": {"client_id": NAN},
    "float client": {"client_id": 1.5},
    "list client": {"client_id": [17]},
    "unknown column": {"client_id": 17, "color": 3},
    "node column": {"client_id": 17, "uplink": 3},
    "text for a number": {"client_id": 17, "kbps": "3"},
    "infinite": {"client_id": 17, "kbps": INF},
    "minus infinity": {"client_id": 17, "lat": -INF},
    "out of range": {"client_id": 17, "lat": 91},
    "negative": {"client_id": 17, "kbps": -1},
    "float category": {"client_id": 17, "kind": 2.5},
    "dict": {"client_id": 17, "kind": {}},
    "two values": {"client_id": 17, "kbps": [1, 2]},
    "short vector": {"client_id": 17, "taste": [1, 2]},
    "infinite vector": {"client_id": 17, "taste": [1, 2, INF]},
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("candidates", [IDS, None], ids=["given", "retrieved"])
def test_a_wrong_request_is_refused_and_changes_nothing(sched, request_, candidates):
    sched.decide({"client_id": 17}, now=50.0)
    before = state(sched)
    with pytest.raises(InputError):
        sched.decide(request_, candidates, now=60.0)
    assert same(before, state(sched))


def test_nan_is_a_missing_number(sched):
    d = sched.decide({"client_id": 17, "kbps": NAN}, IDS, now=0.0)
    assert d.nodes == sched.decide({"client_id": 17}, IDS, now=0.0).nodes


CANDIDATES = {
    "unknown": [1, 4],
    "text for an integer": ["2"],
    "nan": [NAN],
    "float": np.array([[1.0, 2.0]]),
    "twice": [1, 2, 1],
    "list": [[1]],
    "text": "box",
    "number": 1,
    "dict": [{}],
}


@pytest.mark.parametrize("candidates", CANDIDATES.values(), ids=CANDIDATES)
def test_wrong_candidates_are_refused_and_change_nothing(sched, candidates):
    before = state(sched)
    with pytest.raises(InputError):
        sched.decide({"client_id": 17}, candidates, now=60.0)
    assert same(before, state(sched))


BATCHES = {
    "one row for two": ({"client_id": [1, 2]}, [IDS]),
    "ragged": ({"client_id": [1, 2]}, [[1, 2], [3]]),
    "flat": ({"client_id": [1, 2]}, [1, 2]),
    "floats": ({"client_id": [1]}, np.array([[1.0, 2.0]])),
    "twice": ({"client_id": [1, 2]}, [[1, 2], [3, 3]]),
    "unknown": ({"client_id": [1, 2]}, [[1, 2], [3, 4]]),
    "short column": ({"client_id": [1, 2], "kbps": [1]}, None),
    "scalar client": ({"client_id": 5}, None),
    "text client": ({"client_id": "tv"}, None),
    "table of clients": ({"client_id": np.ones((2, 2), int)}, None),
    "one missing": ({"client_id": [1, None]}, None),
    "one infinite": ({"client_id": [1, 2], "kbps": [1, INF]}, None),
}


@pytest.mark.parametrize(("requests", "candidates"), BATCHES.values(), ids=BATCHES)
def test_a_wrong_batch_is_refused_and_changes_nothing(sched, requests, candidates):
    before = state(sched)
    with pytest.raises(InputError):
        sched.decide_batch(requests, candidates, now=60.0)
    assert same(before, state(sched))


TIMES = [NAN, INF, -INF, "now", None, [1.0], 1j, np.array([1.0, 2.0]), 10**400]


@pytest.mark.parametrize("now", TIMES, ids=[repr(t)[:12] for t in TIMES])
def test_a_time_that_is_none_is_refused_and_changes_nothing(sched, now):
    d = sched.decide({"client_id": 17}, IDS, now=50.0)
    before = state(sched)
    for call in (
        lambda: sched.decide({"client_id": 17}, IDS, now=now),
        lambda: sched.decide({"client_id": 17}, now=now),
        lambda: sched.decide_batch({"client_id": [17]}, now=now),
        lambda: sched.observe(d.id, OK, now=now),
        lambda: sched.score({"client_id": [17]}, [IDS], now=now),
    ):
        with pytest.raises(InputError, match="now: expected"):
            call()
        assert same(before, state(sched))


@pytest.mark.parametrize("far", [101.0 + MAX_JUMP, 99.0 - MAX_JUMP])
def test_a_time_far_off_is_refused_and_changes_nothing(sched, far):
    d = sched.decide({"client_id": 17}, IDS, now=100.0)
    before = state(sched)
    for call in (
        lambda: sched.decide({"client_id": 17}, IDS, now=far),
        lambda: sched.decide_batch({"client_id": [17]}, now=far),
        lambda: sched.observe(d.id, OK, now=far),
        lambda: sched.observe_batch([d.id], {"ok": [True], "rtt_ms": [30.0]}, now=far),
    ):
        with pytest.raises(ClockError, match=r"now: expected at most 2.592e\+06 s from"):
            call()
        assert same(before, state(sched))
    sched.observe(d.id, OK, now=99.0)


def test_a_clock_that_steps_back_is_followed_and_counted(sched):
    sched.decide({"client_id": 17}, IDS, now=10_000.0)
    sched.decide({"client_id": 17}, IDS, now=100.0)
    assert sched.counters()["clock_steps_back"] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        {"seed": -1},
        {"seed": "0"},
        {"seed": 2**63},
        {"seed": None},
        {"remember": 0},
        {"history_capacity": 15},
        {"history_capacity": 2**31 + 1},
        {"history_capacity": "auto"},
        {"history_capacity": True},
    ],
)
def test_a_scheduler_needs_a_seed_and_some_memory(model, arguments):
    with pytest.raises(InputError, match=next(iter(arguments))):
        Scheduler(model, **arguments)


# --- What can go wrong with an outcome.

OUTCOMES = {
    "nothing": {},
    "no mapping": [("ok", True)],
    "no ok": {"rtt_ms": 3.0},
    "ok as a number": {"ok": 1, "rtt_ms": 3.0},
    "ok as text": {"ok": "yes", "rtt_ms": 3.0},
    "ok missing": {"ok": None, "rtt_ms": 3.0},
    "ok as a list": {"ok": [True], "rtt_ms": 3.0},
    "unknown": {"ok": True, "rtt_ms": 3.0, "bytes": 5},
    "derived": {"ok": True, "rtt_ms": 3.0, "cost": 5.0},
    "no cost": {"ok": True},
    "nan cost": {"ok": True, "rtt_ms": NAN},
    "infinite": {"ok": True, "rtt_ms": INF},
    "infinite as float32": {"ok": True, "rtt_ms": 3.0, "speed": 1e39},
    "huge": {"ok": True, "rtt_ms": 3.0, "speed": 10**400},
    "minus infinity": {"ok": True, "rtt_ms": 3.0, "speed": -INF},
    "negative": {"ok": True, "rtt_ms": -1.0},
    "out of range": {"ok": False, "rtt_ms": 60_001.0},
    "text": {"ok": True, "rtt_ms": "3.0"},
    "two": {"ok": True, "rtt_ms": [3.0, 4.0]},
    "complex": {"ok": True, "rtt_ms": 1j},
}


@pytest.mark.parametrize("outcome", OUTCOMES.values(), ids=OUTCOMES)
def test_a_wrong_outcome_is_refused_and_changes_nothing(sched, outcome):
    d = sched.decide({"client_id": 17}, IDS, now=50.0)
    before = state(sched)
    with pytest.raises(InputError, match="outcome"):
        sched.observe(d.id, outcome, now=60.0)
    assert same(before, state(sched))
    sched.observe(d.id, OK, now=60.0)


@pytest.mark.parametrize("decision", [1, -1, 10**6, 2**70, -(2**70)])
def test_an_unknown_decision_is_refused_and_changes_nothing(sched, decision):
    sched.decide({"client_id": 17}, IDS, now=50.0)
    before = state(sched)
    with pytest.raises(UnknownDecisionError, match=f"found {decision}"):
        sched.observe(decision, OK, now=60.0)
    assert same(before, state(sched))


@pytest.mark.parametrize("decision", [b"0", None, 0.0, NAN, [0], True])
def test_a_decision_id_is_an_integer(sched, decision):
    sched.decide({"client_id": 17}, IDS, now=50.0)
    before = state(sched)
    with pytest.raises(InputError, match="decision: expected an integer id"):
        sched.observe(decision, OK, now=60.0)
    assert same(before, state(sched))


def test_before_the_first_decision_all_are_unknown(sched):
    for decision in (-1, 0):
        with pytest.raises(UnknownDecisionError):
            sched.observe(decision, OK, now=0.0)


def test_a_second_outcome_is_refused_and_changes_nothing(sched):
    d = sched.decide({"client_id": 17}, IDS, now=50.0)
    sched.observe(d.id, OK, now=51.0)
    before = state(sched)
    with pytest.raises(DuplicateOutcomeError, match=f"decision {d.id}"):
        sched.observe(d.id, {"ok": False}, now=52.0)
    with pytest.raises(DuplicateOutcomeError):
        sched.observe_batch([d.id], {"ok": [True], "rtt_ms": [1.0]}, now=52.0)
    assert same(before, state(sched))


def test_the_origin_has_no_outcome(sched):
    d = sched.decide({"client_id": 17}, [], now=50.0)
    with pytest.raises(UnknownDecisionError, match="origin"):
        sched.observe(d.id, OK, now=51.0)


def test_a_forgotten_decision_is_unknown(model):
    sched = Scheduler(model, remember=2)
    sched.fleet.upsert([1])
    ids = [sched.decide({"client_id": 17}, [1], now=0.0).id for _ in range(3)]
    with pytest.raises(
        UnknownDecisionError, match=f"expected one of the last 2 of this scheduler, found {ids[0]}, which is forgotten"
    ):
        sched.observe(ids[0], OK, now=1.0)
    sched.observe(ids[1], OK, now=1.0)
    sched.observe(ids[2], OK, now=1.0)


def test_unknown_nodes_have_an_error_of_their_own(sched):
    with pytest.raises(UnknownNodeError, match="found 'stranger'"):
        sched.decide({"client_id": 17}, [1, "stranger"], now=0.0)

"""A batch of outcomes with bad rows: refused by row and decision, or counted without them."""

import math

import numpy as np
import pytest

from scheduler import DuplicateOutcomeError, InputError, Skipped, UnknownDecisionError
from scheduler.spec import Policy
from tests.schedulers import IDS, new, same, state


def made(sched, n):
    return sched.decide_batch({"client_id": [17] * n}, [IDS] * n, now=0.0).id.tolist()


def test_good_outcomes_count_and_bad_ones_come_back(model):
    sched, twin = new(model), new(model)
    ids = made(sched, 6)
    assert made(twin, 6) == ids
    sched.observe(ids[5], {"ok": True, "rtt_ms": 1.0}, now=1.0)
    twin.observe(ids[5], {"ok": True, "rtt_ms": 1.0}, now=1.0)
    rows = [ids[0], 10**6, ids[1], ids[2], ids[0], "x", ids[5], ids[3]]
    rtt = [10.0, 20.0, -1.0, 40.0, 50.0, 60.0, 70.0, math.nan]
    skipped = sched.observe_batch(rows, {"ok": [True] * 8, "rtt_ms": rtt}, now=np.arange(2.0, 10.0), errors="skip")
    assert [(s.row, s.id) for s in skipped] == [
        (1, 10**6),
        (2, ids[1]),
        (4, ids[0]),
        (5, "x"),
        (6, ids[5]),
        (7, ids[3]),
    ]
    for s, reason in zip(
        skipped,
        ["another scheduler", "from 0", "found another", "integer id", "found another", "found none"],
        strict=True,
    ):
        assert reason in s.reason
    twin.observe_batch([ids[0], ids[2]], {"ok": [True] * 2, "rtt_ms": [10.0, 40.0]}, now=np.array([2.0, 5.0]))
    assert same(state(sched), state(twin))
    assert sched.observe_batch([ids[1]], {"ok": True, "rtt_ms": [3.0]}, now=9.0) == []


WRONG = {
    "unknown": (
        lambda s, i: s.observe_batch([i[0], 99], {"ok": [False] * 2}, now=1.0),
        UnknownDecisionError,
        "row 1, id 99: ",
    ),
    "twice": (
        lambda s, i: s.observe_batch([i[0], i[0]], {"ok": [False] * 2}, now=1.0),
        DuplicateOutcomeError,
        "row 1, id 0: ",
    ),
    "a value": (
        lambda s, i: s.observe_batch(i, {"ok": [True] * 3, "rtt_ms": [1, 2, 1e9]}, now=1.0),
        InputError,
        "row 2, id 2: outcome 'rtt_ms': expected a finite 32-bit number",
    ),
    "a time": (
        lambda s, i: s.observe_batch(i, {"ok": [False] * 3}, now=[1.0, math.nan, 2.0]),
        InputError,
        "row 1, id 1: now",
    ),
    "a node": (
        lambda s, i: s.observe_batch(i[:1], {"ok": [False]}, now=1.0, nodes=["q"]),
        UnknownDecisionError,
        "row 0, id 0: ",
    ),
    "a name": (
        lambda s, i: s.observe_batch(i, {"ok": [False] * 3, "q": [1] * 3}, now=1.0, errors="skip"),
        InputError,
        "'q'",
    ),
    "a length": (
        lambda s, i: s.observe_batch(i, {"ok": [False] * 2}, now=1.0, errors="skip"),
        InputError,
        "outcome ok: expected 3 values, found 2",
    ),
    "a far time": (
        lambda s, i: s.observe_batch(i, {"ok": [False] * 3}, now=1e12, errors="skip"),
        InputError,
        "now: expected at most",
    ),
    "a choice": (
        lambda s, i: s.observe_batch(i, {"ok": [False] * 3}, now=1.0, errors="log"),
        InputError,
        "errors: expected",
    ),
}


@pytest.mark.parametrize(("call", "kind", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named_and_changes_nothing(model, call, kind, message):
    sched = new(model)
    ids = made(sched, 3)
    before = state(sched)
    with pytest.raises(kind, match=message):
        call(sched, ids)
    assert same(before, state(sched))


def test_two_nodes_of_one_decision_are_two_rows(model):
    sched = new(model, policy=Policy(max_nodes=2, alternatives=1))
    d = sched.decide({"client_id": 17}, IDS, now=0.0)
    nodes = [*d.nodes, *d.alternatives]
    rows = [d.id] * (len(nodes) + 1)
    skipped = sched.observe_batch(rows, {"ok": [False] * len(rows)}, now=1.0, nodes=[*nodes, nodes[0]], errors="skip")
    reason = f"decision {d.id}: expected one outcome for each node, found another"
    assert skipped == [Skipped(len(nodes), d.id, reason)]
    assert sched.counters()["outcomes"] == len(nodes)

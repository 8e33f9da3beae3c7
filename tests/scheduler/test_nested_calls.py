"""Calls from within calls: from a signal handler, a finaliser, or an argument. Right, or refused by name."""

import sys
from collections.abc import Mapping

import pytest
from numba import config

from scheduler import DuplicateOutcomeError, NestedCallError
from scheduler.runtime.lock_kernels import MAX_DEPTH
from tests.scheduler.runtime.test_locks import free
from tests.scheduler.test_interrupts import BATCH, new
from tests.schedulers import OK

NO_DEMAND = {"client_id": 17, "kind": "film"}
OTHER = {"client_id": "tv", "kind": "song", "isp": 8}


class Handler:
    """A trace function that makes a call before the bytecode with a number, as a signal handler might."""

    def __init__(self, at, call):
        self.left, self.call, self.result = at, call, None

    def __call__(self, frame, event, _):
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.left -= 1
            if self.left == -1:
                try:
                    self.result = self.call()
                except NestedCallError as error:
                    self.result = error
        return self


def nested(outer, inner, at):
    """Make a call and another before its bytecode ``at``; return what both come to, None for one never made."""
    handler, before = Handler(at, inner), sys.gettrace()
    sys.settrace(handler)
    try:
        result = outer()
    finally:
        sys.settrace(before)
    return result, handler.result


def each_bytecode(outer, inner, stride=1):
    """Yield what both calls come to for each bytecode of the outer one."""
    at = 0
    while (both := nested(outer, inner, at))[1] is not None:
        yield both
        at += stride


def free_of_holds(sched):
    return free(sched.state.lock.words) and sched.state.lock.hold().held.tolist() == [0, 0]


@pytest.mark.slow
@pytest.mark.skipif(config.DISABLE_JIT, reason="without the JIT, kernels are Python, and a handler runs within them")
@pytest.mark.parametrize(
    "request_", [NO_DEMAND, {"client_id": 98, "kind": None, "isp": 7}], ids=["known client", "other"]
)
def test_a_decision_within_a_decision_changes_nothing_of_either(model, request_):
    """Without demand a decision is a function of its request and its id: a second scheduler decides in order of ids."""
    sched, twin = new(model), new(model)
    calls = lambda s: (lambda: s.decide(request_, now=1.0), lambda: s.decide(OTHER, now=1.0))  # noqa: E731
    for s in (sched, twin):
        for call in calls(s):
            call()
    n = 0
    for outer, inner in each_bytecode(*calls(sched)):
        outer_first = outer.id < inner.id
        asked = (request_, OTHER) if outer_first else (OTHER, request_)
        expected = [twin.decide(one, now=1.0) for one in asked]
        assert repr([outer, inner] if outer_first else [inner, outer]) == repr(expected)
        n += 1
    assert n > 100
    assert free_of_holds(sched)


@pytest.mark.slow
@pytest.mark.skipif(config.DISABLE_JIT, reason="without the JIT, kernels are Python, and a handler runs within them")
@pytest.mark.parametrize("inner", ["decide", "observe", "upsert", "score"])
@pytest.mark.parametrize("outer", ["observe", "observe_batch", "upsert", "remove"])
def test_within_a_change_calls_are_right_or_refused(model, outer, inner):
    """What is refused has changed nothing; what is not has its effect, and the outer call has its own in any case."""
    sched = new(model)
    refused = made = 0
    at, stride = 0, 7
    while True:
        now = 1.0 + at / 4096
        mine, theirs = (sched.decide({"client_id": 17}, [node], now=now) for node in (1, 2))
        sched.fleet.upsert(["gone"], {"load": [0.5]})
        outers = {
            "observe": lambda: sched.observe(mine.id, OK, now=now),  # noqa: B023 - called at once
            "observe_batch": lambda: sched.observe_batch([mine.id], {"ok": [True], "rtt_ms": [30.0]}, now=now),  # noqa: B023
            "upsert": lambda: sched.fleet.upsert(["new"], {"load": [0.25]}),
            "remove": lambda: sched.fleet.remove(["gone"]),
        }
        inners = {
            "decide": lambda: sched.decide(OTHER, now=now),  # noqa: B023
            "observe": lambda: sched.observe(theirs.id, OK, now=now) or "observed",  # noqa: B023
            "upsert": lambda: sched.fleet.upsert(["late"], {"load": [0.75]}) or "upserted",
            "score": lambda: sched.score(BATCH, [[1, 2]] * 3, now=now),  # noqa: B023
        }
        outcomes, before = sched.counters()["outcomes"], len(sched.fleet)
        _, result = nested(outers[outer], inners[inner], at)
        if result is None:
            break
        was_refused = isinstance(result, NestedCallError)
        refused, made = refused + was_refused, made + (not was_refused)
        assert free_of_holds(sched)
        n_outcomes = outer.startswith("observe") + (inner == "observe" and not was_refused)
        assert sched.counters()["outcomes"] == outcomes + n_outcomes
        if outer.startswith("observe"):
            with pytest.raises(DuplicateOutcomeError):
                sched.observe(mine.id, OK, now=now)
        if inner == "observe" and not was_refused:
            with pytest.raises(DuplicateOutcomeError):
                sched.observe(theirs.id, OK, now=now)
        grown = (outer == "upsert") - (outer == "remove") + (inner == "upsert" and not was_refused)
        assert len(sched.fleet) == before + grown
        assert ("late" in sched.fleet) == (inner == "upsert" and not was_refused)
        sched.fleet.remove([id_ for id_ in ("new", "late", "gone") if id_ in sched.fleet])
        at += stride
    assert refused
    assert made


class Asking(Mapping):
    """A request that decides for itself when it is read."""

    def __init__(self, request, ask):
        self._request, self._ask = request, ask

    def __getitem__(self, name):
        self._ask()
        return self._request[name]

    def __iter__(self):
        return iter(self._request)

    def __len__(self):
        return len(self._request)


def test_a_request_that_decides_when_it_is_read_is_decided_as_any_other(model):
    sched, twin = new(model), new(model)
    inside = []
    decision = sched.decide(Asking(NO_DEMAND, lambda: inside.append(sched.decide(OTHER, now=1.0))), now=1.0)
    expected = [twin.decide(OTHER, now=1.0) for _ in inside]
    assert repr(inside) == repr(expected)
    assert repr(decision) == repr(twin.decide(NO_DEMAND, now=1.0))
    assert free_of_holds(sched)


def test_a_batch_that_decides_when_it_is_read_is_decided_as_any_other(model):
    sched, twin = new(model), new(model)
    batch = {"client_id": [17, "tv"], "kind": ["film", None]}
    inside = []
    ds = sched.decide_batch(Asking(batch, lambda: inside.append(sched.decide(OTHER, now=1.0))), now=1.0)
    for _ in inside:
        twin.decide(OTHER, now=1.0)
    assert repr(ds.one(1)) == repr(twin.decide_batch(batch, now=1.0).one(1))


def test_a_request_that_changes_the_fleet_when_it_is_read_is_refused(model):
    sched = new(model)
    with pytest.raises(NestedCallError, match="expected no call from within a call of the same scheduler"):
        sched.decide(Asking(NO_DEMAND, lambda: sched.fleet.remove([1])), now=1.0)
    assert 1 in sched.fleet
    assert free_of_holds(sched)


def test_calls_inside_each_other_have_a_bound(model):
    sched, depth = new(model), []

    def deeper():
        depth.append(1)
        sched.decide(Asking(NO_DEMAND, deeper), now=1.0)

    with pytest.raises(NestedCallError, match=f"{MAX_DEPTH} deep"):
        deeper()
    assert len(depth) == MAX_DEPTH + 1
    assert free_of_holds(sched)


def test_another_scheduler_may_be_called_from_within_a_call(model):
    """Only calls of one scheduler meet its half-done work."""
    sched, other = new(model), new(model)
    sched.decide(Asking(NO_DEMAND, lambda: other.fleet.upsert(IDS_OF_OTHER, {"load": [0.5]})), now=1.0)
    assert set(IDS_OF_OTHER) <= set(other.fleet.table)


IDS_OF_OTHER = ["elsewhere"]

"""Exceptions from outside, at any bytecode of any public call: nothing stays locked, and nothing is half done.

A trace function raises before bytecode number k of a call, wherever the interpreter is then, for all k. Signals come
only at some of these, so nothing is left to chance. Each interrupted call is compared with a second scheduler that was
not interrupted: it is as before the call, or as after it.
"""

import gc
import random
import signal
import sys
import threading
import time
import zlib
from contextlib import suppress

import numpy as np
import pytest
from numba import config

from scheduler import Scheduler, UnknownDecisionError, UnknownNodeError
from scheduler.spec import parse_spec
from tests.models import SPEC, with_sets
from tests.scheduler.runtime.test_locks import free
from tests.schedulers import COLUMNS, HELD, IDS, OK, flat
from tests.thorough import THOROUGH

pytestmark = pytest.mark.skipif(config.DISABLE_JIT, reason="without the JIT, kernels are Python and can be interrupted")

TEXT = with_sets(SPEC, holders=2)
REQUEST = {"client_id": 17, "kind": "film", "kbps": 100.0}
BATCH = {"client_id": [17, "tv", 99], "kind": ["film", None, "bulk"], "kbps": [100.0, 0.0, 50.0]}
NEW = {"isp": [7], "load": [0.5], "uplink": [900], "price": [2], "lat": [1], "lon": [2], "taste": [[1, 2, 3]]}


class Interrupt(BaseException):
    """What a signal handler may raise."""


class Tracer:
    """Raises before the bytecode with a number, counted from 0 over all frames that begin after it was set."""

    def __init__(self, at):
        self.left = at

    def __call__(self, frame, event, _):
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.left -= 1
            if self.left < 0:
                raise Interrupt
        return self


def interrupted(call, at):
    """Make a call and interrupt it before bytecode ``at``; return whether it came so far."""
    before, collects = sys.gettrace(), gc.isenabled()
    gc.disable()  # Python swallows what is raised in a collection of garbage, wherever that comes
    sys.settrace(Tracer(at))
    try:
        call()
    except Interrupt:
        return True
    finally:
        sys.settrace(before)
        if collects:
            gc.enable()
    return False


def world(sched):
    """Hashes and lists of all that calls may change."""
    state, fleet, clients = sched.state, sched.fleet, sched.clients
    parts = [*flat(fleet.arrays), *clients.columns, *state.log.arrays, *flat(sched.history)]
    parts += [arm.arrays.content.node_rows for arm in state.arms]
    parts.append(state.index.retrieve(np.zeros((4, state.features.request.n_keys), np.uint64), 3, 0))
    holders = [sched.fleet.holds(list(fleet.table), "content", [c] * len(fleet)) for c in ("film", "song", "new")]
    hashes = [zlib.crc32(np.ascontiguousarray(part)) for part in (*parts, *holders)]
    places = [[(len(t), str(id_), t.slot(id_)) for id_ in sorted(t, key=str)] for t in (fleet.table, clients)]
    return hashes, places, len(state.arms), sched.model.spec.policy


def new(model, remember=16):
    """A scheduler small enough to look at after every call: five nodes, two clients, sets, slates, a ledger."""
    sched = Scheduler(model, parse_spec(TEXT), seed=3, remember=remember, first_id=0, secret=0)
    sched.fleet.upsert(IDS, COLUMNS | {"content": HELD})
    sched.clients.upsert([17, "tv"], {"isp": [7, "mobile"], "lat": [1, 2], "lon": [3, 4], "taste": [[1, 0, 0]] * 2})
    return sched


def with_node(sched, _now):
    sched.fleet.upsert(["new"], NEW)


def without_node(sched, _now):
    if "new" in sched.fleet:
        sched.fleet.remove(["new"])
    if "new" in sched.clients:
        sched.clients.remove(["new"])


def decided(sched, now):
    return sched.decide(REQUEST, now=now)


def left_and_came_back(sched, now):
    """A decision whose nodes left since, and came back: their outcomes are looked for all over the fleet."""
    without_node(sched, now)
    with_node(sched, now)
    decision = sched.decide({"client_id": 17}, ["new"], now=now)
    without_node(sched, now)
    with_node(sched, now)
    return decision


def several(sched, now):
    ds = sched.decide_batch(BATCH, now=now)
    kept = [i for i in range(3) if ds.nodes[i, 0] is not None]
    return ds.id[kept], ds.nodes[kept, 0].tolist()


def report(sched, decision, now):
    for node in decision.nodes[:1]:
        sched.observe(decision.id, OK, now=now, node=node)


def report_several(sched, ids_and_nodes, now):
    ids, nodes = ids_and_nodes
    sched.observe_batch(ids, {"ok": [True] * len(ids), "rtt_ms": [30.0] * len(ids)}, now=now, nodes=nodes)


def take_turns(sched, _now):
    epsilon = 0.25 if sched.model.spec.policy.epsilon == 0.5 else 0.5
    return parse_spec(TEXT.replace("epsilon = 0.5", f"epsilon = {epsilon}"))


CALLS = {
    "upsert of a new node": (
        without_node,
        lambda s, _, _now: s.fleet.upsert(["new", 1], twice(NEW | {"content": [["new"]]})),
    ),
    "upsert of known nodes": (
        None,
        lambda s, _, now: s.fleet.upsert([1, "box"], {"load": [now % 1, 0.5], "isp": [8, 7]}),
    ),
    "update": (None, lambda s, _, now: s.fleet.update([3], {"uplink": [now]}, alive_until=1e9 + now)),
    "remove": (with_node, lambda s, _, _now: s.fleet.remove(["new"])),
    "add": (with_node, lambda s, _, _now: s.fleet.add(["new", 1], "content", ["new", "song"])),
    "discard": (None, lambda s, _, _now: s.fleet.discard([1, 2], "content", ["film", "film"])),
    "holds": (None, lambda s, _, _now: s.fleet.holds([1, 2], "content", ["film", "film"])),
    "heartbeat": (None, lambda s, _, now: s.fleet.heartbeat([1, 2], alive_until=1e9 + now)),
    "quarantine": (None, lambda s, _, now: s.fleet.quarantine([2], until=now)),
    "upsert of a client": (without_node, lambda s, _, now: s.clients.upsert(["new", 17], {"lat": [now % 90, 2.0]})),
    "remove of a client": (lambda s, _now: s.clients.upsert(["new"], {}), lambda s, _, _now: s.clients.remove(["new"])),
    "decide": (None, lambda s, _, now: s.decide(REQUEST, now=now)),
    "decide without": (None, lambda s, _, now: s.decide(REQUEST, now=now, exclude=[1], block={"isp": ["mobile"]})),
    "decide among": (None, lambda s, _, now: s.decide({"client_id": "tv"}, [1, 2, "box"], now=now)),
    "decide_batch": (None, lambda s, _, now: s.decide_batch(BATCH, now=now)),
    "observe": (decided, report),
    "observe of one that came back": (left_and_came_back, report),
    "observe_batch": (several, report_several),
    "score": (None, lambda s, _, now: s.score(BATCH, [[1, 2]] * 3, now=now)),
    "features": (None, lambda s, _, now: s.features(BATCH, [[1, 2]] * 3, now=now)),
    "set_policy": (take_turns, lambda s, spec, _now: s.set_policy(spec)),
    "refresh": (None, lambda s, _, _now: s.refresh()),
    "counters": (None, lambda s, _, _now: s.counters()),
    "a refused call": (None, lambda s, _, _now: refused(s)),
}


def twice(columns):
    return {name: values * 2 for name, values in columns.items()}


def refused(sched):
    try:
        sched.fleet.remove(["nobody"])
    except UnknownNodeError:
        return
    pytest.fail("a node that is not held was removed")


def is_free(sched, now):
    """Whether nothing is locked, so that another thread can change something at once; it does."""
    lock = sched.state.lock
    assert free(lock.words)
    assert lock.hold().held.tolist() == [0, 0]
    other = threading.Thread(target=lambda: sched.fleet.heartbeat([1], alive_until=2e9 + now), daemon=True)
    other.start()
    other.join(30)
    return not other.is_alive()


def interrupt_everywhere(model, name, stride, first=0):
    """Interrupt a call at every so many bytecodes, and compare each time; return how often."""
    before, call = CALLS[name]
    subject, twin = new(model), new(model)
    for sched in (subject, twin):
        call(sched, before and before(sched, 1.0), 1.0)  # nothing is compiled after this
    at, n = first, 0
    while True:
        now = 1.0 + n / 64
        given, same = (before and before(sched, now) for sched in (subject, twin))
        came = interrupted(lambda: call(subject, given, now), at)  # noqa: B023 - it is called at once
        assert is_free(subject, now), f"locked after an interrupt at bytecode {at}"
        twin.fleet.heartbeat([1], alive_until=2e9 + now)
        after = world(subject)
        if after != world(twin):
            call(twin, same, now)
            twin.fleet.heartbeat([1], alive_until=2e9 + now)
            assert after == world(twin), f"half done after an interrupt at bytecode {at}"
        if not came:
            return n
        at += stride
        n += 1


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_an_interrupted_call_is_done_or_undone_and_holds_nothing(model, name):
    stride = 1_009 if name == "set_policy" else 61
    assert interrupt_everywhere(model, name, stride, first=zlib.crc32(name.encode()) % stride) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_a_call_interrupted_at_any_bytecode_is_done_or_undone_and_holds_nothing(model, name):
    stride = 1 if THOROUGH else 12
    stride = 401 if name == "set_policy" else stride  # 60,000 bytecodes that work out a policy, and one that stores it
    assert interrupt_everywhere(model, name, stride) > 10


@pytest.mark.slow
def test_an_interrupt_while_a_table_grows_leaves_it_whole(model):
    """New arrays stand beside the old ones for a moment, and everything has to be found in the same."""
    ids = [f"more {i}" for i in range(100)]
    columns = {name: values * len(ids) for name, values in NEW.items()}
    choose = random.Random(5)  # noqa: S311 - no secret
    for _ in range(40):
        subject, twin = new(model), new(model)
        interrupted(lambda: subject.fleet.upsert(ids, columns), choose.randrange(12_000))  # noqa: B023 - called at once
        assert is_free(subject, 1.0)
        twin.fleet.heartbeat([1], alive_until=2e9 + 1.0)
        if len(subject.fleet) > len(IDS):
            twin.fleet.upsert(ids, columns)
            twin.fleet.heartbeat([1], alive_until=2e9 + 1.0)
            assert world(subject) == world(twin)
        assert world(subject)[1] == world(twin)[1]


LONG = {
    "observe_batch in parts": CALLS["observe_batch"],
    "learn_batch in parts": (
        None,
        lambda s, _, now: s.learn_batch(BATCH, [1, "box", "nobody"], {"ok": True, "rtt_ms": [3.0, 4.0, 5.0]}, now=now),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_an_interrupted_call_of_many_outcomes_counts_all_of_them_or_none(model, name, monkeypatch):
    """Here many are two: they are taken in one by one, between which the lock is free."""
    for place in ("engine.engine.PART", "engine.outcome_batch.PART", "engine.remote_outcomes.PART"):
        monkeypatch.setattr(f"scheduler.{place}", 1)
    monkeypatch.setattr("scheduler.engine.long_outcomes.CLAIMS", 1)
    monkeypatch.setitem(CALLS, name, LONG[name])
    assert interrupt_everywhere(model, name, 7, first=3) > 10


@pytest.mark.parametrize("name", ["upsert of a new node", "remove", "add", "observe of one that came back"])
def test_a_call_interrupted_again_while_it_cleans_up_is_finished_before_the_next(model, name):
    """Signals may come one after another: the second ends what the first made necessary."""
    before, call = CALLS[name]
    subject, twin = new(model), new(model)
    for sched in (subject, twin):
        call(sched, before and before(sched, 1.0), 1.0)
    choose = random.Random(name)  # noqa: S311 - no secret
    for n in range(60):
        now = 1.0 + n / 64
        given, same = (before and before(sched, now) for sched in (subject, twin))
        finish, apart = subject.state.lock._finish, choose.randrange(200)  # noqa: SLF001 - where a second one comes
        subject.state.lock._finish = lambda: interrupted(finish, apart) and _raise()  # noqa: B023, SLF001
        interrupted(lambda: call(subject, given, now), choose.randrange(2_000))  # noqa: B023
        subject.state.lock._finish = finish  # noqa: SLF001
        assert is_free(subject, now)
        twin.fleet.heartbeat([1], alive_until=2e9 + now)
        after = world(subject)
        if after != world(twin):
            call(twin, same, now)
            twin.fleet.heartbeat([1], alive_until=2e9 + now)
            assert after == world(twin)


def _raise():
    raise Interrupt


class AlarmError(Exception):
    """What a soft time limit raises."""


def with_alarms(seconds, n, calls):
    """Make random calls under alarms at random moments, in the main thread, until so many came; return how many."""
    came = 0

    def ring(*_):
        raise AlarmError

    choose, old = random.Random(seconds), signal.signal(signal.SIGALRM, ring)  # noqa: S311 - no secret
    try:
        while came < n:
            try:
                signal.setitimer(signal.ITIMER_REAL, choose.uniform(1e-5, seconds))
                # Python swallows what is raised in a finaliser or a collection of garbage: the next alarm counts then.
                until = time.monotonic() + 0.5
                while time.monotonic() < until:
                    choose.choice(calls)()
            except AlarmError:
                came += 1
            if came % 50 == 0:
                yield came
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    yield came


def under_alarms(model, n):
    """The real thing: signals, wherever they come, with the interrupted calls counted by what they did."""
    sched = new(model)
    sched.warm_up()
    some = [f"box {i}" for i in range(20)]
    columns = {name: values * len(some) for name, values in NEW.items()}
    open_decisions = []

    def observe():
        if open_decisions:
            decision = open_decisions.pop()
            with suppress(UnknownDecisionError):  # forgotten by now
                report(sched, decision, 1.0)

    calls = [
        lambda: sched.fleet.upsert(some, columns),
        lambda: sched.fleet.heartbeat(IDS, alive_until=1e9),
        lambda: sched.fleet.remove([id_ for id_ in some if id_ in sched.fleet]),
        lambda: sched.fleet.add([1, 2], "content", ["film", "new"]),
        lambda: sched.fleet.discard([1, 2], "content", ["film", "new"]),
        lambda: sched.clients.upsert(["new"], {"lat": [1.0]}),
        lambda: open_decisions.append(sched.decide(REQUEST, now=1.0)),
        lambda: sched.decide_batch(BATCH, now=1.0),
        lambda: sched.score(BATCH, [[1, 2]] * 3, now=1.0),
        lambda: open_decisions.clear() or open_decisions.append(sched.decide(REQUEST, now=1.0)),
        observe,
    ]
    for came in with_alarms(3e-4, n, calls):
        assert is_free(sched, 1.0), f"locked after {came} interrupts"
        check_whole(sched)
    return sched


def check_whole(sched):
    """Tables, index, rows and reservations agree with each other."""
    table, arrays_ = sched.fleet.table, sched.fleet.arrays
    ids = list(table)
    assert len(ids) == len(table) == len(set(ids))
    slots = table.slots(ids)
    assert sorted(slots.tolist()) == sched.fleet.slots().tolist()
    assert table.ids_at(slots).tolist() == ids
    rows = sched.state.arms[0].arrays.content.node_rows
    kept = rows[slots].copy()
    sched.refresh()
    np.testing.assert_array_equal(kept, rows[slots])
    log = sched.state.log.arrays
    held = np.where(log.generation == arrays_.generation[log.slot], log.held, 0.0)  # some were of nodes that left
    open_ = np.bincount(log.slot.ravel(), held.ravel(), len(arrays_.reserved))
    np.testing.assert_allclose(open_[slots], arrays_.reserved[slots], atol=1e-6)
    found = {slot for row in sched.state.index.retrieve(np.zeros((1, 3), np.uint64), 0, 0) for slot in row if slot >= 0}
    assert found <= set(slots.tolist())


def test_alarms_at_random_moments_leave_a_scheduler_whole(model):
    under_alarms(model, 300)


@pytest.mark.slow
def test_many_alarms_at_random_moments_leave_a_scheduler_whole(model):
    under_alarms(model, 100_000 if THOROUGH else 20_000)


@pytest.mark.slow
def test_a_long_batch_ends_soon_after_an_interrupt(model):
    """60,000 decisions take a second: it is Python that looks for signals, so they come in parts."""
    sched = new(model)
    n = 60_000
    requests = {"client_id": [17] * n}
    sched.decide_batch(requests, now=1.0)
    begun = time.monotonic()
    sched.decide_batch(requests, now=1.0)
    took = time.monotonic() - begun
    done = sched.counters()["decisions"]

    def ring(*_):
        raise AlarmError

    old = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, took / 2)
        with pytest.raises(AlarmError):
            sched.decide_batch(requests, now=1.0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert 0 < sched.counters()["decisions"] - done < n
    assert is_free(sched, 1.0)

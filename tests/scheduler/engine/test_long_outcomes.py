"""Outcomes by the hundred thousand: the lock is held for some milliseconds at a time, and all count or none."""

import gc
import math
import signal
import threading
import time

import numpy as np
import pytest

from scheduler import DuplicateOutcomeError, InputError, LockTimeoutError, NestedCallError, Scheduler
from scheduler.decisions.arrays import CLAIMED
from scheduler.engine.long_outcomes import LongOutcomes
from scheduler.runtime.parts import PART
from tests.models import changed
from tests.scheduler.fleet.test_long_writes import LONGEST, timed
from tests.scheduler.test_forks import in_child
from tests.scheduler.test_interrupts import AlarmError
from tests.schedulers import COLUMNS, IDS, LEDGER, same, state

N = 3 * PART + 100


def scheduler(model, remember=1 << 14, **parts):
    sched = Scheduler(changed(model, **parts), first_id=0, remember=remember, secret=0)
    sched.fleet.upsert(IDS, COLUMNS)
    return sched


def made(sched, n=N):
    clients = {"client_id": (np.arange(n) % 97).tolist(), "kbps": [1.0] * n}
    return sched.decide_batch(clients, [[1, "box"]] * n, now=0.0).id


def outcomes(n=N):
    random = np.random.default_rng(0)
    return {"ok": random.random(n) < 0.9, "rtt_ms": random.uniform(1, 90, n)}


def test_many_outcomes_count_as_the_same_ones_in_short_calls(model):
    long, short = (scheduler(model, ledger=LEDGER) for _ in range(2))
    ids, some = made(long), outcomes()
    made(short)
    times = np.linspace(1.0, 2.0, N)
    assert long.observe_batch(ids, some, now=times) == []
    for first in range(0, N, 100):
        at = slice(first, first + 100)
        short.observe_batch(ids[at], {name: values[at] for name, values in some.items()}, now=times[at])
    assert same(state(long), state(short))
    assert long.fleet.get(1).reserved == 0.0


def test_learning_from_many_is_learning_from_each(model):
    long, short = (scheduler(model) for _ in range(2))
    nodes, some = [*IDS, "gone"] * (N // 6), outcomes()
    requests = {"client_id": list(range(len(nodes)))}
    some = {name: values[: len(nodes)] for name, values in some.items()}
    long.learn_batch(requests, nodes, some, now=1.0)
    for first in range(0, len(nodes), 100):
        at = slice(first, first + 100)
        parts = ({name: values[at] for name, values in columns.items()} for columns in (requests, some))
        short.learn_batch(next(parts), nodes[at], next(parts), now=1.0)
    assert same(state(long), state(short))


@pytest.mark.parametrize("second_arm", [False, True])
def test_rows_of_all_arms_follow(model, second_arm):
    sched = scheduler(model)
    if second_arm:
        sched.prepare(model)
    sched.observe_batch(made(sched), outcomes(), now=1.0)
    rows = [arm.arrays.content.node_rows.copy() for arm in sched.state.arms]
    sched.refresh()
    for before, arm in zip(rows, sched.state.arms, strict=True):
        np.testing.assert_array_equal(before, arm.arrays.content.node_rows)


def claimed(sched):
    return int((sched.state.log.arrays.state >= CLAIMED).sum())


WRONG = {
    "unknown": lambda ids, now: ([*ids[:-1].tolist(), 10**9], None, now, "another scheduler"),
    "twice": lambda ids, now: ([*ids[:-1].tolist(), int(ids[7])], None, now, "found another"),
    "twice, once named": lambda ids, now: (
        [*ids[:-1].tolist(), int(ids[7])],
        [*[None] * (N - 1), 1],
        now,
        "found another|expected a node",
    ),
    "no such node": lambda ids, now: (ids, [*[None] * (N - 1), "stranger"], now, "'stranger'"),
    "milliseconds": lambda ids, _: (ids, None, np.full(N, 1e12), "now: expected"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_one_at_the_end_leaves_all_as_it_was(model, name):
    sched = scheduler(model)
    ids = made(sched)
    before = state(sched)
    some, nodes, now, text = WRONG[name](ids, 1.0)
    with pytest.raises(InputError, match=text):
        sched.observe_batch(some, outcomes(), now=now, nodes=nodes)
    assert same(state(sched), before)
    assert claimed(sched) == 0
    sched.observe_batch(ids, outcomes(), now=1.0)
    assert sched.counters()["outcomes"] == N


def test_bad_rows_of_many_are_left_out(model):
    sched = scheduler(model)
    ids = made(sched).tolist()
    skipped = sched.observe_batch([*ids[:-2], 10**9, ids[5]], outcomes(), now=1.0, errors="skip")
    assert [s.row for s in skipped] == [N - 2, N - 1]
    assert sched.counters()["outcomes"] == N - 2


def paused(sched, monkeypatch, until=lambda _, n_claimed: n_claimed > 0):
    """Return an event that a call of many outcomes sets once it comes to a step, and one that it then waits for."""
    monkeypatch.setattr("scheduler.engine.long_outcomes.CLAIMS", PART)
    came, go = threading.Event(), threading.Event()
    original = LongOutcomes.step

    def step(self):
        if came.is_set() and not go.is_set():
            return True
        more = original(self)
        if until(self, claimed(sched)):
            came.set()
        return more

    monkeypatch.setattr(LongOutcomes, "step", step)
    return came, go


def in_thread(call):
    errors = []

    def run():
        try:
            call()
        except InputError as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, errors


@pytest.mark.parametrize("good", [True, False])
def test_who_answers_a_claimed_decision_waits_for_what_becomes_of_it(model, monkeypatch, good):
    sched = scheduler(model)
    ids = made(sched)
    came, go = paused(sched, monkeypatch)
    some = ids if good else [*ids[:-1].tolist(), 10**9]
    long, errors = in_thread(lambda: sched.observe_batch(some, outcomes(), now=1.0))
    assert came.wait(30)
    calls = [
        in_thread(lambda: sched.observe(int(ids[3]), {"ok": False}, now=1.0)),
        in_thread(lambda: sched.observe(sched.token(int(ids[4])), {"ok": False}, now=1.0)),
        in_thread(lambda: sched.observe_batch(ids[5:7], {"ok": False}, now=1.0)),
    ]
    sched.decide({"client_id": 1}, now=1.0)  # nobody else waits
    time.sleep(0.05)
    assert all(thread.is_alive() for thread, _ in calls)
    go.set()
    for thread in (long, *(thread for thread, _ in calls)):
        thread.join(30)
        assert not thread.is_alive()
    assert (
        all(isinstance(found[0], DuplicateOutcomeError) for _, found in calls)
        if good
        else not any(found for _, found in calls)
    )
    assert bool(errors) != good
    assert sched.counters()["outcomes"] == (N if good else 4)
    assert claimed(sched) == 0


def test_who_waits_too_long_is_told(model, monkeypatch):
    sched = scheduler(model)
    ids = made(sched)
    came, go = paused(sched, monkeypatch)
    long, _ = in_thread(lambda: sched.observe_batch(ids, outcomes(), now=1.0))
    assert came.wait(30)
    sched.state.lock.longest_wait = 0.05
    for call in (
        lambda: sched.observe(int(ids[3]), {"ok": False}, now=1.0),
        lambda: sched.observe_batch(ids[5:7], {"ok": False}, now=1.0),
    ):
        with pytest.raises(LockTimeoutError, match="takes in"):
            call()
    sched.state.lock.longest_wait = 60.0
    go.set()
    long.join(30)
    assert sched.counters()["outcomes"] == N


def test_a_decision_that_is_forgotten_meanwhile_teaches_too(model, monkeypatch):
    sched = scheduler(model, remember=N, ledger=LEDGER)
    ids = made(sched)
    came, go = paused(sched, monkeypatch, lambda call, _: call.is_certain)
    long, errors = in_thread(lambda: sched.observe_batch(ids, outcomes(), now=1.0))
    assert came.wait(30)
    later = made(sched)
    go.set()
    long.join(30)
    assert not errors
    assert sched.counters()["outcomes"] == N
    sched.observe_batch(later, outcomes(), now=1.0)
    assert sched.counters()["outcomes"] == 2 * N
    assert sched.fleet.get(1).reserved == 0.0


@pytest.mark.slow
def test_a_snapshot_meanwhile_has_claimed_decisions_as_open_ones(model, monkeypatch, tmp_path):
    sched = scheduler(model)
    ids = made(sched)
    came, go = paused(sched, monkeypatch)
    long, _ = in_thread(lambda: sched.observe_batch(ids, outcomes(), now=1.0))
    assert came.wait(30)
    assert claimed(sched) > 0
    sched.save(tmp_path)
    go.set()
    long.join(30)
    back = Scheduler.restore(tmp_path, sched.model)
    assert claimed(back) == 0
    back.observe_batch(ids, outcomes(), now=1.0)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("certain", [True, False])
def test_a_child_has_all_of_them_or_none(model, monkeypatch, certain):
    sched = scheduler(model)
    ids = made(sched)
    came, go = threading.Event(), threading.Event()
    original = LongOutcomes.step

    def step(self):
        is_there = self._n_done > 0 if certain else self._n_claimed == N
        if is_there and not go.is_set() and threading.current_thread() is not threading.main_thread():
            came.set()
            return True
        return original(self)

    monkeypatch.setattr(LongOutcomes, "step", step)
    long, _ = in_thread(lambda: sched.observe_batch(ids, outcomes(), now=1.0))
    assert came.wait(30)

    def child():
        count = sched.counters()["outcomes"]
        if not certain:
            sched.observe(int(ids[3]), {"ok": False}, now=1.0, node=1)
        return [count, claimed(sched)]

    assert in_child(child) == [N if certain else 0, 0]
    go.set()
    long.join(30)
    assert sched.counters()["outcomes"] == N


def test_a_call_of_many_from_within_a_call_is_refused(model):
    sched = scheduler(model)
    ids = made(sched)
    with pytest.raises(NestedCallError):
        sched.state.lock.read(sched.observe_batch, ids, outcomes(), now=1.0)


@pytest.mark.slow
def test_an_alarm_in_the_middle_lets_the_rest_count(model):
    sched = scheduler(model, remember=1 << 17)
    calls = {
        "observe": lambda ids: sched.observe_batch(ids, outcomes(len(ids)), now=1.0),
        "learn": lambda ids: sched.learn_batch(
            {"client_id": [1] * len(ids)}, [1] * len(ids), outcomes(len(ids)), now=1.0
        ),
    }

    def ring(*_):
        raise AlarmError

    old = signal.signal(signal.SIGALRM, ring)
    try:
        for name, call in calls.items():
            counter = {"observe": "outcomes", "learn": "learned"}[name]
            call(made(sched))  # nothing is compiled after this
            seen, partial = sched.counters()[counter], 0
            for _ in range(20):
                ids = made(sched, 4_096)
                signal.setitimer(signal.ITIMER_REAL, np.random.default_rng(seen).uniform(1e-3, 2e-2))
                try:
                    call(ids)
                except AlarmError:
                    partial += 1
                signal.setitimer(signal.ITIMER_REAL, 0)
                told = sched.counters()[counter] - seen
                assert told in (0, len(ids))
                assert claimed(sched) == 0
                seen += told
            assert partial > 0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


@pytest.mark.slow
def test_no_call_of_100_000_outcomes_stops_decisions_for_longer_than_5_ms(model):
    """Of three times the best, as for nodes."""
    n, longest = 100_000, {"observe": math.inf, "learn": math.inf}
    sched = scheduler(model, remember=1 << 17)
    lock = timed(sched)
    sched.state.long_calls._lock = lock  # noqa: SLF001 - a lock that knows how long it is held
    some, clients, nodes = outcomes(n), {"client_id": (np.arange(n) % 997).tolist()}, IDS * (n // len(IDS))
    calls = {
        "observe": lambda: sched.observe_batch(ids, some, now=1.0),
        "learn": lambda: sched.learn_batch(clients, nodes, some, now=1.0),
    }
    gc.disable()
    try:
        for _ in range(3):
            ids = made(sched, n)
            for name, call in calls.items():
                holds = lock.holds_of(call)
                assert len(holds) >= n // PART
                longest[name] = min(longest[name], np.percentile(holds, 99))
    finally:
        gc.enable()
    assert {name: seconds for name, seconds in longest.items() if seconds > LONGEST} == {}

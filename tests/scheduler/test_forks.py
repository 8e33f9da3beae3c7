"""Children of a process whose threads are inside calls: usable at once or refused by name, with ids of their own."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from numba import config

from scheduler import ForkError, Scheduler
from scheduler.errors import RegistryBusyError
from scheduler.model.registry_lock import exclusive
from scheduler.runtime import forks
from scheduler.runtime.file_lock import locked
from scheduler.runtime.lock_kernels import STATUS, TORN
from scheduler.runtime.read_write_lock import ReadWriteLock
from scheduler.snapshot import snapshot_control
from tests import models
from tests.scheduler.runtime.test_locks import free
from tests.scheduler.test_interrupts import NEW, new
from tests.schedulers import IDS, OK
from tests.thorough import THOROUGH

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]

PATIENCE = 60
"""Seconds after which a child counts as hung."""


def in_child(call):
    """Fork, make a call in the child, and return what it came to as JSON can say it."""
    theirs, ours = os.pipe()
    pid = os.fork()
    if pid == 0:
        answer = {"never": "came back"}
        try:
            answer = call()
        except BaseException as error:  # noqa: BLE001 - told to the parent
            answer = {"error": type(error).__name__, "message": str(error)}
        finally:
            os.write(ours, json.dumps(answer).encode())
            os._exit(0)
    os.close(ours)
    ready, _, _ = select.select([theirs], [], [], PATIENCE)
    answer = os.read(theirs, 65_536) if ready else b'"hung"'
    os.close(theirs)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return json.loads(answer)


def use(sched):
    """Make every kind of call; return the ids of two decisions."""
    first = sched.decide({"client_id": 17, "kind": "film"}, now=2.0)
    sched.observe(first.id, OK, now=2.0, node=first.nodes[0])
    sched.fleet.upsert(["in the child"], NEW)
    sched.fleet.remove(["in the child"])
    second = sched.decide_batch({"client_id": ["tv"]}, now=2.0)
    return [first.id, int(second.id[0])]


@pytest.mark.slow
def test_a_child_uses_the_scheduler_and_takes_ids_that_its_parent_never_will(model):
    sched = new(model)
    ids = [use(sched)]
    ids += [in_child(lambda: use(sched)) for _ in range(8)]
    ids.append(use(sched))
    assert len({id_ for pair in ids for id_ in pair}) == 2 * len(ids)


@pytest.mark.slow
def test_draws_of_a_child_are_not_its_parents(model):
    sched = new(model)
    use(sched)

    def explored():
        return [list(map(str, sched.decide({"client_id": 17}, now=2.0).nodes)) for _ in range(60)]

    assert in_child(explored) != in_child(explored) != explored()


@pytest.mark.slow
def test_ids_chosen_by_hand_are_not_shared_either(model):
    sched = Scheduler(model, first_id=2**62)
    sched.fleet.upsert(IDS, {})
    ids = [in_child(lambda: [sched.decide({"client_id": 17}, now=1.0).id])[0] for _ in range(8)]
    ids.append(sched.decide({"client_id": 17}, now=1.0).id)
    assert len(set(ids)) == 9
    assert max(ids) < 2**63


def test_outcomes_of_what_was_decided_before_the_fork_are_taken_on_both_sides(model):
    sched = new(model)
    decision = sched.decide({"client_id": 17}, now=1.0)

    def report():
        sched.observe(decision.id, OK, now=2.0, node=decision.nodes[0])
        return sched.counters()["outcomes"]

    assert in_child(report) == 1
    assert report() == 1


def fork_while_threads_work(model, n_threads, n_forks):
    sched, done, failed = new(model, remember=4_096), threading.Event(), []

    def work(t):
        try:
            for k in range(10**9):
                if done.is_set():
                    return
                decision = sched.decide({"client_id": 17, "kind": "film"}, now=1.0 + k / 1e3)
                for node in decision.nodes[:1]:
                    sched.observe(decision.id, OK, now=1.0 + k / 1e3, node=node)
                if k % 8 == t:
                    sched.fleet.upsert([f"of thread {t}", 1], {"load": [0.5, 0.5]})
                    sched.fleet.remove([f"of thread {t}"])
        except BaseException as error:  # noqa: BLE001 - looked at below
            failed.append(error)

    use(sched)
    threads = [threading.Thread(target=work, args=(t,)) for t in range(n_threads)]
    for thread in threads:
        thread.start()
    try:
        found = [in_child(lambda: use(sched)) for _ in range(n_forks)]
    finally:
        done.set()
        for thread in threads:
            thread.join(PATIENCE)
    assert failed == []
    assert free(sched.state.lock.words)
    return found


@pytest.mark.slow
def test_no_child_hangs_while_threads_work(model):
    found = fork_while_threads_work(model, 4, 20)
    assert all(isinstance(ids, list) for ids in found), found
    assert len({id_ for ids in found for id_ in ids}) == 2 * len(found)


@pytest.mark.slow
def test_none_of_many_children_hangs_while_eight_threads_work(model):
    found = fork_while_threads_work(model, 8, 1_000 if THOROUGH else 40)
    assert all(isinstance(ids, list) for ids in found), [each for each in found if not isinstance(each, list)]


@pytest.mark.slow
def test_a_child_forked_in_the_middle_of_a_long_change_is_refused_by_name(model, monkeypatch):
    monkeypatch.setattr(forks, "LONGEST_WAIT", 0.1)
    sched, inside, leave = new(model), threading.Event(), threading.Event()
    other = threading.Thread(target=sched.state.lock.write, args=(lambda: (inside.set(), leave.wait(PATIENCE)),))
    other.start()
    inside.wait(PATIENCE)
    begun = time.monotonic()
    try:
        answers = [in_child(lambda: use(sched)), in_child(lambda: sched.fleet.heartbeat([1], alive_until=9.0))]
    finally:
        leave.set()
        other.join()
    assert [answer["error"] for answer in answers] == ["ForkError"] * 2
    assert "forked in the middle of a change" in answers[0]["message"]
    assert time.monotonic() - begun < PATIENCE
    use(sched)  # the parent goes on
    assert free(sched.state.lock.words)
    assert in_child(lambda: use(sched))  # and has children again


def test_a_new_scheduler_can_be_made_in_a_child_that_was_refused_the_old_one(model, monkeypatch):
    monkeypatch.setattr(forks, "LONGEST_WAIT", 0.1)
    sched, inside, leave = new(model), threading.Event(), threading.Event()
    other = threading.Thread(target=sched.state.lock.write, args=(lambda: (inside.set(), leave.wait(PATIENCE)),))
    other.start()
    inside.wait(PATIENCE)

    def both():
        try:
            use(sched)
        except ForkError:
            return use(new(model))

    try:
        assert isinstance(in_child(both), list)
    finally:
        leave.set()
        other.join()


@pytest.mark.slow
def test_a_fork_from_within_a_call_leaves_both_sides_usable():
    lock, answers = ReadWriteLock(), []

    def within():
        answers.append(in_child(lambda: [*lock.hold().held.tolist(), lock.read(lambda: 1)]))

    lock.read(within)
    assert answers == [[1, 0, 1]]
    assert free(lock.words)

    pid = lock.write(os.fork)
    if pid == 0:
        sound = lock.words[STATUS] != TORN and free(lock.words) and lock.read(lambda: True)
        os._exit(0 if sound else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert lock.read(lambda: True)


def test_a_child_forked_while_its_parent_saves_closes_at_once_and_saves_nothing(model, tmp_path, monkeypatch):
    sched, inside, leave, saved = new(model), threading.Event(), threading.Event(), Path(tmp_path, "saved")

    def slow(*_, **__):
        inside.set()
        leave.wait(PATIENCE)
        return saved

    monkeypatch.setattr(snapshot_control, "save", slow)
    sched.autosave(tmp_path, every=0.01)
    inside.wait(PATIENCE)
    try:
        assert in_child(lambda: [sched.close(), sched.status().saving.saves]) == [None, 0]
    finally:
        leave.set()
        sched.close()
    assert sched.status().saving.saves > 0


def test_what_a_thread_held_of_a_forked_lock_is_free_in_the_child():
    lock, inside, leave = forks.ForkedLock(), threading.Event(), threading.Event()

    def hold():
        with lock:
            inside.set()
            leave.wait(PATIENCE)

    def take():
        with lock:
            return "taken"

    other = threading.Thread(target=hold)
    other.start()
    inside.wait(PATIENCE)
    try:
        assert in_child(take) == "taken"
    finally:
        leave.set()
        other.join()
    assert take() == "taken"


@pytest.mark.slow
def test_a_child_forked_while_a_thread_is_at_the_registry_keeps_nobody_out(tmp_path):
    """The child has a copy of the lock's file, and lives on when the parent is done."""
    database, inside, leave = tmp_path / "mlflow.db", threading.Event(), threading.Event()

    def work():
        with exclusive(database):
            inside.set()
            leave.wait(PATIENCE)

    def take():
        try:
            with exclusive(database, wait=0.2):
                return "taken"
        except RegistryBusyError:
            return "busy"

    other = threading.Thread(target=work)
    other.start()
    inside.wait(PATIENCE)
    theirs, ours = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(theirs, 1)  # lives until the parent says so
        os._exit(0)
    try:
        assert in_child(take) == "busy"  # the parent is still at it
        leave.set()
        other.join()
        assert take() == "taken"
        assert in_child(take) == "taken"
    finally:
        os.write(ours, b"x")
        os.waitpid(pid, 0)


def test_a_file_lock_ends_with_its_block_whatever_child_has_a_copy(tmp_path):
    theirs, ours = os.pipe()
    with locked(tmp_path / "lock"):
        pid = os.fork()
        if pid == 0:
            os.read(theirs, 1)
            os._exit(0)
        with pytest.raises(BlockingIOError), locked(tmp_path / "lock", wait=False):
            pass
    try:
        with locked(tmp_path / "lock", wait=False):
            pass
    finally:
        os.write(ours, b"x")
        os.waitpid(pid, 0)


COLD = """
import json, os, select, sys, threading, time
from numba.core import event
from scheduler import Model, Scheduler
from tests.scheduler.test_interrupts import new
from tests.scheduler.test_forks import in_child, use
sched = new(Model.load(sys.argv[1]))
threads = [threading.Thread(target=use, args=(sched,)) for _ in range(2)]
for thread in threads:
    thread.start()
found = [in_child(lambda: use(sched)) for _ in range(6)]
for thread in threads:
    thread.join()
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.skipif(config.DISABLE_JIT, reason="without the JIT nothing is loaded")
def test_a_child_forked_while_a_thread_loads_kernels_loads_them_itself(tmp_path):
    """Numba's lock would be held for ever in a child by a thread that is not there."""
    command = [sys.executable, "-c", COLD, models.write_small(tmp_path / "small")]
    root = Path(__file__).resolve().parents[2]
    run = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True, timeout=1_200)
    found = json.loads(run.stdout)
    assert all(isinstance(each, list) or each["error"] == "ForkError" for each in found)

"""The locks under contention: nothing is lost, nothing is torn, and a thread never waits for itself."""

import re
import threading

import numpy as np
import pytest
from numba import config, njit

from scheduler import LockTimeoutError, NestedCallError
from scheduler.runtime import atomics, lock_kernels
from scheduler.runtime.atomics import add, swap
from scheduler.runtime.lock_kernels import (
    DUE,
    MAX_DEPTH,
    MUTEX,
    N_WORDS,
    PATIENCE,
    READERS,
    READING,
    SOUND,
    STALE,
    STATUS,
    UNFINISHED,
    WAITING,
    WRITER,
    WRITING,
    WRITTEN,
    acquire,
    enter_read,
    enter_write,
    leave_read,
    leave_write,
    release,
    try_read,
    try_write,
)
from scheduler.runtime.read_write_lock import ReadWriteLock


def free(words):
    """Nobody is in and nobody waits."""
    return not words[[MUTEX, READERS, WRITER, WAITING, DUE]].any()


N = 300 if config.DISABLE_JIT else 20_000
THREADS = 4


def in_threads(*works):
    """Run each in a thread of its own and raise what one of them raised."""
    errors = []

    def guarded(work):
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)
    if errors:
        raise errors[0]


@njit(nogil=True, _nrt=False)
def count_atomically(array, n):
    for _ in range(n):
        add(array, 0, 1)


@njit(nogil=True, _nrt=False)
def count_under_mutex(words, array, n):
    for _ in range(n):
        acquire(words)
        array[0] += 1
        array[1] = array[0] - array[1]  # depends on both, so that one lost step shows for ever
        release(words)


@njit(nogil=True, _nrt=False)
def swap_up(array, n):
    done = 0
    while done < n:
        old = add(array, 0, 0)
        done += swap(array, 0, old, old + 1)


@njit(nogil=True, _nrt=False)
def write_rows(words, held, row, first, n):
    for value in range(first, first + n):
        if value % 2 or not try_write(words, held):
            while not enter_write(words, held, 0):
                pass
        for c in range(row.size):
            row[c] = value
        leave_write(words, held)


@njit(nogil=True, _nrt=False)
def read_rows(words, held, row, n):
    torn = 0
    for k in range(n):
        if k % 2 or not try_read(words, held):
            last = atomics.load(words, WRITTEN) + PATIENCE
            while not enter_read(words, held, last):
                pass
        first = row[0]
        for c in range(row.size):
            torn += row[c] != first
        leave_read(words, held, 0)
    return torn


@pytest.mark.parametrize("count", [count_atomically, swap_up])
def test_no_addition_is_lost(count):
    array = np.zeros(1, np.int64)
    in_threads(*[lambda: count(array, N)] * THREADS)
    assert array[0] == THREADS * N


def test_the_mutex_lets_in_one_at_a_time():
    words, array = np.zeros(N_WORDS, np.int64), np.zeros(2, np.int64)
    in_threads(*[lambda: count_under_mutex(words, array, N)] * THREADS)
    assert array[0] == THREADS * N
    assert array[1] == THREADS * N // 2  # as one thread leaves it: n - (n - 1) + (n - 2) - ...
    assert free(words)


@pytest.mark.slow
def test_readers_never_see_half_of_what_a_writer_writes():
    words, row = np.zeros(N_WORDS, np.int64), np.zeros(257, np.int64)
    torn = []

    def write(first):
        write_rows(words, np.zeros(2, np.int64), row, first, N // 10)

    def read():
        torn.append(read_rows(words, np.zeros(2, np.int64), row, N // 10))

    in_threads(read, read, lambda: write(1), lambda: write(10**6))
    assert torn == [0, 0]
    assert free(words)


def test_who_may_go_in_at_once_does_and_nobody_else():
    words, mine, other = np.zeros(N_WORDS, np.int64), np.zeros(2, np.int64), np.zeros(2, np.int64)
    assert try_read(words, mine)
    assert try_read(words, mine)  # again, within
    assert try_read(words, other)
    assert not try_write(words, np.zeros(2, np.int64))
    for held, depth in ((mine, 1), (mine, 0), (other, 0)):
        leave_read(words, held, depth)
    assert free(words)
    assert try_write(words, mine)
    assert not try_write(words, mine)  # a call within a call
    assert not try_read(words, mine)
    assert not try_read(words, other)
    assert not try_write(words, other)
    assert other.tolist() == [0, 0]
    leave_write(words, mine)
    leave_write(words, mine)  # as often as one likes
    assert free(words)
    assert words[WRITTEN] == 1


def test_leaving_restores_the_depth_and_does_nothing_twice():
    words, held = np.zeros(N_WORDS, np.int64), np.zeros(2, np.int64)
    for depth in range(MAX_DEPTH):
        assert try_read(words, held) == depth + 1
    assert not try_read(words, held)
    for depth in (2, 2, 0, 0):
        leave_read(words, held, depth)
        assert held[READING] == depth
        assert words[READERS] == (depth > 0)
    assert free(words)


@pytest.mark.parametrize("status", [UNFINISHED, STALE])
def test_nobody_goes_in_unseen_where_something_is_left_to_do(status):
    words, held = np.zeros(N_WORDS, np.int64), np.zeros(2, np.int64)
    words[STATUS] = status
    assert not try_read(words, held)
    assert not try_write(words, held)
    assert free(words)


def test_who_waits_comes_back_without_the_lock_and_leaves_no_trace():
    words, mine, other = np.zeros(N_WORDS, np.int64), np.zeros(2, np.int64), np.zeros(2, np.int64)
    assert try_read(words, mine)
    assert not enter_write(words, other, 0)
    assert try_read(words, np.zeros(2, np.int64))  # nobody seems to wait
    leave_read(words, mine, 0)
    words[READERS] -= 1
    assert enter_write(words, mine, 0)
    assert not enter_read(words, other, PATIENCE)
    assert not enter_write(words, other, 0)
    leave_write(words, mine)
    assert free(words)
    assert other.tolist() == [0, 0]


def test_readers_are_in_together_and_a_writer_alone():
    lock, together, seen = ReadWriteLock(), threading.Barrier(3, timeout=60), []
    in_threads(*[lambda: lock.read(together.wait)] * 3)

    def look():
        seen.append((lock.words[WRITER], lock.words[READERS]))

    in_threads(*[lambda: lock.write(look)] * 2)
    assert seen == [(1, 0)] * 2
    assert free(lock.words)


def test_a_waiting_writer_goes_before_later_readers():
    lock, order = ReadWriteLock(), []
    inside, leave = threading.Event(), threading.Event()

    def first():
        lock.read(lambda: (inside.set(), leave.wait(60)))

    def write():
        inside.wait(60)
        lock.write(order.append, "writer")

    def late():
        inside.wait(60)
        while not lock.words[WAITING]:
            pass
        leave.set()
        lock.read(order.append, "reader")

    in_threads(first, write, late)
    assert order == ["writer", "reader"]


def test_a_thread_that_reads_may_read_again_but_not_for_ever():
    lock = ReadWriteLock()

    def nest(depth):
        assert lock.words[READERS] == 1
        return depth if depth == MAX_DEPTH else lock.read(nest, depth + 1)

    assert lock.read(nest, 1) == MAX_DEPTH
    with pytest.raises(NestedCallError, match=f"found one inside a call that makes a read, {MAX_DEPTH} deep"):
        lock.read(lock.read, lock.read, lock.read, lock.read, lambda: None)
    assert free(lock.words)


@pytest.mark.parametrize(
    ("outer", "inner", "what"), [("read", "write", "read"), ("write", "write", "change"), ("write", "read", "change")]
)
def test_other_calls_within_calls_are_refused(outer, inner, what):
    lock = ReadWriteLock()
    held = []

    def within():
        with pytest.raises(NestedCallError, match=f"inside a call that makes a {what}"):
            getattr(lock, inner)(lambda: None)
        held.append(lock.hold().held.tolist())

    getattr(lock, outer)(within)
    assert held == [[1, 0] if outer == "read" else [0, 1]]  # what the outer call holds it goes on to hold
    lock.write(lambda: None)
    assert free(lock.words)


def test_errors_leave_nothing_locked():
    lock = ReadWriteLock()
    for call in (lock.read, lock.write):
        with pytest.raises(ZeroDivisionError):
            call(lambda: 1 / 0)
    assert free(lock.words)


ENTRIES = ("enter_read", "enter_write", "try_read", "try_write", "leave_read", "leave_write")


@pytest.mark.parametrize("kernel", ENTRIES)
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupt_around_a_kernel_of_the_lock_leaves_nothing_locked(monkeypatch, kernel, when):
    lock, run, left = ReadWriteLock(), getattr(lock_kernels, kernel), [1]

    def interrupted(words, *rest):
        if when == "after" or not left:
            found = run(words, *rest)
            if not left:
                return found
        left.clear()
        raise KeyboardInterrupt

    if kernel.startswith("enter"):
        monkeypatch.setattr(lock, f"_try_{kernel[6:]}", lambda *_: 0)
        monkeypatch.setattr(lock_kernels, kernel, interrupted)
    else:
        monkeypatch.setattr(lock, f"_{kernel}", interrupted)
    with pytest.raises(KeyboardInterrupt):
        getattr(lock, kernel.partition("_")[2])(lambda: None)
    monkeypatch.undo()
    assert free(lock.words)
    assert lock.hold().held.tolist() == [0, 0]


@pytest.mark.parametrize("call", ["read", "write"])
def test_who_waits_too_long_is_told_who_is_in(call):
    lock, inside, leave = ReadWriteLock(longest_wait=0.1), threading.Event(), threading.Event()

    def stay():
        inside.set()
        leave.wait(60)

    other = threading.Thread(target=lock.write, args=(stay,), name="the slow one")
    other.start()
    inside.wait(60)
    found = re.escape(f"found thread 'the slow one' ({other.ident}), which changes")
    try:
        with pytest.raises(LockTimeoutError, match=f"^lock: expected it within 0.1 s, {found}$"):
            getattr(lock, call)(lambda: None)
    finally:
        leave.set()
        other.join()
    getattr(lock, call)(lambda: None)
    assert free(lock.words)


def test_who_reads_for_too_long_is_named_to_a_writer():
    lock, inside, leave = ReadWriteLock(longest_wait=0.1), threading.Event(), threading.Event()
    other = threading.Thread(target=lock.read, args=(lambda: (inside.set(), leave.wait(60)),), name="a reader")
    other.start()
    inside.wait(60)
    try:
        with pytest.raises(LockTimeoutError, match=r"found thread 'a reader' .*, which reads"):
            lock.write(lambda: None)
    finally:
        leave.set()
        other.join()
    assert free(lock.words)


def begun(lock, steps, n):
    """Begin a change of three steps, which an interrupt ends after some of them."""

    def apply():
        steps.append(0)
        if len(steps) < n:
            raise KeyboardInterrupt
        steps[:] = [1, 2, 3]

    with pytest.raises(KeyboardInterrupt):
        lock.write(lock.commit, apply)


def test_a_change_that_was_interrupted_is_finished_at_once():
    lock, steps = ReadWriteLock(), []
    begun(lock, steps, 2)
    assert steps == [1, 2, 3]
    assert lock.words[STATUS] == SOUND
    assert free(lock.words)


@pytest.mark.parametrize("call", ["read", "write"])
def test_a_change_that_was_interrupted_twice_is_finished_before_the_next_call_of_any_thread(call):
    lock, steps, seen = ReadWriteLock(), [], []
    begun(lock, steps, 3)
    assert steps == [0, 0]
    assert lock.words[STATUS] == UNFINISHED
    assert free(lock.words)
    in_threads(lambda: getattr(lock, call)(lambda: seen.extend(steps)))
    assert seen == [1, 2, 3]
    assert lock.words[STATUS] == SOUND
    assert free(lock.words)


def test_a_change_for_which_there_is_no_memory_is_undone():
    lock, done = ReadWriteLock(), []

    def apply():
        done.append(1)
        raise MemoryError

    with pytest.raises(MemoryError):
        lock.write(lock.commit, apply, done.clear)
    assert done == []
    assert lock.words[STATUS] == SOUND
    assert free(lock.words)


def test_a_stale_state_is_repaired_before_the_next_call():
    lock, repaired = ReadWriteLock(), []
    lock.repair = lambda: repaired.append(lock.hold().held[WRITING])
    lock.words[STATUS] = STALE
    assert lock.read(lambda: list(repaired)) == [1]
    lock.write(lambda: None)
    assert repaired == [1]
    assert free(lock.words)


def test_a_reader_lets_only_so_many_writers_go_first():
    """Two writers take turns so that one always waits; readers come in all the same."""
    words, stop, reads = np.zeros(N_WORDS, np.int64), threading.Event(), []

    def write():
        held = np.zeros(2, np.int64)
        while not stop.is_set():
            write_rows(words, held, np.zeros(8, np.int64), 1, 100)

    def read():
        try:
            reads.append(read_rows(words, np.zeros(2, np.int64), np.zeros(8, np.int64), 50))
        finally:
            stop.set()

    in_threads(write, write, write, read)
    assert reads == [0]
    assert free(words)


def test_words_share_no_cache_line():
    places = sorted([MUTEX, READERS, WRITER, WAITING, WRITTEN, DUE, STATUS])
    assert places[0] >= 16
    assert all(b - a >= 16 for a, b in zip(places, [*places[1:], N_WORDS], strict=True))

"""The locks under contention: nothing is lost, nothing is torn, and a thread never waits for itself."""

import threading

import numpy as np
import pytest
from numba import config, njit

from scheduler.runtime.atomics import add, swap
from scheduler.runtime.lock_kernels import (
    DUE,
    MUTEX,
    N_WORDS,
    READERS,
    WAITING,
    WRITER,
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
            enter_write(words, held)
        for c in range(row.size):
            row[c] = value
        leave_write(words, held, 0)


@njit(nogil=True, _nrt=False)
def read_rows(words, held, row, n):
    torn = 0
    for k in range(n):
        if k % 2 or not try_read(words, held):
            enter_read(words, held)
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
    assert try_write(words, mine)
    assert try_read(words, mine)  # a writer may read
    assert not try_read(words, other)
    assert not try_write(words, other)
    assert other.tolist() == [0, 0]
    leave_read(words, mine, 0)
    leave_write(words, mine, 1)
    assert not try_read(words, other)
    leave_write(words, mine, 0)
    assert free(words)
    assert words[WRITTEN] == 1


def test_readers_are_in_together_and_a_writer_alone():
    gate, together, seen = ReadWriteLock(), threading.Barrier(3, timeout=60), []

    def read():
        gate.reading(together.wait)

    in_threads(read, read, read)

    def write():
        with gate:
            seen.append((gate.words[WRITER], gate.words[READERS]))

    in_threads(write, write)
    assert seen == [(1, 0)] * 2
    assert free(gate.words)


def test_a_waiting_writer_goes_before_later_readers():
    gate, order = ReadWriteLock(), []
    inside, leave = threading.Event(), threading.Event()

    def first():
        gate.reading(lambda: (inside.set(), leave.wait(60)))

    def write():
        inside.wait(60)
        with gate:
            order.append("writer")

    def late():
        inside.wait(60)
        while not gate.words[WAITING]:
            pass
        leave.set()
        gate.reading(order.append, "reader")

    in_threads(first, write, late)
    assert order == ["writer", "reader"]


def test_a_thread_that_is_in_goes_on():
    gate = ReadWriteLock()
    with gate, gate:
        assert gate.reading(gate.reading, lambda: gate.words[READERS]) == 0
        assert gate.words[WRITER] == 1
    assert gate.reading(gate.reading, lambda: gate.words[READERS]) == 1
    assert free(gate.words)


def test_a_reader_may_not_write():
    gate = ReadWriteLock()

    def write():
        with gate:
            pass

    with pytest.raises(RuntimeError, match="from within a call that reads"):
        gate.reading(write)
    write()
    assert free(gate.words)


def test_errors_leave_nothing_locked():
    gate = ReadWriteLock()
    with pytest.raises(ZeroDivisionError):
        gate.reading(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError), gate:
        gate.reading(lambda: 1 / 0)
    assert free(gate.words)


ENTRIES = {f.__name__: f for f in (enter_read, enter_write, try_read, try_write)}


@pytest.mark.parametrize("kernel", ENTRIES)
@pytest.mark.parametrize("got_in", [True, False])
def test_an_interrupt_on_the_way_in_leaves_nothing_locked(monkeypatch, kernel, got_in):
    gate, enter = ReadWriteLock(), ENTRIES[kernel]

    def interrupted(words, held):
        if got_in:
            enter(words, held)
        raise KeyboardInterrupt

    for waiting in ("try_read", "try_write"):
        monkeypatch.setattr(f"scheduler.runtime.read_write_lock.lock_kernels.{waiting}", lambda words, held: False)  # noqa: ARG005
    monkeypatch.setattr(f"scheduler.runtime.read_write_lock.lock_kernels.{kernel}", interrupted)
    with pytest.raises(KeyboardInterrupt):
        gate.reading(lambda: None) if kernel.endswith("read") else gate.__enter__()
    monkeypatch.undo()
    assert free(gate.words)


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
    places = sorted([MUTEX, READERS, WRITER, WAITING, WRITTEN, DUE])
    assert places[0] >= 16
    assert all(b - a >= 16 for a, b in zip(places, [*places[1:], N_WORDS], strict=True))

"""A readers-writer lock and a mutex in words of memory, for calls that hold no GIL.

The words are an array of `N_WORDS` int64; each word that is used stands in cache lines of its own. All operations on
them are atomic and sequentially consistent: a reader announces itself before it looks for a writer and a writer
before it looks for readers, so of two that come at once at least one sees the other.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from scheduler.runtime.atomics import add, give_way, load, sleep, store, swap
from scheduler.runtime.jit import holds_gil, inlined, kernel

MUTEX, READERS, WRITER, WAITING, WRITTEN, DUE = 16, 32, 48, 64, 80, 96
"""Words of a lock: whether the mutex is taken; how many readers are in; whether a writer is in or waits for them to
leave; how many writers are in or wait; how many left; how many readers have waited long enough. They stand 128 bytes
from each other and from the ends, because processors fetch cache lines in pairs."""

N_WORDS: Final = 112
"""Words of a lock in all."""

READING, WRITING = range(2)
"""What a thread counts of itself: how many of its calls read now, and write."""

SPINS = 100
"""Looks at a word before the processor is given away: a microsecond or so, as long as a short critical section."""

YIELDS = 50
"""Times that the processor is given away before sleeping: who yields still takes time from who holds the lock."""

NAP = 20
"""Microseconds to sleep, to which Linux adds some 50."""

PATIENCE = 32
"""Writers that a reader lets go first. Where four threads each decide, observe and update in turn, all have to write
before they read: a reader that slips in between keeps the others waiting for a whole batch."""


@inlined
def wait(turn: int) -> int:
    """Let some time pass before another look at a word, the more the longer it has been; return the next turn."""
    if turn >= SPINS + YIELDS:
        sleep(np.uint32(NAP))
    elif turn >= SPINS:
        give_way()
    return turn + 1


@kernel
def acquire(words: np.ndarray) -> None:
    """Take the mutex; not re-entrant, and nothing may fail while it is held."""
    turn = 0
    while load(words, MUTEX) != 0 or swap(words, MUTEX, 0, 1) == 0:
        turn = wait(turn)


@kernel
def release(words: np.ndarray) -> None:
    """Give the mutex back."""
    store(words, MUTEX, 0)


@inlined
def _join(words: np.ndarray) -> bool:
    """Count as a reader, unless a writer is in."""
    add(words, READERS, 1)
    if load(words, WRITER) == 0:
        return True
    add(words, READERS, -1)
    return False


@kernel
def enter_read(words: np.ndarray, held: np.ndarray) -> None:
    """Go in beside other readers, after writers that hold the lock or wait for it, but for `PATIENCE` at most.

    Parameters
    ----------
    held
        (2,) int64, the calling thread's own: how often it reads and writes now. A thread that is in already goes on.
    """
    if held[READING] == 0 and held[WRITING] == 0:
        turn, last = 0, load(words, WRITTEN) + PATIENCE
        while load(words, WAITING) != 0 and load(words, WRITTEN) < last:
            turn = wait(turn)
        add(words, DUE, 1)
        while not _join(words):
            while load(words, WRITER) != 0:
                turn = wait(turn)
        add(words, DUE, -1)
    held[READING] += 1


@holds_gil
def try_read(words: np.ndarray, held: np.ndarray) -> bool:
    """Go in beside other readers if no writer is in or waits, without waiting; `held` as for `enter_read`."""
    is_in = held[READING] != 0 or held[WRITING] != 0
    if not is_in and (load(words, WAITING) != 0 or not _join(words)):
        return False
    held[READING] += 1
    return True


@holds_gil
def leave_read(words: np.ndarray, held: np.ndarray, depth: int) -> None:
    """Undo an `enter_read`, if it came to one: afterwards the thread reads ``depth`` times, as before it."""
    if held[READING] > depth:
        held[READING] -= 1
        if held[READING] == 0 and held[WRITING] == 0:
            add(words, READERS, -1)


@kernel
def enter_write(words: np.ndarray, held: np.ndarray) -> None:
    """Go in alone; ``held`` as for `enter_read`. A thread that reads must not: it would wait for itself."""
    if held[WRITING] == 0:
        turn = 0
        add(words, WAITING, 1)
        while load(words, DUE) != 0 or swap(words, WRITER, 0, 1) == 0:
            turn = wait(turn)
        turn = 0
        while load(words, READERS) != 0:
            turn = wait(turn)
    held[WRITING] += 1


@holds_gil
def try_write(words: np.ndarray, held: np.ndarray) -> bool:
    """Go in alone if nobody is in or due, without waiting; `held` as for `enter_write`."""
    if held[WRITING] == 0:
        add(words, WAITING, 1)
        if load(words, DUE) != 0 or swap(words, WRITER, 0, 1) == 0:
            add(words, WAITING, -1)
            return False
        if load(words, READERS) != 0:
            store(words, WRITER, 0)
            add(words, WAITING, -1)
            return False
    held[WRITING] += 1
    return True


@holds_gil
def leave_write(words: np.ndarray, held: np.ndarray, depth: int) -> None:
    """Undo an `enter_write`, if it came to one: afterwards the thread writes ``depth`` times, as before it."""
    if held[WRITING] > depth:
        held[WRITING] -= 1
        if held[WRITING] == 0:
            add(words, WRITTEN, 1)
            store(words, WRITER, 0)
            add(words, WAITING, -1)

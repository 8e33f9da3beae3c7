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

MUTEX, READERS, WRITER, WAITING, WRITTEN, DUE, STATUS = 16, 32, 48, 64, 80, 96, 112
"""Words of a lock: whether the mutex is taken; how many readers are in; whether a writer is in or waits for them to
leave; how many writers are in or wait; how many left; how many readers have waited long enough; what has to be done
before the next call. They stand 128 bytes from each other and from the ends, because processors fetch cache lines in
pairs."""

N_WORDS: Final = 128
"""Words of a lock in all."""

SOUND, UNFINISHED, STALE, TORN = range(4)
"""Values of ``STATUS``: nothing has to be done; a change was begun and has to be finished; a change is whole, and what
follows from it has to be worked out anew; a process was forked from one in which a thread was changing what the lock
guards, so that the child's copy is half changed for good."""

READING, WRITING = range(2)
"""What a thread counts of itself: how many of its calls read now, and write. Kernels count in the same step in which
they take or leave the lock, so that an interrupt between two Python statements cannot part them."""

MAX_DEPTH = 4
"""Calls that read inside each other in a thread; each level needs scratch memory of its own."""

SPINS = 100
"""Looks at a word before the processor is given away: a microsecond or so, as long as a short critical section."""

YIELDS = 50
"""Times that the processor is given away before sleeping: who yields still takes time from who holds the lock."""

NAP = 20
"""Microseconds to sleep, to which Linux adds some 50."""

NAPS = 500
"""Naps before a kernel that waits returns without the lock: some 35 ms. Python then looks for interrupts."""

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
def enter_read(words: np.ndarray, held: np.ndarray, last: int) -> int:
    """Go in beside other readers, after writers that hold the lock or wait for it; wait for `NAPS` at most.

    A thread that reads already goes on at once; one that writes would wait for itself.

    Parameters
    ----------
    held
        (2,) int64, the calling thread's own: how often it reads and writes now.
    last
        Count of ``WRITTEN`` from which on the thread no longer lets writers go first.

    Returns
    -------
    How often the thread reads now; 0 where it waited and did not get in.
    """
    if held[READING] == 0:
        turn = 0
        while load(words, WAITING) != 0 and load(words, WRITTEN) < last:
            if turn >= SPINS + YIELDS + NAPS:
                return 0
            turn = wait(turn)
        add(words, DUE, 1)
        while not _join(words):
            while load(words, WRITER) != 0:
                if turn >= SPINS + YIELDS + NAPS:
                    add(words, DUE, -1)
                    return 0
                turn = wait(turn)
        add(words, DUE, -1)
    held[READING] += 1
    return held[READING]


@holds_gil
def try_read(words: np.ndarray, held: np.ndarray) -> int:
    """Go in beside other readers if no writer is in or waits and nothing else has to be done, without waiting.

    ``held`` and what is returned as for `enter_read`.
    """
    if held[READING] >= MAX_DEPTH:
        return 0
    if held[READING] == 0:
        is_clear = held[WRITING] == 0 and load(words, WAITING) == 0 and load(words, STATUS) == SOUND
        if not is_clear or not _join(words):
            return 0
    held[READING] += 1
    return held[READING]


@holds_gil
def leave_read(words: np.ndarray, held: np.ndarray, depth: int) -> None:
    """Make the thread read ``depth`` times, as before it went in; nothing happens where it does not read more often."""
    if held[READING] > depth:
        held[READING] = depth
        if depth == 0:
            add(words, READERS, -1)


@kernel
def enter_write(words: np.ndarray, held: np.ndarray, own: int) -> int:
    """Go in alone; wait for `NAPS` at most.

    Parameters
    ----------
    held
        As for `enter_read`. A thread that writes already would wait for itself.
    own
        How many readers may stay in: 1 where the thread itself reads and neither it nor its child goes on to write.

    Returns
    -------
    1 where the thread is in, 0 where it waited and did not get in.
    """
    turn = 0
    add(words, WAITING, 1)
    while load(words, DUE) != 0 or swap(words, WRITER, 0, 1) == 0:
        if turn >= SPINS + YIELDS + NAPS:
            add(words, WAITING, -1)
            return 0
        turn = wait(turn)
    while load(words, READERS) > own:
        if turn >= SPINS + YIELDS + 2 * NAPS:
            store(words, WRITER, 0)
            add(words, WAITING, -1)
            return 0
        turn = wait(turn)
    held[WRITING] = 1
    return 1


@holds_gil
def try_write(words: np.ndarray, held: np.ndarray) -> int:
    """Go in alone if nobody is in or due and nothing else has to be done, without waiting; as `enter_write`."""
    if held[READING] != 0 or held[WRITING] != 0 or load(words, STATUS) != SOUND:
        return 0
    add(words, WAITING, 1)
    if load(words, DUE) != 0 or swap(words, WRITER, 0, 1) == 0:
        add(words, WAITING, -1)
        return 0
    if load(words, READERS) != 0:
        store(words, WRITER, 0)
        add(words, WAITING, -1)
        return 0
    held[WRITING] = 1
    return 1


@holds_gil
def leave_write(words: np.ndarray, held: np.ndarray) -> None:
    """Make the thread write no longer; nothing happens where it does not write."""
    if held[WRITING] != 0:
        held[WRITING] = 0
        add(words, WRITTEN, 1)
        store(words, WRITER, 0)
        add(words, WAITING, -1)

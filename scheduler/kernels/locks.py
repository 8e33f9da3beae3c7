"""A readers-writer lock and a mutex in words of memory, for calls that hold no GIL.

The words are an array of `N_WORDS` int64; each word that is used stands in cache lines of its own. All operations on
them are atomic and sequentially consistent: a reader announces itself before it looks for a writer and a writer
before it looks for readers, so of two that come at once at least one sees the other.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from scheduler.kernels.jit import brief, inlined, kernel
from scheduler.layout import DUE, MUTEX, READERS, READING, WAITING, WRITER, WRITING, WRITTEN

ORDER = "seq_cst"
SPINS = 100
"""Looks at a word before the processor is given away: a microsecond or so, as long as a short critical section."""

YIELDS = 50
"""Times that the processor is given away before sleeping: who yields still takes time from who holds the lock."""

NAP = 20
"""Microseconds to sleep, to which Linux adds some 50."""

PATIENCE = 32
"""Writers that a reader lets go first. Where four threads each decide, observe and update in turn, all have to write
before they read: a reader that slips in between keeps the others waiting for a whole batch."""


def _word(context: Any, builder: Any, kind: Any, array: Any, i: Any) -> Any:
    """Return the address of word ``i`` of a contiguous int64 array."""
    data = context.make_array(kind)(context, builder, array)
    return cgutils.gep_inbounds(builder, data.data, i)


def _load(typing: Any, array: Any, i: Any) -> Any:  # noqa: ARG001 - numba passes its typing context
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_word(context, builder, signature.args[0], *args), ORDER, 8)

    return types.int64(array, types.intp), code


def _store(typing: Any, array: Any, i: Any, value: Any) -> Any:  # noqa: ARG001
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store_atomic(args[2], _word(context, builder, signature.args[0], *args[:2]), ORDER, 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.int64), code


def _add(typing: Any, array: Any, i: Any, value: Any) -> Any:  # noqa: ARG001
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", _word(context, builder, signature.args[0], *args[:2]), args[2], ORDER)

    return types.int64(array, types.intp, types.int64), code


def _swap(typing: Any, array: Any, i: Any, old: Any, new: Any) -> Any:  # noqa: ARG001
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = _word(context, builder, signature.args[0], *args[:2])
        found = builder.cmpxchg(word, args[2], args[3], ORDER, ORDER)
        return builder.zext(builder.extract_value(found, 1), ir.IntType(8))

    return types.uint8(array, types.intp, types.int64, types.int64), code


_atomic = threading.Lock()
"""Makes the plain twins atomic."""


def _plain_load(array: np.ndarray, i: int) -> int:
    return int(array[i])


def _plain_store(array: np.ndarray, i: int, value: int) -> None:
    array[i] = value


def _plain_add(array: np.ndarray, i: int, value: int) -> int:
    with _atomic:
        old = int(array[i])
        array[i] = old + value
    return old


def _plain_swap(array: np.ndarray, i: int, old: int, new: int) -> int:
    with _atomic:
        same = int(array[i]) == old
        if same:
            array[i] = new
    return int(same)


def _plain_yield() -> int:
    time.sleep(0)
    return 0


def _plain_sleep(microseconds: int) -> int:
    time.sleep(microseconds * 1e-6)
    return 0


if config.DISABLE_JIT:
    load, store, add, swap = _plain_load, _plain_store, _plain_add, _plain_swap
    give_way, sleep = _plain_yield, _plain_sleep
else:
    load, store, add, swap = intrinsic(_load), intrinsic(_store), intrinsic(_add), intrinsic(_swap)
    give_way = types.ExternalFunction("sched_yield", types.int32())
    sleep = types.ExternalFunction("usleep", types.int32(types.uint32))


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


@brief
def try_read(words: np.ndarray, held: np.ndarray) -> bool:
    """Go in beside other readers if no writer is in or waits, without waiting; `held` as for `enter_read`."""
    is_in = held[READING] != 0 or held[WRITING] != 0
    if not is_in and (load(words, WAITING) != 0 or not _join(words)):
        return False
    held[READING] += 1
    return True


@brief
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


@brief
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


@brief
def leave_write(words: np.ndarray, held: np.ndarray, depth: int) -> None:
    """Undo an `enter_write`, if it came to one: afterwards the thread writes ``depth`` times, as before it."""
    if held[WRITING] > depth:
        held[WRITING] -= 1
        if held[WRITING] == 0:
            add(words, WRITTEN, 1)
            store(words, WRITER, 0)
            add(words, WAITING, -1)

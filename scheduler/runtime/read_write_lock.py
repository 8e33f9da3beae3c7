"""Who may look at a scheduler's state and who may change it: many readers at once, or one writer.

An exception can come from outside at any bytecode: a signal's handler raises it. Three things keep the state whole.

- The kernels that take and leave the lock also count what the thread holds. A call knows the count before it began
  and restores it on any way out, so that it does not matter whether the lock was taken when the exception came.
- Leaving is one call of compiled code without a Python function around it, and the handlers that leave make no other
  call before it. Python looks for signals when a function begins and after a call, so nothing comes between. A ``with``
  statement cannot give this: its ``__exit__`` is a function, and may be interrupted before its first statement.
- A change of several steps is a function that gives the same however often it is begun; see `ReadWriteLock.commit`.
  Interrupted, it is run again, at the latest before the next call of any thread.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numpy as np

from scheduler.errors import ForkError, LockTimeoutError, NestedCallError
from scheduler.runtime import forks, lock_kernels
from scheduler.runtime.direct import compiled
from scheduler.runtime.lock_kernels import (
    MAX_DEPTH,
    N_WORDS,
    PATIENCE,
    READERS,
    READING,
    SOUND,
    STALE,
    STATUS,
    TORN,
    UNFINISHED,
    WAITING,
    WRITER,
    WRITING,
    WRITTEN,
)

P = ParamSpec("P")
R = TypeVar("R")

LONGEST_WAIT = 60.0
"""Seconds that a call waits for the lock: far longer than any call, far shorter than an operator's patience."""


class Hold:
    """What one thread holds of a lock.

    Attributes
    ----------
    held
        (2,) int64 of `scheduler.runtime.lock_kernels`.
    view
        The same memory; an item of a memoryview is read twice as fast as an array's.
    """

    __slots__ = ("held", "view")

    def __init__(self) -> None:
        self.held = np.zeros(2, np.int64)
        self.view = self.held.data


class _Thread(threading.local):
    """The calling thread's `Hold`, which others find under the thread's number."""

    def __init__(self, holds: dict[int, Hold]) -> None:
        self.hold = holds[threading.get_ident()] = Hold()


class ReadWriteLock:
    """A readers-writer lock that lets waiting writers go first.

    `read` calls a function beside other readers, `write` alone. A call that reads may make others that read. All other
    calls from within calls are refused: what they would see or change is half done.

    Parameters
    ----------
    longest_wait
        Seconds until a call that waits gives up.

    Attributes
    ----------
    words
        (N_WORDS,) int64 of `scheduler.runtime.lock_kernels`, whose mutex readers use among themselves.
    repair
        Called by a writer before the next call where a kernel has set ``STATUS`` to ``STALE``.
    on_fork
        Called in a child process once the lock is in order.
    """

    def __init__(self, longest_wait: float = LONGEST_WAIT) -> None:
        self.words = np.zeros(N_WORDS, np.int64)
        self.longest_wait = longest_wait
        self.repair: Callable[[], object] | None = None
        self.on_fork: Callable[[], object] | None = None
        self._holds: dict[int, Hold] = {}
        self._thread = _Thread(self._holds)
        self._unfinished: Callable[[], object] | None = None
        self._undo: Callable[[], object] | None = None
        self._forking: Hold | None = None
        self._is_quiet = False
        self._pid = os.getpid()
        _compile_kernels()
        held = np.zeros(2, np.int64)
        self._try_read, self._try_write = (
            compiled(kernel, self.words, held) for kernel in (lock_kernels.try_read, lock_kernels.try_write)
        )
        self._leave_read = compiled(lock_kernels.leave_read, self.words, held, 0)
        self._leave_write = compiled(lock_kernels.leave_write, self.words, held)
        self._view = self.words.data
        forks.prepare_for_forks(self)

    def deadline(self) -> float:
        """Return until when a call that begins now waits, in seconds of `time.monotonic`."""
        return time.monotonic() + self.longest_wait

    def read(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function that changes nothing that readers share, and return what it returns.

        Raises
        ------
        NestedCallError
            If the thread is in a call that writes, or in too many that read.
        LockTimeoutError
            If others hold the lock for too long.
        ForkError
            If this process was forked from within a change.
        """
        hold = self._thread.hold
        held, depth = hold.held, hold.view[READING]
        # The outer handler is for an exception that comes before the inner one has left.
        try:
            try:
                if not self._try_read(self.words, held):
                    self._wait_to_read(hold)
                result = function(*args, **kwargs)
                self._leave_read(self.words, held, depth)
            except BaseException:
                self._leave_read(self.words, held, depth)
                raise
        except BaseException:
            self._leave_read(self.words, held, depth)
            raise
        return result

    def write(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function that changes the state, and return what it returns.

        The function checks first and changes last, in one step or by way of `commit`.

        Raises
        ------
        NestedCallError
            If the thread is in another call.
        LockTimeoutError, ForkError
            As `read`.
        """
        hold = self._thread.hold
        held = hold.held
        if hold.view[WRITING]:
            raise NestedCallError(_NESTED.format("change"))
        try:
            try:
                if not self._try_write(self.words, held):
                    self._wait_to_write(hold)
                result = function(*args, **kwargs)
                self._leave_write(self.words, held)
            except BaseException:
                if hold.view[WRITING] and self._unfinished is not None:
                    self._finish()
                self._leave_write(self.words, held)
                raise
        except BaseException:
            self._leave_write(self.words, held)
            raise
        return result

    def commit(self, apply: Callable[[], R], undo: Callable[[], object] | None = None) -> R:
        """Make a change of several steps that no interrupt leaves half done; only from within `write`.

        Parameters
        ----------
        apply
            Makes the change. It may be begun again at any point: it writes what was worked out before, and does not
            depend on what it has written already.
        undo
            Takes the change back, under the same rule, where there is no memory for it.

        Returns
        -------
        What ``apply`` returns.
        """
        # In this order, as in `settle`: wherever an interrupt comes, nothing is left to do while all counts as sound.
        self._view[STATUS] = UNFINISHED
        self._undo = undo
        self._unfinished = apply
        result = apply()
        self.settle()
        return result

    @property
    def is_held(self) -> bool:
        """Whether the calling thread reads or writes: then a call that writes is refused."""
        hold = self._thread.hold
        return bool(hold.view[READING] or hold.view[WRITING])

    def hold(self) -> Hold:
        """Return what the calling thread holds, now and later."""
        return self._thread.hold

    def before_fork(self, deadline: float) -> None:
        """Wait until no other thread changes anything, and keep all from beginning to; see `forks.Member`."""
        hold = self._thread.hold
        self._is_quiet = bool(hold.view[WRITING])
        if self._is_quiet:  # from within a change of its own, which goes on in both processes
            return
        self._forking = hold
        own = min(hold.view[READING], 1)
        while not self._is_quiet and time.monotonic() < deadline:
            self._is_quiet = bool(lock_kernels.enter_write(self.words, hold.held, own))

    def after_fork_in_parent(self) -> None:
        """Let other threads go on."""
        if self._forking is not None:
            self._leave_write(self.words, self._forking.held)
        self._forking, self._is_quiet = None, False

    def after_fork_in_child(self) -> None:
        """Forget the threads that are no more; refuse all calls where one of them was changing something."""
        if self._pid == os.getpid():
            return
        hold = self._thread.hold
        if self._forking is not None:
            hold.view[WRITING] = 0
        words = np.zeros(N_WORDS, np.int64)
        words[READERS] = min(hold.view[READING], 1)
        words[WRITER] = words[WAITING] = hold.view[WRITING]
        words[STATUS] = self.words[STATUS] if self._is_quiet else TORN
        self.words[:] = words
        self._holds.clear()
        self._holds[threading.get_ident()] = hold
        if self.on_fork is not None:
            self.on_fork()
        self._forking, self._is_quiet, self._pid = None, False, os.getpid()

    def _finish(self) -> None:
        """Finish what was begun, as a writer; raise what keeps it from being finished."""
        if self._unfinished is not None:
            try:
                self._unfinished()
            except MemoryError:
                if self._undo is not None:
                    self._undo()
        elif self.words[STATUS] == STALE and self.repair is not None:
            self.repair()
        self.settle()

    def settle(self) -> None:
        """Note that nothing is left to do; only from within `write`."""
        self._unfinished = None
        self._undo = None
        self._view[STATUS] = SOUND

    def _wait_to_read(self, hold: Hold) -> None:
        if hold.view[WRITING] or hold.view[READING]:
            raise NestedCallError(_NESTED.format("change" if hold.view[WRITING] else f"read, {MAX_DEPTH} deep"))
        deadline, last = self.deadline(), int(self.words[WRITTEN]) + PATIENCE
        while True:
            self._check_torn()
            if self.words[STATUS] != SOUND:
                self.write(_nothing)
            if lock_kernels.enter_read(self.words, hold.held, last):
                if self.words[STATUS] == SOUND:
                    return
                self._leave_read(self.words, hold.held, 0)
            self._check_deadline(deadline)

    def _wait_to_write(self, hold: Hold) -> None:
        if hold.view[READING]:
            raise NestedCallError(_NESTED.format("read"))
        self._check_torn()
        deadline = self.deadline()
        while not lock_kernels.enter_write(self.words, hold.held, 0):
            self._check_deadline(deadline)
        if self.words[STATUS] != SOUND:
            self._finish()

    def _check_torn(self) -> None:
        if self.words[STATUS] == TORN:
            raise ForkError(_FORKED)

    def _check_deadline(self, deadline: float) -> None:
        if time.monotonic() > deadline:
            message = f"lock: expected it within {self.longest_wait:g} s, found {self._holders() or 'it contended'}"
            raise LockTimeoutError(message)

    def _holders(self) -> str:
        """Say which threads are in."""
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        found = []
        for ident, hold in list(self._holds.items()):
            if hold.view[WRITING] or hold.view[READING]:
                does = "changes" if hold.view[WRITING] else "reads"
                found.append(f"thread {names.get(ident, 'of no name')!r} ({ident}), which {does}")
        return ", ".join(found)


_NESTED = "expected no call from within a call of the same scheduler, found one inside a call that makes a {}"

_FORKED = (
    "expected a process forked while no call was changing the scheduler, found one forked in the middle of a change: "
    "make the scheduler anew in the child"
)


def _nothing() -> None:
    """Change nothing: to go in as a writer finishes what was begun."""


def _compile_kernels() -> None:
    """Call each kernel once: none may be compiled, which is Python code, on the way into a lock or out of it."""
    words, hold = np.zeros(N_WORDS, np.int64), Hold()
    held = hold.held
    lock_kernels.enter_read(words, held, 0)
    lock_kernels.try_read(words, held)
    lock_kernels.leave_read(words, held, 0)
    lock_kernels.enter_write(words, held, 0)
    lock_kernels.leave_write(words, held)
    lock_kernels.try_write(words, held)
    lock_kernels.leave_write(words, held)

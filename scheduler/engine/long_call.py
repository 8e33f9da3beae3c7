"""Calls that are too long for one hold of the lock, and yet are done as a whole or not at all.

They run in a thread of their own: Python raises what signal handlers raise in the main thread only, so an interrupt
ends the caller's wait and not the work.
"""

from __future__ import annotations

import _thread
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from scheduler.decisions.decision_log import ClaimedError
from scheduler.errors import LockTimeoutError, NestedCallError
from scheduler.runtime.parts import PAUSE
from scheduler.runtime.read_write_lock import ReadWriteLock

R = TypeVar("R")


class LongCall(Protocol):
    """What is done in steps, each while the lock is held once as a writer."""

    @property
    def is_certain(self) -> bool:
        """Whether nothing can refuse it any more, so that it has to be done to its end."""

    def step(self) -> bool:
        """Do a part; return whether there is more. Raises only while it is not certain."""

    def step_back(self) -> bool:
        """Undo a part of what was done while it was not certain; return whether there is more."""


class LongCalls:
    """The long calls that are under way.

    Parameters
    ----------
    lock
        Held for each step.
    prepare
        Called first in the thread that does the steps, without the lock.
    """

    def __init__(self, lock: ReadWriteLock, prepare: Callable[[], object]) -> None:
        self._lock, self._prepare = lock, prepare
        self._calls: list[LongCall] = []

    def run(self, call: LongCall) -> None:
        """Do all of a call, or nothing where it is refused; raises what refuses it.

        An interrupt of the caller is raised once all is done, a second one at once: the rest then goes on by itself.
        """
        if self._lock.is_held:
            message = "expected no call from within a call of the same scheduler, found one of many outcomes inside"
            raise NestedCallError(message)
        self._calls.append(call)
        results: list[BaseException | None] = []
        ended = _thread.allocate_lock()
        ended.acquire()

        def work() -> None:
            error = None
            try:
                self._prepare()
                self._do(call)
            except BaseException as found:  # noqa: BLE001 - the caller raises it
                error = found
            self._calls.remove(call)
            results.append(error)
            ended.release()

        started: list[int] = []
        try:
            # One call of compiled code: no interrupt comes between the start and the note of it.
            started.extend(map(_thread.start_new_thread, (work,), ((),)))
            ended.acquire()
        except BaseException:
            if not started:
                self._calls.remove(call)
            elif not results:
                ended.acquire()
            raise
        if results[0] is not None:
            raise results[0]

    def after_fork(self) -> None:
        """Finish or undo in a child process what threads of its parent had begun; nobody else runs there yet."""
        for call in self._calls:
            while call.step() if call.is_certain else call.step_back():
                pass
        self._calls.clear()

    def _do(self, call: LongCall) -> None:
        try:
            while self._step(call):
                time.sleep(PAUSE)
        except BaseException:
            while self._lock.write(call.step_back):
                time.sleep(PAUSE)
            raise

    def _step(self, call: LongCall) -> bool:
        try:
            return self._lock.write(call.step)
        except LockTimeoutError:
            if not call.is_certain:
                raise
            return True  # what was begun is finished, however long others hold the lock


def when_unclaimed(take_in: Callable[[], R], deadline: float) -> R:
    """Take outcomes in once no long call takes in any of the same; ``take_in`` holds no lock when it returns or raises.

    Parameters
    ----------
    deadline
        Until when to wait, in seconds of `time.monotonic`.

    Raises
    ------
    LockTimeoutError
        If that takes too long.
    """
    while True:
        try:
            return take_in()
        except ClaimedError as error:
            if time.monotonic() > deadline:
                raise LockTimeoutError(str(error)) from error
            time.sleep(PAUSE)

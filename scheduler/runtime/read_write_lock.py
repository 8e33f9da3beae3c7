"""Who may look at a scheduler's state and who may change it: many readers at once, or one writer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numpy as np

from scheduler.runtime import lock_kernels
from scheduler.runtime.lock_kernels import N_WORDS, READING, WRITING

P = ParamSpec("P")
R = TypeVar("R")


class _Thread(threading.local):
    """How often the calling thread reads and writes now, (2,) int64."""

    def __init__(self) -> None:
        self.held = np.zeros(2, np.int64)


class ReadWriteLock:
    """A readers-writer lock, re-entrant, that lets waiting writers go first.

    ``with gate:`` is a writer, `reading` a reader. A writer may read; a reader may not write.

    Attributes
    ----------
    words
        (N_WORDS,) int64 of `scheduler.runtime.lock_kernels`, whose mutex readers use among themselves.
    """

    def __init__(self) -> None:
        self.words = np.zeros(N_WORDS, np.int64)
        self._thread = _Thread()

    def reading(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function that changes nothing that readers share, and return what it returns."""
        held = self._thread.held
        depth = held[READING]
        # All within: an interrupt is raised when the kernel returns, before the next statement.
        try:
            if not lock_kernels.try_read(self.words, held):
                lock_kernels.enter_read(self.words, held)
            return function(*args, **kwargs)
        finally:
            lock_kernels.leave_read(self.words, held, depth)

    def __enter__(self) -> None:
        held = self._thread.held
        depth = held[WRITING]
        if held[READING] and not depth:
            message = "expected no change from within a call that reads, such as from a request's mapping"
            raise RuntimeError(message)
        try:
            if not lock_kernels.try_write(self.words, held):
                lock_kernels.enter_write(self.words, held)
        except BaseException:  # an interrupt that came while waiting
            lock_kernels.leave_write(self.words, held, depth)
            raise

    def __exit__(self, *_: object) -> None:
        held = self._thread.held
        lock_kernels.leave_write(self.words, held, held[WRITING] - 1)

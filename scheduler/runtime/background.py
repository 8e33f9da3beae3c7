"""A thread that does one thing every so often until it is stopped."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from scheduler.errors import InputError, shown

MOST_SECONDS = 1e6
"""Between two calls: eleven days. Far longer ones are a slip, or milliseconds."""


def check_every(every: object) -> float:
    """Return seconds between two calls, or raise `InputError` where they are none."""
    if not isinstance(every, float | int) or isinstance(every, bool) or not 0.0 < every <= MOST_SECONDS:
        message = f"every: expected seconds, more than 0 and at most {MOST_SECONDS:g}, found {shown(every)}"
        raise InputError(message)
    return float(every)


class Background:
    """Calls a function every so many seconds in a thread of its own.

    Parameters
    ----------
    name
        Of the thread.
    work
        Raises nothing: whoever calls it by turns has nobody to tell.
    every
        Seconds between the begins of two calls.
    at_once
        Whether the first call comes at once or after ``every``.
    """

    def __init__(self, name: str, work: Callable[[], object], every: float, *, at_once: bool) -> None:
        self._work, self._every, self._at_once, self._pid = work, every, at_once, os.getpid()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a call under way is finished. In a forked child, which has no such thread, nothing ends."""
        if self._pid != os.getpid():
            return
        self._stopped.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        begun = time.monotonic()
        if self._at_once:
            self._work()
        while not self._stopped.wait(max(begun + self._every - time.monotonic(), 0.0)):
            begun = time.monotonic()
            self._work()

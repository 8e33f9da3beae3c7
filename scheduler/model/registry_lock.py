"""One process at a time at a registry's SQLite file."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn

from scheduler.errors import RegistryBusyError
from scheduler.runtime.forks import Unawaited

LOCK_SECONDS: Final = 120.0
"""How long a process waits for others. One registration takes 2 to 5 seconds on a machine under load."""

_POLL_SECONDS: Final = 0.05
"""Between two looks at a lock that another process holds; `flock` itself cannot wait for a limited time."""


class _Lock:
    """A lock between processes and threads that its owner may take again."""

    def __init__(self) -> None:
        self.threads = threading.RLock()
        self.depth = 0
        self.descriptor = -1


class _Locks(Unawaited):
    """The locks of a process by database. A forked child has none: it gives back its copies of what its parent holds.

    A copy would keep other processes out for as long as the child lives, if the parent dies meanwhile.
    """

    def __init__(self) -> None:
        self._locks: dict[str, _Lock] = {}
        super().__init__()

    def of(self, database: Path) -> _Lock:
        """Return the lock of a database; of two threads that ask at once both get the same one."""
        return self._locks.setdefault(str(database), _Lock())

    def after_fork_in_child(self) -> None:
        """Begin anew."""
        locks, self._locks = self._locks, {}
        for lock in locks.values():
            if lock.depth > 0:
                os.close(lock.descriptor)


_locks = _Locks()


def lock_file(database: Path) -> Path:
    """Return the file beside a database that stands for the lock; it stays there, empty."""
    return database.with_name(f"{database.name}.lock")


@contextmanager
def exclusive(database: Path, *, wait: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the lock of a database; within one thread it may be taken again.

    The operating system frees it when the process ends, however it ends.

    Parameters
    ----------
    database
        An absolute path; the file need not exist, its folder must.
    wait
        Seconds to wait for other processes and threads.

    Raises
    ------
    RegistryBusyError
        If others did not let go of it in time.
    OSError
        If the lock file cannot be written.
    """
    deadline = time.monotonic() + wait
    lock = _locks.of(database)
    if not lock.threads.acquire(timeout=max(wait, 0.0)):
        _busy(database, wait)
    try:
        if lock.depth == 0:
            lock.descriptor = _lock_between_processes(database, deadline, wait)
        lock.depth += 1
        try:
            yield
        finally:
            lock.depth -= 1
            if lock.depth == 0:
                fcntl.flock(lock.descriptor, fcntl.LOCK_UN)  # also where a child that was forked meanwhile has a copy
                os.close(lock.descriptor)
    finally:
        lock.threads.release()


def _lock_between_processes(database: Path, deadline: float, wait: float) -> int:
    descriptor = os.open(lock_file(database), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    _busy(database, wait)
                time.sleep(_POLL_SECONDS)
            else:
                return descriptor
    except BaseException:
        os.close(descriptor)
        raise


def _busy(database: Path, wait: float) -> NoReturn:
    message = (
        f"registry sqlite:///{database}: expected other processes to let go of {lock_file(database)} within "
        f"{wait:g} s, found it held"
    )
    raise RegistryBusyError(message)

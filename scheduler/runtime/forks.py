"""Forks: a child of a process whose threads were at work must neither hang nor work with half a change.

Only the thread that forks lives on in the child. What others held there nobody gives back, and what they were writing
nobody finishes. So every lock is taken before a fork, and given back after it on both sides.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from typing import Protocol

from numba.core.compiler_lock import global_compiler_lock

LONGEST_WAIT = 5.0
"""Seconds that a fork waits for calls to end. A child forked in the middle of a longer one gets a `ForkError`."""


class Member(Protocol):
    """A lock that takes part; all calls come from the thread that forks."""

    def before_fork(self, deadline: float) -> None:
        """Wait, until a time of `time.monotonic` at most, until nothing changes, and see to it that nothing will."""

    def after_fork_in_parent(self) -> None:
        """Let others go on; called twice, see below."""

    def after_fork_in_child(self) -> None:
        """Put the child's copy in order, or have it refuse all calls; called twice."""


_members: weakref.WeakSet[Member] = weakref.WeakSet()


class _Compiler:
    """Numba's lock, which a thread holds while it compiles or loads a kernel.

    In a child that was forked meanwhile nobody would give it back: the first kernel that is not loaded yet would wait
    for ever. Numba itself does not see to that.
    """

    def __init__(self) -> None:
        self._is_held = False
        self._pid = os.getpid()

    def before_fork(self, deadline: float) -> None:
        lock = global_compiler_lock._lock  # noqa: SLF001 - its own `acquire` knows no bound
        self._is_held = lock.acquire(timeout=max(deadline - time.monotonic(), 0.0))

    def after_fork_in_parent(self) -> None:
        if self._is_held:
            self._is_held = False
            global_compiler_lock._lock.release()  # noqa: SLF001

    def after_fork_in_child(self) -> None:
        if self._is_held:
            self.after_fork_in_parent()
        elif self._pid != os.getpid():
            global_compiler_lock._lock = threading.RLock()  # noqa: SLF001
        self._pid = os.getpid()


class Unawaited:
    """A member for which no fork waits; what of it is its parent's a child puts right in `after_fork_in_child`."""

    def __init__(self) -> None:
        prepare_for_forks(self)

    def before_fork(self, deadline: float) -> None:
        """Wait for nothing."""

    def after_fork_in_parent(self) -> None:
        """Change nothing."""

    def after_fork_in_child(self) -> None:
        """Begin anew; called twice."""
        raise NotImplementedError


class ForkedLock(Unawaited):
    """A mutual exclusion that is free in a forked child, whoever held it in the parent.

    What it guards is right at any moment for whoever goes on with it alone, or is not used in a child.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        super().__init__()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Begin anew."""
        self._lock = threading.Lock()


_compiler = _Compiler()


def prepare_for_forks(member: Member) -> None:
    """Have a lock told of forks for as long as it lives."""
    _members.add(member)


def _all() -> list[Member]:
    return [*_members, _compiler]


def _before() -> None:
    deadline = time.monotonic() + LONGEST_WAIT
    for member in _all():
        member.before_fork(deadline)


def _in_parent() -> None:
    for member in _all():
        member.after_fork_in_parent()


def _in_child() -> None:
    for member in _all():
        member.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    # Twice: an interrupt that is raised on the way into the first call ends it before it has begun.
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
    os.register_at_fork(after_in_parent=_in_parent, after_in_child=_in_child)

"""Heads and tails of rings: plain words that one side writes and the other reads."""

from __future__ import annotations

import numpy as np

from scheduler.runtime import atomics
from scheduler.runtime.jit import inlined, kernel


@inlined
def row_for(marks: np.ndarray, head: int, tail: int, dropped: int, size: int) -> int:
    """Return the row after the last one of a ring, -1 where the ring is full: what would stand there is counted."""
    at = marks[head]
    if at - atomics.load(marks, tail) >= size:
        raise_mark(marks, dropped)
        return -1
    return at % size


@inlined
def raise_mark(marks: np.ndarray, mark: int) -> None:
    """Count one more. What was written before is seen by whoever reads the mark."""
    atomics.store(marks, mark, marks[mark] + 1)


@kernel
def read_mark(marks: np.ndarray, mark: int) -> int:
    """Return a mark that another thread writes."""
    return atomics.load(marks, mark)


@kernel
def write_mark(marks: np.ndarray, mark: int, value: int) -> None:
    """Set a mark that another thread reads."""
    atomics.store(marks, mark, value)

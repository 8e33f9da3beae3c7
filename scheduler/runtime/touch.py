"""Memory asked of the operating system before it is needed, by whoever holds no lock."""

from __future__ import annotations

import numpy as np

from scheduler.runtime import atomics
from scheduler.runtime.jit import kernel

PAGE_WORDS = 512
"""Words of 8 bytes in a page."""


@kernel
def touch(words: np.ndarray, first: int, last: int) -> None:
    """Write to each page of an int64 array's words ``first`` to ``last`` without changing it, while others use it."""
    for i in range(first, last, PAGE_WORDS):
        atomics.add(words, i, 0)

"""Memory asked of the operating system before it is needed, by whoever holds no lock."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scheduler.runtime import atomics
from scheduler.runtime.jit import kernel

PAGE_WORDS = 512
"""Words of 8 bytes in a page."""

LARGE_PAGE_WORDS = 512 * PAGE_WORDS
"""Words of a large page, which numpy asks for where an array is large. The first touch of one takes 0.1 ms to 5 ms,
the longer where a virtual machine has to get it from its host, and that of a small one some 3 us."""


@kernel
def touch(words: np.ndarray, first: int, last: int, step: int) -> None:
    """Write to every so many of an int64 array's words ``first`` to ``last``, changing none, while others use it."""
    for i in range(first, last, step):
        # In place of an addition of 0 the compiler would only read: then the system hands out no memory.
        atomics.swap(words, i, 0, 0)


def touch_large_pages(array: NDArray[Any]) -> None:
    """Ask for the large pages of an array; where there are none, for one small page in 512 of it."""
    words = array.reshape(-1).view(np.int64)
    touch(words, 0, words.size, LARGE_PAGE_WORDS)

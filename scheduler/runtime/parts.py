"""Long work cut into parts, so that nobody waits long for the lock or the interpreter."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

PART: Final = 512
"""Rows of a part: adding a node with its columns, posting lists and forest row takes some 3 us, so a part 1 to 2 ms."""

LIGHT_PART: Final = 4 * PART
"""Rows of a part where each takes a fraction of that, as to read a row or to take a heartbeat."""

PAUSE: Final = 1e-4
"""Seconds between two parts. Who waits for a lock naps for 20 us, to which Linux adds some 50: all of them are awake
then, and who waits for the interpreter gets it."""


def in_parts(n: int, size: int = PART) -> Iterator[slice]:
    """Yield slices of at most ``size`` rows that make up ``n`` rows, with a pause between two."""
    for start in range(0, n, size):
        if start:
            time.sleep(PAUSE)
        yield slice(start, min(start + size, n))

"""Arrays whose rows are added one after another and never move: growing costs what is added, not what is there."""

from __future__ import annotations

import mmap
import resource
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from scheduler.runtime.touch import PAGE_WORDS, touch

MOST_ROWS: Final = 1 << 24
"""Most nodes and most clients. Address space is set aside for so many: some 20 GB of 128,000 for nodes with their rows
of a forest."""

STEP = 2_048
"""Rows of a step of growth at most: to fill a node's 100 bytes of columns so often takes a tenth of a millisecond."""

SMALL = 4 << 20
"""Bytes from the start that stay on ordinary pages, as in numpy: one of 2 MB would be more than a small fleet needs."""

LARGE_PAGE = 2 << 20
"""Bytes of a large page, the first touch of which takes 0.2 to 2 ms."""

LIMITED_SHARE = 64
"""Where the process may have so much address space and no more, an array sets aside at most this part of what is left
of it: the 20 arrays of a scheduler take less than a third, and the compiler, which ends the process where it gets no
memory, finds some."""

STATM = Path("/proc/self/statm")
"""Where Linux tells how many pages a process has mapped."""

WORD = 8
"""Bytes of what is touched at once."""

_NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)


class GrowableArray:
    """Rows of one array, all of them at the same place for good.

    Address space for many more rows is set aside, and the operating system hands out memory as it is touched. Where it
    refuses so much, or more rows come than were set aside for, all move to where there is twice the room. A call that
    fails has changed nothing, and one that was interrupted may be made again.

    Parameters
    ----------
    width
        Shape of a row.
    dtype
        Of the numbers.
    fill
        What new rows hold, broadcast to ``width``; zeros cost nothing.
    rows
        How many to set aside for.
    """

    def __init__(
        self, width: tuple[int, ...], dtype: DTypeLike, fill: ArrayLike | None = None, *, rows: int = MOST_ROWS
    ) -> None:
        self._width, self._dtype, self._fill = width, np.dtype(dtype), fill
        self._rows = self._reserve(rows, 1)
        self._used = self._touched = 0

    @property
    def used(self) -> NDArray[Any]:
        """The rows that were asked for so far."""
        return self._rows[: self._used]

    def grow(self, n: int) -> NDArray[Any]:
        """Return the first ``n`` rows, at least as many as before; those returned before are the same memory."""
        if n > len(self._rows):
            larger = self._reserve(2 * n, n)
            larger[: self._used] = self._rows[: self._used]
            self._rows = larger
        if self._fill is not None:
            self._rows[self._used : n] = self._fill
        self._used = n
        return self._rows[:n]

    def touch(self, n: int) -> None:
        """Let the system hand out the memory of the first ``n`` rows, as far as it is set aside; nothing changes.

        Needs no lock, so that nobody who holds one waits for a large page: 0.2 to 5 ms each.
        """
        row_words = self._rows.nbytes / max(len(self._rows), 1) / WORD
        last = int(min(n, len(self._rows)) * row_words)
        if last > self._touched:
            touch(self._words, self._touched, last, PAGE_WORDS)
            self._touched = last

    def _reserve(self, rows: int, least: int) -> NDArray[Any]:
        """Return zeros for so many rows, or for as many as there is address space for, at least ``least``."""
        row_bytes = int(np.prod(self._width)) * self._dtype.itemsize
        # Arrays that grow together would all come to a new large page at the same row: they begin at different places.
        skip = 37 * row_bytes * mmap.PAGESIZE % LARGE_PAGE
        rows = max(least, min(rows, _address_space_left() // LIMITED_SHARE // max(row_bytes, 1)))
        while True:
            size = skip + max(rows * row_bytes, 1)
            try:
                memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE)
                break
            except OSError:
                if rows <= least:
                    message = f"expected {size:,} bytes of address space for {rows:,} rows, found less (ulimit -v)"
                    raise MemoryError(message) from None
                rows = max(rows // 2, least)
        if size > SMALL and hasattr(mmap, "MADV_HUGEPAGE"):
            memory.madvise(mmap.MADV_HUGEPAGE, SMALL)
        # All of whole words; the end of the last one may be missing.
        self._words = np.frombuffer(memory, np.int64, (size - skip) // WORD, skip)
        self._touched = 0
        flat = np.frombuffer(memory, self._dtype, rows * row_bytes // self._dtype.itemsize, skip)
        return flat.reshape(rows, *self._width)


def _address_space_left() -> int:
    """Return the bytes that may still be mapped; a number beyond any need where nothing limits them."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return sys.maxsize
    try:
        used = int(STATM.read_bytes().split()[0]) * mmap.PAGESIZE
    except OSError:  # no such file system
        used = 0
    return max(limit - used, 0)


def next_size(n: int) -> int:
    """Return how many rows to have after ``n``: twice as many, but no more than `STEP` at once."""
    return n + min(n, STEP)

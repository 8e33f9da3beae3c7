"""Which nodes retrieval may find as of now, and when that changes next."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scheduler.fleet.arrays import (
    FORGET_AFTER,
    FORGETS,
    LEAVES,
    N_LISTED,
    NEXT_FORGET,
    NEXT_LEAVE,
    NEXT_RETURN,
    RETURNS,
    TIME,
    PresenceArrays,
)
from scheduler.fleet.kernels import presence as kernels
from scheduler.runtime.direct import Direct
from scheduler.runtime.growable_array import GrowableArray
from scheduler.runtime.packed_arrays import PackedArrays

LAG = 0.1
"""Seconds for which ends of lives are left to gather: each change of the index keeps decisions out for a moment. Until
then retrieval passes over the nodes itself, so that no request finds fewer of those that live."""

BACK = 5.0
"""Seconds by which a call's time may lie before that of the index; a clock that was set back further is followed."""

BATCH = 256
"""Nodes looked at by one kernel call."""

BATCH_WITH_SETS = 8
"""The same where nodes hold sets, each category of which stands in posting lists of its own."""

HOLD = 16_384
"""Entries of posting lists that are changed while the lock is held once: two or three milliseconds at most."""

LOOK = 8
"""Entries that a look at a node counts for."""

HOLDS = {RETURNS: 8, FORGETS: 1, LEAVES: 2}
"""How often a call takes the lock for each queue. The returning come first: what the index lacks nobody finds, while
the silent in it are passed over. Who is forgotten was found silent by an earlier call: one wrong time removes nobody
who lives."""


class Due:
    """Nodes taken from a queue at once, at most ``most``: (n,) slots, and how many, -1 before they were taken."""

    def __init__(self, most: int) -> None:
        self.most, self.slots, self.n = most, np.empty(most, np.int32), np.full(1, -1, np.int64)


class Presence:
    """Three queues of nodes by the time at which something happens to them: no call looks at all nodes.

    A node waits in one queue at most: 24 bytes, with which queue and place it is. A heartbeat writes one number; the
    node's turn in the queue comes at the end that was known when it joined, and puts it back by what is known then.
    So each node costs one look for each life that it was promised, of some 0.2 us in a queue of a million.

    Parameters
    ----------
    most
        How many nodes there may be.

    Attributes
    ----------
    arrays
        What the kernels read; others after `grow`.
    """

    def __init__(self, most: int) -> None:
        self.clock = np.array([-np.inf, np.inf, np.inf, np.inf, np.inf])
        # Items of a memoryview are read several times faster than an array's.
        self._clock: Any = self.clock.data
        self._heaps = tuple(GrowableArray((2,), np.float64, rows=most) for _ in range(3))
        self._waits = GrowableArray((2,), np.int32, -1, rows=most)
        self._listed = GrowableArray((), np.bool_, rows=most)
        self._sizes = np.zeros(N_LISTED + 1, np.int64)
        self._hear = Direct(kernels.hear)  # writers take turns

    def grow(self, n: int, alive_until: NDArray[np.float64], quarantined_until: NDArray[np.float64]) -> None:
        """Make room for ``n`` slots, whose times are given."""
        first, second, third = (heap.grow(n) for heap in self._heaps)
        self.arrays = PresenceArrays(
            alive_until=alive_until,
            quarantined_until=quarantined_until,
            listed=self._listed.grow(n),
            clock=self.clock,
            heaps=(first, second, third),
            sizes=self._sizes,
            waits=self._waits.grow(n),
        )
        self._packed = PackedArrays(self.arrays)

    @property
    def n_listed(self) -> int:
        """How many nodes are in the index."""
        return int(self._sizes[N_LISTED])

    @property
    def n_quarantined(self) -> int:
        """How many nodes live and wait for the end of their quarantine."""
        return int(self._sizes[RETURNS])

    def touch(self, n: int) -> None:
        """Ask the system for the memory of ``n`` slots; needs no lock."""
        for array in (*self._heaps[:1], self._waits, self._listed):
            array.touch(n)

    def forget_after(self, seconds: float) -> None:
        """Forget nodes that fall silent from now on after so long."""
        self.clock[FORGET_AFTER] = seconds

    def settle(self, slots: NDArray[np.int32], turned: NDArray[np.bool_]) -> None:
        """Look at nodes whose times were set, (n,) slots; set ``turned`` where one enters the index or leaves it."""
        kernels.settle_all(self._packed, slots, turned)

    def hear(self, slots: NDArray[np.int32], alive_until: float, turned: NDArray[np.bool_]) -> None:
        """Take heartbeats of (n,) slots, -1 for none; set ``turned`` where a node enters the index or leaves it."""
        packed, args = (self._packed,), (self._packed, slots, alive_until, turned)
        direct = self._hear
        (direct.call if direct.seen == packed else direct.resolve(packed, *args))(*args)

    def leave(self, slots: NDArray[np.int32]) -> None:
        """Take nodes that are removed out of the queues."""
        kernels.leave(self._packed, slots)

    def is_due(self, now: float) -> bool:
        """Whether something happened to a node by ``now``, or the clock was set back; fast, because all decisions ask.

        Kernels read the clock without a lock as well: a word of it is always whole.
        """
        clock = self._clock
        return (
            clock[NEXT_LEAVE] + LAG <= now
            or clock[NEXT_RETURN] <= now
            or clock[NEXT_FORGET] + LAG <= now
            or now + BACK < clock[TIME]
        )

    def has_due(self, q: int, now: float) -> bool:
        """Whether a node of a queue is due at a time in seconds."""
        return bool(self._clock[NEXT_LEAVE + q] <= now)

    def turn_to(self, now: float) -> None:
        """Set the time as of which nodes are listed."""
        self._clock[TIME] = now

    def take_due(self, q: int, due: Due) -> NDArray[np.int32]:
        """Look at the nodes of a queue that are due as of the clock's time, unless ``due`` has some already.

        Returns
        -------
        (n,) int32 slots that enter the index or leave it, or are to be forgotten.
        """
        if due.n[0] < 0:
            kernels.take_due(self._packed, q, due.most, due.slots, due.n)
        return due.slots[: due.n[0]]

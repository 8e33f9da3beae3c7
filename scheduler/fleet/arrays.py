"""Nodes as kernels see them."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.arrays import ColumnArrays

(PLACES, PLACE_MASK, PLACE_MULTIPLIER) = range(3)
"""Marks of a slot table: its places, the power of two above them less one, and the bits of the odd number that keys are
multiplied by, see `scheduler.runtime.hashing.secret_multiplier`."""

FIRST_PLACES: Final = 64
"""Places of the slot table at first; each new node brings one more."""

(LEAVES, RETURNS, FORGETS) = range(3)
"""Queues, in which a node waits for the end of its life, of its quarantine, and of the time that it is remembered."""

N_LISTED: Final = 3
"""Place of the number of listed nodes after the sizes of the queues."""

(QUEUE, PLACE) = range(2)
"""Where a node waits: in which queue, -1 for none, and at which place of it."""

(TIME, FORGET_AFTER, NEXT_LEAVE, NEXT_RETURN, NEXT_FORGET) = range(5)
"""Words of the fleet's clock: the time as of which nodes are listed, how long a silent node is remembered, and when
the first node of each queue is due, infinity for an empty queue."""


class SlotTable(NamedTuple):
    """The slot of each node by the key of its id, as a hash table with chains.

    Places are added one by one and take over half of another's nodes: linear hashing (Litwin, VLDB 1980). So no call
    waits for a table that is made anew.

    Attributes
    ----------
    first
        (places,) int32, a slot for each place, -1 for none.
    after
        (slots,) int32, the next slot of the same place, -1 for none.
    marks
        (3,) int64, see `PLACES`.
    """

    first: NDArray[np.int32]
    after: NDArray[np.int32]
    marks: NDArray[np.int64]


class FleetArrays(NamedTuple):
    """Nodes by slot.

    Attributes
    ----------
    columns
        The nodes' columns.
    alive_until
        (slots,) float64, when the heartbeat is overdue; -inf for a free slot.
    quarantined_until
        (slots,) float64, when a quarantine ends; -inf without one.
    generation
        (slots,) int32, raised each time a slot loses its node.
    capacity, reserved
        (slots,) float64, uplink in kbit/s and how much of it is promised.
    listed
        (slots,) bool, whether the index has the node: it lives and is not quarantined as of the clock's time.
    clock
        (5,) float64, see `TIME`.
    slot_table
        The slot of each node by the key of its id.
    """

    columns: ColumnArrays
    alive_until: NDArray[np.float64]
    quarantined_until: NDArray[np.float64]
    generation: NDArray[np.int32]
    capacity: NDArray[np.float64]
    reserved: NDArray[np.float64]
    listed: NDArray[np.bool_]
    clock: NDArray[np.float64]
    slot_table: SlotTable


class PresenceArrays(NamedTuple):
    """Who is in the index, and what happens next: three heaps in which each node waits at most once.

    Attributes
    ----------
    alive_until, quarantined_until, listed, clock
        As of `FleetArrays`.
    heaps
        For each of `LEAVES`, `RETURNS` and `FORGETS` (slots, 2) float64: a time and a slot. Each entry is due no later
        than the four below it; the first one stands at place 0.
    sizes
        (4,) int64, entries of each heap, and how many nodes are listed.
    waits
        (slots, 2) int32, see `QUEUE`.
    """

    alive_until: NDArray[np.float64]
    quarantined_until: NDArray[np.float64]
    listed: NDArray[np.bool_]
    clock: NDArray[np.float64]
    heaps: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
    sizes: NDArray[np.int64]
    waits: NDArray[np.int32]

"""Queues of nodes by the time at which something happens to them: heaps with four branches.

A node waits in one queue at most and knows its place there. To join at the end, as heartbeats do, takes a step or
two; to be taken from the front one step for each fourfold of those that wait, ten for a million.
"""

from __future__ import annotations

import numpy as np

from scheduler.fleet.arrays import NEXT_LEAVE, PLACE, QUEUE, PresenceArrays
from scheduler.runtime.jit import inlined, kernel

BRANCHES = 4
"""Entries below each entry of a heap: the four fill a cache line, and a heap of four has half the steps of two."""


@inlined
def put_entry(waits: np.ndarray, heap: np.ndarray, place: int, due: float, slot: int) -> None:
    """Write an entry, and where its node waits."""
    heap[place, 0] = due
    heap[place, 1] = slot
    waits[slot, PLACE] = place


@inlined
def move_up(waits: np.ndarray, heap: np.ndarray, place: int, due: float, slot: int) -> None:
    """Write an entry at a place, or above it where it is due before those there."""
    while place > 0:
        above = (place - 1) // BRANCHES
        if heap[above, 0] <= due:
            break
        put_entry(waits, heap, place, heap[above, 0], int(heap[above, 1]))
        place = above
    put_entry(waits, heap, place, due, slot)


@inlined
def move_down(waits: np.ndarray, heap: np.ndarray, size: int, place: int, due: float, slot: int) -> None:
    """Write an entry at a place, or below it where it is due after those there."""
    while True:
        first = BRANCHES * place + 1
        if first >= size:
            break
        least = first
        for below in range(first + 1, min(first + BRANCHES, size)):
            if heap[below, 0] < heap[least, 0]:
                least = below
        if heap[least, 0] >= due:
            break
        put_entry(waits, heap, place, heap[least, 0], int(heap[least, 1]))
        place = least
    put_entry(waits, heap, place, due, slot)


@inlined
def note_next(presence: PresenceArrays, q: int) -> None:
    """Write when the first node of a queue is due."""
    presence.clock[NEXT_LEAVE + q] = presence.heaps[q][0, 0] if presence.sizes[q] > 0 else np.inf


@kernel
def stop_waiting(presence: PresenceArrays, slot: int) -> None:
    """Take a node out of the queue it waits in, if it waits."""
    q = presence.waits[slot, QUEUE]
    if q < 0:
        return
    heap, place, size = presence.heaps[q], presence.waits[slot, PLACE], presence.sizes[q] - 1
    presence.sizes[q] = size
    presence.waits[slot, QUEUE] = -1
    if place < size:
        due, last = heap[size, 0], int(heap[size, 1])
        if place > 0 and heap[(place - 1) // BRANCHES, 0] > due:
            move_up(presence.waits, heap, place, due, last)
        else:
            move_down(presence.waits, heap, size, place, due, last)
    note_next(presence, q)


@kernel
def wait_until(presence: PresenceArrays, q: int, slot: int, due: float) -> None:
    """Let a node wait in a queue until ``due`` at the latest; one that waits there for less stays where it is."""
    heap = presence.heaps[q]
    if presence.waits[slot, QUEUE] == q:
        if heap[presence.waits[slot, PLACE], 0] <= due:
            return
        move_up(presence.waits, heap, presence.waits[slot, PLACE], due, slot)
    else:
        stop_waiting(presence, slot)
        presence.waits[slot, QUEUE] = q
        presence.sizes[q] += 1
        move_up(presence.waits, heap, presence.sizes[q] - 1, due, slot)
    note_next(presence, q)

"""Who is in the index: nodes leave when they fall silent or are quarantined, and return with what ends that."""

from __future__ import annotations

import numpy as np

from scheduler.fleet.arrays import FORGET_AFTER, FORGETS, LEAVES, N_LISTED, QUEUE, RETURNS, TIME, PresenceArrays
from scheduler.fleet.kernels.queues import stop_waiting, wait_until
from scheduler.runtime.jit import inlined, kernel
from scheduler.runtime.packed_arrays import PackedArrays, unpack_arrays
from scheduler.runtime.prefetch import AHEAD, prefetch


@inlined
def forgotten_at(presence: PresenceArrays, slot: int) -> float:
    """Return when a silent node is forgotten: not in its quarantine, which it would come back without."""
    return max(presence.alive_until[slot] + presence.clock[FORGET_AFTER], presence.quarantined_until[slot])


@inlined
def settle(presence: PresenceArrays, slot: int) -> bool:
    """Say whether a node is listed as of the clock's time, and let it wait for what is next; whether that is new.

    A node that is listed waits for the end of its life, one in quarantine for the end of that, a silent one to be
    forgotten. What never comes is not waited for.
    """
    now, alive_until, ends = presence.clock[TIME], presence.alive_until[slot], presence.quarantined_until[slot]
    is_listed = alive_until > now and ends <= now
    if is_listed:
        q, due = LEAVES, alive_until
    elif alive_until > now:
        q, due = RETURNS, ends
    else:
        q, due = FORGETS, forgotten_at(presence, slot)
    if due < np.inf:
        wait_until(presence, q, slot, due)
    else:
        stop_waiting(presence, slot)
    was_listed = presence.listed[slot]
    presence.listed[slot] = is_listed
    presence.sizes[N_LISTED] += int(is_listed) - int(was_listed)
    return is_listed != was_listed


@kernel
def settle_all(packed: PackedArrays[PresenceArrays], slots: np.ndarray, changed: np.ndarray) -> None:
    """Settle nodes after their times were set, (n,) int32 slots.

    Parameters
    ----------
    changed
        (n,) bool, set where a node enters the index or leaves it, and left alone elsewhere: who settles the same nodes
        once more, after an interrupt, still knows.
    """
    presence = unpack_arrays(packed)
    for i in range(slots.size):
        if i + AHEAD < slots.size:
            prefetch(presence.alive_until, slots[i + AHEAD])
            prefetch(presence.waits, slots[i + AHEAD])
        if settle(presence, slots[i]):
            changed[i] = True


@kernel
def hear(packed: PackedArrays[PresenceArrays], slots: np.ndarray, alive_until: float, changed: np.ndarray) -> None:
    """Take heartbeats of (n,) int32 slots, -1 for none: lives become longer, never shorter.

    A node that waits for the end of its life goes on to wait for the end that it knew: then it is looked at anew. So a
    heartbeat costs nothing of the queue.

    Parameters
    ----------
    changed
        As of `settle_all`.
    """
    presence = unpack_arrays(packed)
    for i in range(slots.size):
        if i + AHEAD < slots.size:
            prefetch(presence.alive_until, slots[i + AHEAD])
            prefetch(presence.waits, slots[i + AHEAD])
        slot = slots[i]
        # Who was never to fall silent is from now on.
        if slot < 0 or not (presence.alive_until[slot] == np.inf or presence.alive_until[slot] < alive_until):
            continue
        presence.alive_until[slot] = alive_until
        if presence.listed[slot] and presence.waits[slot, QUEUE] == LEAVES:
            continue
        if settle(presence, slot):
            changed[i] = True


@kernel
def take_due(
    packed: PackedArrays[PresenceArrays], q: int, most: int, changed: np.ndarray, n_changed: np.ndarray
) -> None:
    """Look anew at the nodes of a queue that are due as of the clock's time, ``most`` of them.

    Parameters
    ----------
    changed
        (most,) int32, filled with who enters the index or leaves it; from `FORGETS` with who is to be forgotten.
    n_changed
        (1,) int64, how many those are.
    """
    presence, n = unpack_arrays(packed), 0
    heap, now = presence.heaps[q], presence.clock[TIME]
    for _ in range(most):
        if presence.sizes[q] == 0 or heap[0, 0] > now:
            break
        slot = int(heap[0, 1])
        stop_waiting(presence, slot)
        is_forgotten = q == FORGETS and presence.alive_until[slot] <= now and forgotten_at(presence, slot) <= now
        if is_forgotten or settle(presence, slot):
            changed[n] = slot
            n += 1
    n_changed[0] = n


@kernel
def leave(packed: PackedArrays[PresenceArrays], slots: np.ndarray) -> None:
    """Take nodes that are removed out of their queues, (n,) int32 slots."""
    presence = unpack_arrays(packed)
    for i in range(slots.size):
        stop_waiting(presence, slots[i])
        presence.sizes[N_LISTED] -= int(presence.listed[slots[i]])
        presence.listed[slots[i]] = False

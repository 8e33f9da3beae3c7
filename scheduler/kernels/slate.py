"""A slate out of candidates with utilities: who follows the first one, and who could have been first instead."""

from __future__ import annotations

import numpy as np

from scheduler.kernels.jit import inlined, kernel
from scheduler.layout import MISSING_KEY, FleetArrays, PolicyArrays, Workspace


@kernel
def leaders(utility: np.ndarray, n: int, out: np.ndarray) -> int:
    """Write the places of the largest of ``n`` utilities to ``out``, best first, and return how many.

    Of equal utilities the first comes first; -inf is left out.
    """
    count = 0
    for c in range(n):
        at = count
        while at > 0 and utility[c] > utility[out[at - 1]]:
            at -= 1
        if at == out.size or utility[c] == -np.inf:
            continue
        count = min(count + 1, out.size)
        for later in range(count - 1, at, -1):
            out[later] = out[later - 1]
        out[at] = c
    return count


@kernel
def ranked(utility: np.ndarray, n: int, out: np.ndarray) -> int:
    """As `leaders` with room for all ``n``, in n log n steps (heapsort; Williams, CACM 1964)."""
    count = 0
    for c in range(n):
        if utility[c] > -np.inf:
            out[count] = c
            count += 1
    for root in range(count // 2 - 1, -1, -1):
        sink(utility, out, root, count)
    for last in range(count - 1, 0, -1):
        out[0], out[last] = out[last], out[0]
        sink(utility, out, 0, last)
    return count


@inlined
def is_later(utility: np.ndarray, a: int, b: int) -> bool:
    """Whether candidate ``a`` comes after ``b``, best first."""
    return utility[a] < utility[b] or (utility[a] == utility[b] and a > b)


@inlined
def sink(utility: np.ndarray, heap: np.ndarray, root: int, size: int) -> None:
    """Swap a place of a heap with its later child until none is later; the latest stands at the root."""
    while 2 * root + 1 < size:
        child = 2 * root + 1
        if child + 1 < size and is_later(utility, heap[child + 1], heap[child]):
            child += 1
        if not is_later(utility, heap[child], heap[root]):
            return
        heap[root], heap[child] = heap[child], heap[root]
        root = child


@kernel
def followers(policy: PolicyArrays, n: int, work: Workspace) -> int:
    """Write those who may follow in a slate to ``work.leading``, best first, and return how many.

    Without spread limits the best few are enough; with them any may be needed, because better ones may be kept out.
    """
    if policy.spread.shape[0] == 0:
        return leaders(work.utility, n, work.leading)
    return ranked(work.utility, n, work.leading)


@inlined
def is_crowded(policy: PolicyArrays, fleet: FleetArrays, work: Workspace, slate: np.ndarray, n: int, c: int) -> bool:
    """Whether candidate ``c`` after the ``n`` of a slate breaks a spread limit; a missing value breaks none."""
    keys = fleet.columns.keys
    for d in range(policy.spread.shape[0]):
        column = policy.spread[d, 0]
        key = keys[work.slot[c], column]
        if key != np.uint64(MISSING_KEY):
            same = 0
            for s in range(n):
                same += keys[work.slot[slate[s]], column] == key
            if same >= policy.spread[d, 1]:
                return True
    return False


@kernel
def assemble(
    policy: PolicyArrays,
    fleet: FleetArrays,
    demand: float,
    first: int,
    others: np.ndarray,
    work: Workspace,
    slate: np.ndarray,
) -> tuple[int, int]:
    """Write a slate that covers the demand to ``slate``; return its length and how many candidates were kept out.

    The length is 0 where no slate covers it. Candidate ``first`` comes first, then ``others`` in their order, but for
    those that break a spread limit, until the free uplink covers the demand.
    """
    slate[0] = first
    length, kept_out = 1, 0
    if demand == 0.0:
        return length, kept_out
    left = demand - (fleet.capacity[work.slot[first]] - fleet.reserved[work.slot[first]])
    for c in others:
        if left <= 0.0 or length == slate.size:
            break
        if c == first:
            continue
        if is_crowded(policy, fleet, work, slate, length, c):
            kept_out += 1
            continue
        slate[length] = c
        length += 1
        left -= fleet.capacity[work.slot[c]] - fleet.reserved[work.slot[c]]
    return (length if left <= 0.0 else 0), kept_out


@kernel
def alternatives(n: int, length: int, work: Workspace) -> int:
    """Write the best of ``n`` candidates that could begin a slate and are not in it to ``work.spare``; return how many.

    Overwrites ``work.chance``, which the draw has no more use for.
    """
    for c in range(n):
        work.chance[c] = work.utility[c] if work.able[c] else -np.inf
    for s in range(length):
        work.chance[work.slate[s]] = -np.inf
    return leaders(work.chance, n, work.spare)

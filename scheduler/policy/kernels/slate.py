"""Assemble a slate from candidates with utilities, and find its alternatives."""

from __future__ import annotations

import numpy as np

from scheduler.columns.arrays import MISSING_KEY
from scheduler.policy.arrays import CandidateArrays, PolicyArrays
from scheduler.runtime.jit import inlined, kernel


@kernel
def leaders(utility: np.ndarray, n: int, out: np.ndarray) -> int:
    """Write the candidates with the largest of ``n`` utilities to ``out``, best first, and return how many.

    Equal utilities keep their order; -inf is left out.
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
    """Do what `leaders` does for all ``n`` candidates, in n log n steps (heapsort; Williams, CACM 1964)."""
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
    """Return whether candidate ``a`` comes after ``b`` if the best come first."""
    return utility[a] < utility[b] or (utility[a] == utility[b] and a > b)


@inlined
def sink(utility: np.ndarray, heap: np.ndarray, root: int, size: int) -> None:
    """Swap a heap's entry with its later child until no child is later. The latest entry is at the root."""
    while 2 * root + 1 < size:
        child = 2 * root + 1
        if child + 1 < size and is_later(utility, heap[child + 1], heap[child]):
            child += 1
        if not is_later(utility, heap[child], heap[root]):
            return
        heap[root], heap[child] = heap[child], heap[root]
        root = child


@kernel
def followers(policy: PolicyArrays, n: int, candidates: CandidateArrays) -> int:
    """Write the candidates that may follow in a slate to ``candidates.ranked``, best first, and return how many.

    Without spread limits the best few are enough. With limits any candidate may be needed, because better ones may be
    skipped.
    """
    if policy.spread.shape[0] == 0:
        return leaders(candidates.utility, n, candidates.ranked)
    return ranked(candidates.utility, n, candidates.ranked)


@inlined
def is_crowded(
    policy: PolicyArrays, keys: np.ndarray, candidates: CandidateArrays, slate: np.ndarray, n: int, c: int
) -> bool:
    """Return whether candidate ``c`` after ``n`` nodes of a slate breaks a spread limit; missing values break none."""
    for d in range(policy.spread.shape[0]):
        column = policy.spread[d, 0]
        key = keys[candidates.slot[c], column]
        if key != np.uint64(MISSING_KEY):
            same = 0
            for s in range(n):
                same += keys[candidates.slot[slate[s]], column] == key
            if same >= policy.spread[d, 1]:
                return True
    return False


@kernel
def assemble(
    policy: PolicyArrays,
    keys: np.ndarray,
    demand: float,
    first: int,
    others: np.ndarray,
    candidates: CandidateArrays,
    slate: np.ndarray,
) -> tuple[int, int]:
    """Write a slate that covers the demand to ``slate``; return its length and how many candidates were skipped.

    The length is 0 if no slate covers the demand. Candidate ``first`` comes first. Then ``others`` follow in their
    order until the free uplink covers the demand; those that break a spread limit are skipped.
    """
    slate[0] = first
    length, kept_out = 1, 0
    if demand == 0.0:
        return length, kept_out
    left = demand - candidates.free[first]
    for c in others:
        if left <= 0.0 or length == slate.size:
            break
        if c == first:
            continue
        if is_crowded(policy, keys, candidates, slate, length, c):
            kept_out += 1
            continue
        slate[length] = c
        length += 1
        left -= candidates.free[c]
    return (length if left <= 0.0 else 0), kept_out


@kernel
def find_alternatives(n: int, length: int, candidates: CandidateArrays) -> int:
    """Write the best of ``n`` feasible candidates outside the slate to ``alternatives``; return how many."""
    spare = candidates.spare_utility
    for c in range(n):
        spare[c] = candidates.utility[c] if candidates.feasible[c] else -np.inf
    for s in range(length):
        spare[candidates.slate[s]] = -np.inf
    return leaders(spare, n, candidates.alternatives)

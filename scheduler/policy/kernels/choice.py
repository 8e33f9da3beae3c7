"""Choose a slate from candidates with utilities: the same for a decision that is made and for one that is replayed."""

from __future__ import annotations

import numpy as np

from scheduler.decisions.arrays import (
    BEST,
    DROP_SPREAD,
    EXPLORED,
    ORIGIN_ALL_DROPPED,
    ORIGIN_NO_CANDIDATES,
    ORIGIN_NO_UPLINK,
    DecisionArrays,
)
from scheduler.policy.arrays import CandidateArrays, PolicyArrays
from scheduler.policy.kernels.exploration import draw
from scheduler.policy.kernels.slate import assemble, find_alternatives, followers
from scheduler.runtime.jit import inlined
from scheduler.runtime.prefetch import copy_row


@inlined
def write_score(candidates: CandidateArrays, c: int, out: DecisionArrays, i: int, s: int) -> None:
    """Write candidate ``c`` to place ``s`` of decision ``i``."""
    out.position[i, s] = candidates.position[c]
    out.utility[i, s] = candidates.utility[c]
    copy_row(out.values[i], s, candidates.values, c)


@inlined
def find_feasible(
    policy: PolicyArrays, keys: np.ndarray, n: int, demand: float, others: np.ndarray, candidates: CandidateArrays
) -> None:
    """Write for each candidate whether a slate that begins with it covers the demand."""
    for c in range(n):
        # Most cover the demand alone: with a call for each of 256 this loop took 5 us.
        alone = demand == 0.0 or candidates.free[c] >= demand
        covers = alone or assemble(policy, keys, demand, c, others, candidates, candidates.slate)[0] > 0
        candidates.feasible[c] = covers


@inlined
def origin_reason(dropped: np.ndarray) -> int:
    """Return why a request without candidates goes to the origin."""
    for d in range(dropped.size):
        if dropped[d] > 0:
            return ORIGIN_ALL_DROPPED
    return ORIGIN_NO_CANDIDATES


@inlined
def draw_slate(
    policy: PolicyArrays,
    keys: np.ndarray,
    n: int,
    demand: float,
    explores: bool,
    u: float,
    candidates: CandidateArrays,
    out: DecisionArrays,
    i: int,
) -> tuple[int, int]:
    """Draw a slate from ``n`` candidates; return its length and how many alternatives it has.

    It reads and changes nothing beyond its arguments: the same candidates and the same draw give the same slate.

    Parameters
    ----------
    keys
        (slots, n_keys) uint64, key columns of nodes, which spread limits read.
    demand
        kbit/s that the slate has to cover, 0 or more. If above 0, ``candidates.free`` is filled.
    explores
        Whether another candidate than the best may be drawn.
    u
        In [0, 1), draws the first node.
    out
        Reason, propensity, places and scores of decision ``i`` are written, and how many candidates a spread limit
        dropped. The decision is cleared before, and its other drops are counted.
    """
    if n == 0:
        out.reason[i] = origin_reason(out.dropped[i])
        return 0, 0
    slate = candidates.slate
    others = candidates.ranked[: followers(policy, n, candidates) if demand > 0.0 else 0]
    find_feasible(policy, keys, n, demand, others, candidates)
    pick, is_best = draw(policy, n, u, explores, candidates)
    out.reason[i] = ORIGIN_NO_UPLINK if pick < 0 else BEST if is_best else EXPLORED
    length = n_alternatives = 0
    if pick >= 0:
        out.propensity[i] = candidates.probability[pick]
    if pick >= 0 or others.size > 0:
        first = pick if pick >= 0 else others[0]
        length, out.dropped[i, DROP_SPREAD] = assemble(policy, keys, demand, first, others, candidates, slate)
    for s in range(length):
        write_score(candidates, slate[s], out, i, s)
    if length > 0 and candidates.alternatives.size > 0:
        n_alternatives = find_alternatives(n, length, candidates)
        for a in range(n_alternatives):
            write_score(candidates, candidates.alternatives[a], out, i, slate.size + a)
    return length, n_alternatives

"""Count decisions by reason, drops by reason, and how long decisions took."""

from __future__ import annotations

from scheduler.decisions.arrays import LEAST_LATENCY, N_LATENCIES, DecisionArrays, DecisionCounts
from scheduler.runtime.jit import inlined
from scheduler.runtime.monotonic import monotonic_ns


@inlined
def latency_bucket(nanoseconds: int) -> int:
    """Return the first bucket whose upper bound a latency does not exceed; see `LEAST_LATENCY`."""
    bucket, bound = 0, LEAST_LATENCY
    while nanoseconds > bound:
        if bucket == N_LATENCIES - 1 or nanoseconds <= bound + bound // 2:
            return bucket + 1
        bucket += 2
        bound *= 2
    return bucket


@inlined
def count_decision(counts: DecisionCounts, out: DecisionArrays, i: int, begun: int) -> int:
    """Count decision ``i``, which began at ``begun`` and ends now; return the time now. Call it under the mutex.

    Parameters
    ----------
    begun
        Of `monotonic_ns`.
    """
    ended = monotonic_ns()
    counts.reasons[out.reason[i]] += 1
    for d in range(out.dropped.shape[1]):
        counts.dropped[d] += out.dropped[i, d]
    counts.latencies[latency_bucket(ended - begun)] += 1
    counts.nanoseconds[0] += ended - begun
    return ended

"""Which decisions and candidates may be explored, and which candidates are the best."""

from __future__ import annotations

from scheduler.decisions.arrays import N_EXPLORED, DecisionLog
from scheduler.policy.arrays import CandidateArrays, PolicyArrays
from scheduler.runtime.jit import inlined


@inlined
def may_explore(policy: PolicyArrays, log: DecisionLog, number: int) -> bool:
    """Return whether the budget allows a decision for another candidate than the best. Call it under the mutex."""
    # Without a budget the result must not depend on the order in which threads finish.
    return policy.budget >= 1.0 or log.counters[N_EXPLORED] + 1 <= policy.budget * (number + 1)


@inlined
def is_open(policy: PolicyArrays, candidates: CandidateArrays, c: int, top: int) -> bool:
    """Return whether candidate ``c`` is feasible and at most ``max_utility_loss`` below the best."""
    return candidates.feasible[c] and not candidates.utility[top] - candidates.utility[c] > policy.max_utility_loss


@inlined
def is_best(candidates: CandidateArrays, c: int, top: int) -> bool:
    """Whether candidate ``c`` is feasible and has the best one's utility."""
    return candidates.feasible[c] and candidates.utility[c] == candidates.utility[top]


@inlined
def share_among_best(n: int, top: int, share: float, candidates: CandidateArrays) -> None:
    """Give the best candidates a probability in equal parts, on top of what they have: equals share requests."""
    n_best = 0
    for c in range(n):
        n_best += is_best(candidates, c, top)
    for c in range(n):
        if is_best(candidates, c, top):
            candidates.probability[c] += share / n_best

"""Whether a decision, and a candidate, may be explored."""

from __future__ import annotations

from scheduler.decisions.arrays import N_EXPLORED, DecisionLog
from scheduler.policy.arrays import CandidateArrays, PolicyArrays
from scheduler.runtime.jit import inlined


@inlined
def may_explore(policy: PolicyArrays, log: DecisionLog, decision: int) -> bool:
    """Whether the budget allows a decision that is not for the best candidate; call it under the mutex."""
    # Without a budget the result must not depend on the order in which threads finish.
    return policy.budget >= 1.0 or log.counters[N_EXPLORED] + 1 <= policy.budget * (decision + 1)


@inlined
def is_open(policy: PolicyArrays, candidates: CandidateArrays, c: int, top: int) -> bool:
    """Whether candidate ``c`` is feasible and loses at most ``max_utility_loss`` against the best."""
    return candidates.feasible[c] and not candidates.utility[top] - candidates.utility[c] > policy.max_utility_loss

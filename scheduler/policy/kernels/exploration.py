"""Draw the first node of a slate: the best candidate, or another one to learn from, each with an exact probability."""

from __future__ import annotations

import numpy as np

from scheduler.policy.arrays import (
    EXPLORE_EPSILON,
    EXPLORE_INVERSE_GAP,
    EXPLORE_SOFTMAX,
    EXPLORE_THOMPSON,
    EXPLORE_UCB,
    CandidateArrays,
    PolicyArrays,
)
from scheduler.policy.kernels.guard import is_open
from scheduler.policy.kernels.thompson import thompson_probabilities
from scheduler.runtime.jit import kernel


@kernel
def draw(policy: PolicyArrays, n: int, u: float, explores: bool, candidates: CandidateArrays) -> tuple[int, int]:
    """Draw a candidate with ``u`` in [0, 1); return it and the best one, and write every candidate's probability.

    Only feasible candidates are drawn; returns -1 and -1 if there are none. Unless the decision ``explores``, the best
    candidate is drawn.
    """
    top = -1
    for c in range(n):
        if candidates.feasible[c] and (top < 0 or candidates.utility[c] > candidates.utility[top]):
            top = c
    if top < 0:
        return -1, -1
    probability = candidates.probability
    if not explores:
        for c in range(n):
            probability[c] = 1.0 if c == top else 0.0
        return top, top
    if policy.explore == EXPLORE_THOMPSON:
        thompson_probabilities(policy, n, top, candidates)
    else:
        rule_probabilities(policy, n, top, candidates)
    reserve_for_newcomers(policy, n, top, candidates)
    for c in range(n):
        u -= probability[c]
        if u < 0.0:
            return c, top
    return top, top  # rounding left a sliver of u


@kernel
def rule_probabilities(policy: PolicyArrays, n: int, top: int, candidates: CandidateArrays) -> None:
    """Write each candidate's probability by the policy's rule of exploration; they sum to 1."""
    utility, uncertainty = candidates.utility, candidates.uncertainty
    probability = candidates.probability
    n_open, lead = 0, top
    for c in range(n):
        if is_open(policy, candidates, c, top):
            n_open += 1
            if policy.explore == EXPLORE_UCB:
                is_ahead = utility[c] + uncertainty[c] > utility[lead] + uncertainty[lead]
                lead = c if is_ahead else lead
    total = 0.0
    for c in range(n):
        gap = utility[top] - utility[c]
        if not is_open(policy, candidates, c, top):
            probability[c] = 0.0
        elif policy.explore == EXPLORE_SOFTMAX:
            probability[c] = np.exp(-gap / policy.temperature) if gap > 0.0 else 1.0
        elif policy.explore == EXPLORE_EPSILON:
            probability[c] = policy.epsilon / n_open + (1.0 - policy.epsilon if c == top else 0.0)
        elif policy.explore == EXPLORE_INVERSE_GAP:
            # Foster & Rakhlin (ICML 2020); the best takes what the others leave.
            share = 1.0 / (n_open + gap / policy.temperature) if gap > 0.0 else 1.0 / n_open
            probability[c] = share if c != top else 0.0
        else:
            probability[c] = 1.0 if c == lead else 0.0
        total += probability[c]
    if policy.explore == EXPLORE_INVERSE_GAP:
        probability[top], total = 1.0 - total, 1.0
    for c in range(n):
        probability[c] /= total


@kernel
def reserve_for_newcomers(policy: PolicyArrays, n: int, top: int, candidates: CandidateArrays) -> None:
    """Give the newcomers' share of all probability to candidates with too few known outcomes, in equal parts."""
    if policy.newcomer_key < 0:
        return
    n_new = 0
    for c in range(n):
        n_new += candidates.is_new[c] and is_open(policy, candidates, c, top)
    if n_new == 0:
        return
    for c in range(n):
        candidates.probability[c] *= 1.0 - policy.newcomer_share
        if candidates.is_new[c] and is_open(policy, candidates, c, top):
            candidates.probability[c] += policy.newcomer_share / n_new

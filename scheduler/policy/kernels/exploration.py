"""Draw the first node of a slate, the best candidate or another one to learn about, with an exact probability."""

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
from scheduler.policy.kernels.guard import is_best, is_open, share_among_best
from scheduler.policy.kernels.thompson import thompson_probabilities
from scheduler.runtime.jit import kernel


@kernel
def draw(policy: PolicyArrays, n: int, u: float, explores: bool, candidates: CandidateArrays) -> tuple[int, bool]:
    """Draw a candidate with ``u`` in [0, 1); return it and whether it is a best one; write every probability.

    Only feasible candidates are drawn; returns -1 if there are none. Unless the decision ``explores``, a best candidate
    is drawn.
    """
    top = -1
    for c in range(n):
        candidates.probability[c] = 0.0
        if candidates.feasible[c] and (top < 0 or candidates.utility[c] > candidates.utility[top]):
            top = c
    if top < 0:
        return -1, False
    if explores:
        write_probabilities(policy, n, top, candidates)
    else:
        share_among_best(n, top, 1.0, candidates)
    pick = -1
    for c in range(n):
        if candidates.probability[c] > 0.0:  # the last one also gets what rounding leaves of u
            pick = c
            u -= candidates.probability[c]
            if u < 0.0:
                break
    return pick, is_best(candidates, pick, top)


@kernel
def write_probabilities(policy: PolicyArrays, n: int, top: int, candidates: CandidateArrays) -> None:
    """Write each candidate's probability by the policy's rule, from zeros; they sum to 1."""
    if policy.explore == EXPLORE_THOMPSON:
        thompson_probabilities(policy, n, top, candidates)
    elif policy.explore == EXPLORE_UCB:
        ucb_probabilities(policy, n, top, candidates)
    else:
        rule_probabilities(policy, n, top, candidates)
    reserve_for_newcomers(policy, n, top, candidates)


@kernel
def rule_probabilities(policy: PolicyArrays, n: int, top: int, candidates: CandidateArrays) -> None:
    """Write each candidate's probability by softmax, epsilon-greedy, inverse gap weighting or no exploration."""
    utility, probability = candidates.utility, candidates.probability
    n_open, total = 0, 0.0
    for c in range(n):
        n_open += is_open(policy, candidates, c, top)
    for c in range(n):
        if not is_open(policy, candidates, c, top):
            continue
        gap = utility[top] - utility[c]
        if policy.explore == EXPLORE_SOFTMAX:
            probability[c] = np.exp(-gap / policy.temperature) if gap > 0.0 else 1.0
        elif policy.explore == EXPLORE_EPSILON:
            probability[c] = policy.epsilon / n_open
        elif policy.explore == EXPLORE_INVERSE_GAP and not is_best(candidates, c, top):
            # Foster & Rakhlin (ICML 2020); the best ones take what the others leave.
            probability[c] = 1.0 / (n_open + gap / policy.temperature) if gap > 0.0 else 1.0 / n_open
        total += probability[c]
    if policy.explore == EXPLORE_SOFTMAX:
        for c in range(n):
            probability[c] /= total
    else:
        share_among_best(n, top, 1.0 - total, candidates)


@kernel
def ucb_probabilities(policy: PolicyArrays, n: int, top: int, candidates: CandidateArrays) -> None:
    """Share all probability evenly among the candidates with the largest upper bound of the utility."""
    utility, uncertainty = candidates.utility, candidates.uncertainty
    bound, n_leads = utility[top] + uncertainty[top], 0
    for c in range(n):
        if is_open(policy, candidates, c, top):
            bound = max(bound, utility[c] + uncertainty[c])
    for c in range(n):
        n_leads += is_open(policy, candidates, c, top) and utility[c] + uncertainty[c] == bound
    for c in range(n):
        if is_open(policy, candidates, c, top) and utility[c] + uncertainty[c] == bound:
            candidates.probability[c] = 1.0 / n_leads


@kernel
def reserve_for_newcomers(policy: PolicyArrays, n: int, top: int, candidates: CandidateArrays) -> None:
    """Give ``newcomer_share`` of all probability to newcomers, in equal parts."""
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

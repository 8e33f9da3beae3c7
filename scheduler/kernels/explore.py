"""Which candidate is drawn: the best, or another one to learn from, each with an exact chance."""

from __future__ import annotations

import numpy as np

from scheduler.kernels.features import find_all
from scheduler.kernels.jit import inlined, kernel
from scheduler.layout import (
    EXPLORE_BONUS,
    EXPLORE_EPSILON,
    EXPLORE_INVERSE_GAP,
    EXPLORE_SOFTMAX,
    N_EXPLORED,
    DecisionLog,
    Entity,
    PolicyArrays,
    State,
    Workspace,
)


@kernel
def look_up(state: State, request: Entity, i: int, n: int, now: float, work: Workspace) -> None:
    """Write each candidate's bonus, and whether it is to be vetted, where the policy asks for either."""
    policy = state.policy
    if policy.known_by >= 0:
        count(state, policy.known_by, request, i, n, now, work, work.bonus)
        for c in range(n):
            work.bonus[c] = policy.width / np.sqrt(1.0 + work.bonus[c])
    if policy.vetted_by >= 0:
        count(state, policy.vetted_by, request, i, n, now, work, work.chance)
        for c in range(n):
            work.is_new[c] = work.chance[c] < policy.vetted


@kernel
def count(
    state: State, key: int, request: Entity, i: int, n: int, now: float, work: Workspace, out: np.ndarray
) -> None:
    """Write how many outcomes, faded, history holds under a key of the request and each candidate.

    Of the values of the history the one measured most often counts. Comes after `score`: what its features looked up is
    not looked up again.
    """
    history, policy = state.history, state.policy
    find_all(state.program, key, request, i, state.fleet.columns, work.slot[:n], history, work.pair)
    for c in range(n):
        slot, weight = work.pair.found[key, c], 0.0
        if slot >= 0:
            for at in policy.weights_at:
                weight = max(weight, np.float64(history.rows[slot, at]))
            weight *= np.exp2(-max(now - history.seen[slot], 0.0) * policy.fade)
        out[c] = weight


@inlined
def may_explore(policy: PolicyArrays, log: DecisionLog, decision: int) -> bool:
    """Whether the budget leaves room for a decision that is not for the best; under the mutex."""
    # Without a budget threads must not matter: ids are not chosen in order.
    return policy.budget >= 1.0 or log.counters[N_EXPLORED] + 1 <= policy.budget * (decision + 1)


@inlined
def is_open(policy: PolicyArrays, work: Workspace, c: int, top: int) -> bool:
    """Whether candidate ``c`` can begin a slate and is within the guard of the best."""
    return work.able[c] and not work.utility[top] - work.utility[c] > policy.guard


@kernel
def draw(policy: PolicyArrays, n: int, u: float, explores: bool, work: Workspace) -> tuple[int, int]:
    """Return the candidate drawn with ``u`` in [0, 1) and the best one, and write every candidate's chance.

    Only those that can begin a slate are drawn; -1 and -1 where none can. Unless it ``explores`` it is the best.
    """
    top = -1
    for c in range(n):
        if work.able[c] and (top < 0 or work.utility[c] > work.utility[top]):
            top = c
    if top < 0:
        return -1, -1
    chance = work.chance
    if not explores:
        for c in range(n):
            chance[c] = 1.0 if c == top else 0.0
        return top, top
    by_rule(policy, n, top, work)
    vet(policy, n, top, work)
    for c in range(n):
        u -= chance[c]
        if u < 0.0:
            return c, top
    return top, top  # rounding left a sliver of u


@kernel
def by_rule(policy: PolicyArrays, n: int, top: int, work: Workspace) -> None:
    """Write each candidate's chance by the policy's rule of exploration; they sum to 1."""
    chance = work.chance
    n_open, lead = 0, top
    for c in range(n):
        if is_open(policy, work, c, top):
            n_open += 1
            if policy.explore == EXPLORE_BONUS:
                is_ahead = work.utility[c] + work.bonus[c] > work.utility[lead] + work.bonus[lead]
                lead = c if is_ahead else lead
    total = 0.0
    for c in range(n):
        gap = work.utility[top] - work.utility[c]
        if not is_open(policy, work, c, top):
            chance[c] = 0.0
        elif policy.explore == EXPLORE_SOFTMAX:
            chance[c] = np.exp(-gap / policy.temperature) if gap > 0.0 else 1.0
        elif policy.explore == EXPLORE_EPSILON:
            chance[c] = policy.epsilon / n_open + (1.0 - policy.epsilon if c == top else 0.0)
        elif policy.explore == EXPLORE_INVERSE_GAP:
            # Foster & Rakhlin (ICML 2020); the best takes what the others leave.
            share = 1.0 / (n_open + gap / policy.temperature) if gap > 0.0 else 1.0 / n_open
            chance[c] = share if c != top else 0.0
        else:
            chance[c] = 1.0 if c == lead else 0.0
        total += chance[c]
    if policy.explore == EXPLORE_INVERSE_GAP:
        chance[top], total = 1.0 - total, 1.0
    for c in range(n):
        chance[c] /= total


@kernel
def vet(policy: PolicyArrays, n: int, top: int, work: Workspace) -> None:
    """Give the vetting share of all chances to candidates of which too little is known, each the same."""
    if policy.vetted_by < 0:
        return
    n_new = 0
    for c in range(n):
        n_new += work.is_new[c] and is_open(policy, work, c, top)
    if n_new == 0:
        return
    for c in range(n):
        work.chance[c] *= 1.0 - policy.vetting
        if work.is_new[c] and is_open(policy, work, c, top):
            work.chance[c] += policy.vetting / n_new

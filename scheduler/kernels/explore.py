"""Which candidate is drawn: the best, or another one to learn from, each with an exact chance."""

from __future__ import annotations

import math

import numpy as np

from scheduler.kernels.features import find_all
from scheduler.kernels.jit import inlined, kernel
from scheduler.layout import (
    EXPLORE_BONUS,
    EXPLORE_EPSILON,
    EXPLORE_INVERSE_GAP,
    EXPLORE_SOFTMAX,
    EXPLORE_THOMPSON,
    LINK_LOG,
    LINK_LOGISTIC,
    N_EXPLORED,
    DecisionLog,
    Entity,
    PolicyArrays,
    State,
    Workspace,
)

REACH = 5.0
"""Standard deviations of a difference beyond which a candidate has no chance in Thompson sampling: below 3e-7."""

CELLS = 32
"""Cells that the best of the draws is looked for in. Chances are within 0.004 of the integral where deviations differ
by a factor of up to 3, within 0.01 at 10 and 0.1 at 100; the error falls with the square of the cells. Draws follow the
chances as they come out, so that propensities have no error."""

LEAST_DEVIATION = 2.0**-10
"""Share of the widest contender's deviation that each has at least, so that nobody's is 0."""

MOST_DOUBT = 1e100
"""Far beyond any utility, and squares and sums of it are finite."""


@kernel
def look_up(state: State, request: Entity, i: int, p: int, n: int, now: float, work: Workspace) -> None:
    """Write each candidate's doubt, and whether it is to be vetted, where the policy asks for either.

    Weights are those of profile ``p``.
    """
    policy = state.policy
    if policy.known_by >= 0:
        count(state, policy.known_by, request, i, n, now, work, work.doubt)
        if policy.by_leaves:
            deviations(policy, p, n, work, work.chance)
        for c in range(n):
            whole = policy.width * (work.chance[c] if policy.by_leaves else 1.0)
            # What has no utility has no doubt either.
            work.doubt[c] = min(whole / np.sqrt(1.0 + work.doubt[c]), MOST_DOUBT) if whole >= 0.0 else 0.0
    if policy.vetted_by >= 0:
        count(state, policy.vetted_by, request, i, n, now, work, work.chance)
        for c in range(n):
            work.is_new[c] = work.chance[c] < policy.vetted


@kernel
def deviations(policy: PolicyArrays, p: int, n: int, work: Workspace, out: np.ndarray) -> None:
    """Write the standard error of each candidate's utility under weight profile ``p``.

    Heads err independently, and to first order (the delta method) through link, weight and chance of success.
    """
    calibration, known, n_heads = policy.calibration, policy.uncertainty, policy.given_ok.size
    for c in range(n):
        values = work.values[c]
        success = 1.0 - values[policy.failure] if policy.failure >= 0 else 1.0
        at_stake = 0.0
        for h in range(n_heads):
            at_stake += policy.weights[p, h] * values[h] if policy.given_ok[h] else 0.0
        total = 0.0
        for h in range(n_heads):
            step = policy.weights[p, h] * (success if policy.given_ok[h] else 1.0)
            if h == policy.failure:
                step -= at_stake
            step *= calibration[h, 2]
            if calibration[h, 0] == LINK_LOGISTIC:
                step *= values[h] * (1.0 - values[h])
            elif calibration[h, 0] == LINK_LOG:
                step *= values[h]
            total += step * step * known[h, 0] * np.float64(work.raw[c, n_heads + h]) ** known[h, 1]
        out[c] = np.sqrt(total)


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
    if policy.explore == EXPLORE_THOMPSON:
        by_greatest(policy, n, top, work)
    else:
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
                is_ahead = work.utility[c] + work.doubt[c] > work.utility[lead] + work.doubt[lead]
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
def by_greatest(policy: PolicyArrays, n: int, top: int, work: Workspace) -> None:
    """Write each candidate's chance to be the greatest of independent normals around the utilities; they sum to 1.

    That is Thompson sampling (Thompson, Biometrika 1933) with its chances known. F being the product of all
    distribution functions F_c, candidate c is the greatest with the chance of the integral of F over log F_c. In each
    of `CELLS` cells the growth of F is shared among the candidates in proportion to that of their log F_c, which is
    exact where these grow in proportion.
    """
    contenders, below, above = work.pair.keys, work.pair.x, work.pair.y
    m = contend(policy, n, top, work)
    if m == 1:
        return
    low, high = -np.inf, -np.inf
    for k in range(m):
        c = np.int64(contenders[k])
        low = max(low, work.utility[c] - REACH * work.doubt[c])
        high = max(high, work.utility[c] + REACH * work.doubt[c])
    total, reached = 0.0, 0.0
    for edge in range(CELLS + 1):
        at, level, growth = low + (high - low) * (edge / CELLS), 0.0, 0.0
        for k in range(m):
            c = np.int64(contenders[k])
            above[k] = log_below((at - work.utility[c]) / work.doubt[c])
            level += above[k]
            growth += above[k] - below[k] if edge > 0 else 0.0
        rate = (np.exp(level) - reached) / growth if growth > 0.0 else 0.0
        for k in range(m):
            work.chance[np.int64(contenders[k])] += rate * (above[k] - below[k]) if rate > 0.0 else 0.0
            below[k] = above[k]
        total += rate * growth
        reached = np.exp(level)
    if not total > 0.0:  # utilities so large that deviations are lost in them
        work.chance[top] = total = 1.0
    for k in range(m):
        work.chance[np.int64(contenders[k])] /= total


@kernel
def contend(policy: PolicyArrays, n: int, top: int, work: Workspace) -> int:
    """Note who can be the greatest, and return how many; where that is one, it has all the chance, else nobody has any.

    None of them is left without any doubt.
    """
    contenders, doubt, m, widest = work.pair.keys, work.doubt, 0, 0.0
    for c in range(n):
        work.chance[c] = 0.0
        reach = REACH * np.sqrt(doubt[top] ** 2 + doubt[c] ** 2)
        if c == top or (is_open(policy, work, c, top) and work.utility[top] - work.utility[c] <= reach):
            contenders[m] = c
            widest = max(widest, doubt[c])
            m += 1
    if m == 1 or not widest > 0.0:
        work.chance[top] = 1.0
        return 1
    for k in range(m):
        c = np.int64(contenders[k])
        doubt[c] = max(doubt[c], LEAST_DEVIATION * widest)
    return m


@inlined
def log_below(z: float) -> float:
    """Return the log of the chance that a standard normal variable is below ``z``, that of -37 for all less."""
    return np.log(0.5 * math.erfc(-max(z, -37.0) * math.sqrt(0.5)))


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

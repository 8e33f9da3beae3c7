"""Compute the utility of each candidate under a weight profile."""

from __future__ import annotations

import numpy as np

from scheduler.columns.arrays import ColumnArrays
from scheduler.fleet.arrays import FleetArrays
from scheduler.policy.arrays import CandidateArrays, PolicyArrays
from scheduler.runtime.jit import kernel


@kernel
def profile(policy: PolicyArrays, request: ColumnArrays, i: int) -> int:
    """Return the first weight profile whose conditions the request meets. The last profile has no conditions."""
    for p in range(policy.load.size - 1):
        met = True
        for w in range(policy.when_column.shape[1]):
            column = policy.when_column[p, w]
            if column >= 0 and request.keys[i, column] != policy.when_key[p, w]:
                met = False
        if met:
            return p
    return policy.load.size - 1


@kernel
def utilities(policy: PolicyArrays, fleet: FleetArrays, p: int, n: int, candidates: CandidateArrays) -> None:
    """Write the utility of the workspace's first ``n`` candidates under weight profile ``p``."""
    values, utility = candidates.values, candidates.utility
    for c in range(n):
        utility[c] = 0.0
    for h in range(policy.given_ok.size):
        weight = policy.weights[p, h]
        if policy.given_ok[h] and policy.failure >= 0:
            for c in range(n):
                utility[c] += weight * (1.0 - values[c, policy.failure]) * values[c, h]
        else:
            for c in range(n):
                utility[c] += weight * values[c, h]
    if policy.load[p] != 0.0:
        for c in range(n):
            slot = candidates.slot[c]
            utility[c] += policy.load[p] * fleet.reserved[slot] / max(fleet.capacity[slot], 1.0)
    if policy.price >= 0 and policy.price_weight[p] != 0.0:
        for c in range(n):
            utility[c] += policy.price_weight[p] * fleet.columns.values[candidates.slot[c], policy.price]
    for c in range(n):
        # NaN, such as from a missing price, compares false with everything and could win.
        if np.isnan(utility[c]):
            utility[c] = -np.inf

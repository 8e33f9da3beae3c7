"""Compute the utility of each candidate under a weight profile."""

from __future__ import annotations

import numpy as np

from scheduler.columns.arrays import ColumnArrays
from scheduler.fleet.arrays import FleetArrays
from scheduler.policy.arrays import CandidateArrays, PolicyArrays
from scheduler.runtime.jit import inlined, kernel


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


@inlined
def weighs_load(policy: PolicyArrays, p: int) -> bool:
    """Return whether the utility under weight profile ``p`` depends on a node's load."""
    return policy.load[p] != 0.0


@inlined
def weighs_price(policy: PolicyArrays, p: int) -> bool:
    """Return whether the utility under weight profile ``p`` depends on a node's price."""
    return policy.price >= 0 and policy.price_weight[p] != 0.0


@kernel
def read_nodes(
    policy: PolicyArrays, fleet: FleetArrays, p: int, n: int, every: bool, candidates: CandidateArrays
) -> None:
    """Write what the utility reads of the first ``n`` candidates' nodes: capacity, load and price.

    Other threads reserve uplink meanwhile: what is read once here is what the utility saw. With ``every``, load and
    capacity are read even if the utility does not depend on them.
    """
    if every or weighs_load(policy, p):
        for c in range(n):
            slot = candidates.slot[c]
            candidates.load[c] = fleet.reserved[slot]
            candidates.capacity[c] = fleet.capacity[slot]
    if weighs_price(policy, p):
        for c in range(n):
            candidates.price[c] = fleet.columns.values[candidates.slot[c], policy.price]


@kernel
def utilities(policy: PolicyArrays, p: int, n: int, candidates: CandidateArrays) -> None:
    """Write the utility of the first ``n`` candidates under weight profile ``p``; call `read_nodes` first."""
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
    if weighs_load(policy, p):
        for c in range(n):
            utility[c] += policy.load[p] * candidates.load[c] / max(candidates.capacity[c], 1.0)
    if weighs_price(policy, p):
        for c in range(n):
            utility[c] += policy.price_weight[p] * candidates.price[c]
    for c in range(n):
        # NaN, such as from a missing price, compares false with everything and could win.
        if np.isnan(utility[c]):
            utility[c] = -np.inf

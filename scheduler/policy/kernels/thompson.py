"""Compute the probabilities of Thompson sampling instead of drawing from the normals."""

from __future__ import annotations

import math

import numpy as np

from scheduler.policy.arrays import CandidateArrays, PolicyArrays
from scheduler.policy.kernels.guard import is_open, share_among_best
from scheduler.runtime.jit import inlined, kernel

REACH = 5.0
"""Standard deviations of the difference to the best beyond which a candidate is left out: its probability is below
3e-7."""

CELLS = 32
"""Cells of the integral. Probabilities are within 0.004 of the exact integral where standard errors differ by a factor
of up to 3, within 0.01 at 10 and 0.1 at 100; the error falls with the square of the number of cells. Draws use the
probabilities as computed, so propensities have no error."""

LEAST_DEVIATION = 2.0**-10
"""Smallest standard error of a contender, as a share of the largest one: none may be 0."""


@kernel
def thompson_probabilities(policy: PolicyArrays, n: int, top: int, candidates: CandidateArrays) -> None:
    """Write the probability that each candidate is the greatest of independent normals around the utilities.

    This is Thompson sampling (Thompson, Biometrika 1933) with known probabilities; they sum to 1. Let F be the product
    of all distribution functions F_c. Candidate c is the greatest with the probability of the integral of F over
    log F_c. In each of `CELLS` cells the growth of F is shared among the candidates in proportion to the growth of
    their log F_c. This is exact where the log F_c grow in proportion.
    """
    contenders, below, above = candidates.contenders, candidates.log_below, candidates.log_above
    m = find_contenders(policy, n, top, candidates)
    if m == 0:
        return
    low, high = -np.inf, -np.inf
    for k in range(m):
        c = contenders[k]
        low = max(low, candidates.utility[c] - REACH * candidates.uncertainty[c])
        high = max(high, candidates.utility[c] + REACH * candidates.uncertainty[c])
    total, reached = 0.0, 0.0
    for edge in range(CELLS + 1):
        at, level, growth = low + (high - low) * (edge / CELLS), 0.0, 0.0
        for k in range(m):
            c = contenders[k]
            above[k] = log_normal_cdf((at - candidates.utility[c]) / candidates.uncertainty[c])
            level += above[k]
            growth += above[k] - below[k] if edge > 0 else 0.0
        rate = (np.exp(level) - reached) / growth if growth > 0.0 else 0.0
        for k in range(m):
            candidates.probability[contenders[k]] += rate * (above[k] - below[k]) if rate > 0.0 else 0.0
            below[k] = above[k]
        total += rate * growth
        reached = np.exp(level)
    if not total > 0.0:  # the utilities are so large that adding a standard error does not change them
        share_among_best(n, top, 1.0, candidates)
        return
    for k in range(m):
        candidates.probability[contenders[k]] /= total


@kernel
def find_contenders(policy: PolicyArrays, n: int, top: int, candidates: CandidateArrays) -> int:
    """Write which candidates can be the greatest to ``contenders`` and return how many.

    Returns 0, and gives the best candidates all probability, where nothing is uncertain. Otherwise raises every
    contender's uncertainty to `LEAST_DEVIATION` of the largest.
    """
    contenders, uncertainty, utility = candidates.contenders, candidates.uncertainty, candidates.utility
    m, widest = 0, 0.0
    for c in range(n):
        reach = REACH * np.sqrt(uncertainty[top] ** 2 + uncertainty[c] ** 2)
        if c == top or (is_open(policy, candidates, c, top) and utility[top] - utility[c] <= reach):
            contenders[m] = c
            widest = max(widest, uncertainty[c])
            m += 1
    if m == 1 or not widest > 0.0:
        share_among_best(n, top, 1.0, candidates)
        return 0
    for k in range(m):
        c = contenders[k]
        uncertainty[c] = max(uncertainty[c], LEAST_DEVIATION * widest)
    return m


@inlined
def log_normal_cdf(z: float) -> float:
    """Return the log of the standard normal distribution function; below -37, its value at -37."""
    return np.log(0.5 * math.erfc(-max(z, -37.0) * math.sqrt(0.5)))

"""Estimate the uncertainty of each candidate's utility, and count its outcomes."""

from __future__ import annotations

import numpy as np

from scheduler.columns.arrays import ColumnArrays
from scheduler.features.arrays import FeatureProgram, PairWork
from scheduler.features.kernels.candidates import find_all
from scheduler.history.arrays import HistoryArrays
from scheduler.model.arrays import LINK_LOG, LINK_LOGISTIC
from scheduler.policy.arrays import CandidateArrays, PolicyArrays
from scheduler.runtime.jit import kernel

MAX_UNCERTAINTY = 1e100
"""Largest uncertainty: far above any utility, and its squares and sums are finite."""


@kernel
def count_outcomes(
    policy: PolicyArrays,
    program: FeatureProgram,
    history: HistoryArrays,
    request: ColumnArrays,
    i: int,
    nodes: ColumnArrays,
    n: int,
    now: float,
    pair: PairWork,
    candidates: CandidateArrays,
) -> None:
    """Write the decayed counts of each candidate's outcomes that the policy needs.

    Call it after scoring: it reuses the look-ups of the features.
    """
    slots = candidates.slot[:n]
    if policy.count_key >= 0:
        find_all(program, policy.count_key, request, i, nodes, slots, history, pair)
        outcome_counts(policy, history, pair.found[policy.count_key, :n], now, candidates.n_outcomes)
    if policy.newcomer_key >= 0:
        find_all(program, policy.newcomer_key, request, i, nodes, slots, history, pair)
        outcome_counts(policy, history, pair.found[policy.newcomer_key, :n], now, candidates.n_own_outcomes)


@kernel
def estimate_uncertainty(policy: PolicyArrays, p: int, n: int, candidates: CandidateArrays) -> None:
    """Write each candidate's uncertainty, and whether it is a newcomer, from the counts, if the policy needs them.

    Weights are those of profile ``p``.
    """
    if policy.count_key >= 0:
        if policy.by_leaves:
            standard_errors(policy, p, n, candidates)
        for c in range(n):
            scale = policy.uncertainty_scale * (candidates.standard_error[c] if policy.by_leaves else 1.0)
            # A candidate without a utility has a scale of NaN; its uncertainty is 0.
            known = min(scale / np.sqrt(1.0 + candidates.n_outcomes[c]), MAX_UNCERTAINTY) if scale >= 0.0 else 0.0
            candidates.uncertainty[c] = known
    if policy.newcomer_key >= 0:
        for c in range(n):
            candidates.is_new[c] = candidates.n_own_outcomes[c] < policy.newcomer_below


@kernel
def standard_errors(policy: PolicyArrays, p: int, n: int, candidates: CandidateArrays) -> None:
    """Write the standard error of each candidate's utility under weight profile ``p``, from the leaves' variances.

    Errors of heads are taken as independent. They pass through link, weight and probability of success to first order
    (the delta method).
    """
    calibration, known, n_heads = policy.calibration, policy.uncertainty, policy.given_ok.size
    for c in range(n):
        values = candidates.values[c]
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
            total += step * step * known[h, 0] * np.float64(candidates.raw[c, n_heads + h]) ** known[h, 1]
        candidates.standard_error[c] = np.sqrt(total)


@kernel
def outcome_counts(
    policy: PolicyArrays, history: HistoryArrays, found: np.ndarray, now: float, out: np.ndarray
) -> None:
    """Write the decayed count of outcomes in each history slot of ``found``; 0 for slot -1.

    Of the values that history tracks, the one measured most often counts.
    """
    for c in range(found.size):
        slot, weight = found[c], 0.0
        if slot >= 0:
            for at in policy.weights_at:
                weight = max(weight, np.float64(history.rows[slot, at]))
            weight *= np.exp2(-max(now - history.seen[slot], 0.0) * policy.fade)
        out[c] = weight

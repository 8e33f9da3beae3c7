"""The policy of a spec as numbers and arrays."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

(EXPLORE_NONE, EXPLORE_EPSILON, EXPLORE_SOFTMAX, EXPLORE_INVERSE_GAP, EXPLORE_UCB, EXPLORE_THOMPSON) = range(6)

EXPLORES: Final = ("none", "epsilon", "softmax", "inverse_gap", "ucb", "thompson")


class PolicyArrays(NamedTuple):
    """How head values turn into a choice.

    Attributes
    ----------
    calibration
        (n_heads, 3) float64: link, intercept and slope.
    offsets
        (n_heads, 8) float64: what raw scores start from, see `scheduler.model.offsets.offset_table`.
    uncertainty
        (n_heads, 2) float64: factor and power that turn a sum of leaf variances into the variance of a raw score.
    given_ok
        (n_heads,) bool: whether the value counts with the probability of success.
    failure
        Number of the head that predicts failure, -1 for none.
    weights, load, price_weight
        (n_profiles, n_heads), (n_profiles,), (n_profiles,) float64; the last profile is the default.
    when_column, when_key
        (n_profiles, n) int32 and uint64: key columns of the request and the values that they must equal; -1 past the
        last.
    price, demand
        Number columns of the node and of the request, -1 for none.
    explore, epsilon, temperature, uncertainty_scale
        The rule of exploration and its parameters.
    budget, max_utility_loss
        Largest share of decisions for another candidate than the best; largest loss of utility against the best.
    newcomer_share, newcomer_below
        Share of the draws for candidates with fewer outcomes than ``newcomer_below``.
    count_key, newcomer_key
        History keys under which outcomes are counted, for the uncertainty and for newcomers; -1 if not needed.
    by_leaves
        Whether the uncertainty is also computed from the variances of leaves.
    weights_at, fade
        (n_values,) int32, places in a history row of each value's weight with the longest half-life; 1 / that
        half-life in seconds.
    hold
        Seconds a reservation lasts.
    spread
        (n, 2) int32: key columns of nodes, and how many nodes with one value a slate may have.
    """

    calibration: NDArray[np.float64]
    offsets: NDArray[np.float64]
    uncertainty: NDArray[np.float64]
    given_ok: NDArray[np.bool_]
    failure: int
    weights: NDArray[np.float64]
    load: NDArray[np.float64]
    price_weight: NDArray[np.float64]
    when_column: NDArray[np.int32]
    when_key: NDArray[np.uint64]
    price: int
    demand: int
    explore: int
    epsilon: float
    temperature: float
    uncertainty_scale: float
    budget: float
    max_utility_loss: float
    newcomer_share: float
    newcomer_below: float
    count_key: int
    by_leaves: bool
    newcomer_key: int
    weights_at: NDArray[np.int32]
    fade: float
    hold: float
    spread: NDArray[np.int32]


class CandidateArrays(NamedTuple):
    """The candidates of one request, and the slate while it is built. Scratch memory of one thread.

    Attributes
    ----------
    position, slot
        (n,) int32: place in the caller's list, and slot in the fleet.
    row
        (n,) int32, where raw scores and pair features of the candidate stand: others before it may have been dropped.
    verdict
        (n_candidates,) uint8 by place in the caller's list: 0, or 1 + the code of the filter that dropped it.
    raw, values
        (n, n_heads) float32 raw scores and float64 calibrated values. If the policy needs variances of leaves, ``raw``
        is (n, 2 n_heads), with the variances after the scores.
    utility, uncertainty
        (n,) float64: the utility, and its uncertainty.
    standard_error
        (n,) float64, standard error of the utility by the leaves' variances, before outcomes are counted.
    n_outcomes, n_own_outcomes
        (n,) float64, decayed counts of the candidate's outcomes in history, for the uncertainty and for newcomers.
    capacity, load, price
        (n,) float64: uplink in kbit/s, how much of it was reserved when the utility was computed, and the price. Each
        is read once, and only where the policy needs it.
    free
        (n,) float64, kbit/s that are left when the slate is drawn, where the request has a demand.
    is_new
        (n,) bool: whether it has fewer outcomes than ``newcomer_below``.
    feasible
        (n,) bool: whether a slate that begins with the candidate covers the demand.
    probability
        (n,) float64, with which the candidate is drawn.
    spare_utility
        (n,) float64, utility of candidates that may be alternatives, -inf for the others.
    slate
        (max_nodes,) int32.
    ranked
        (max_nodes,), or (n,) with spread limits, int32, candidates best first.
    alternatives
        (n_alternatives,) int32, candidates best first.
    contenders
        (n,) int32, candidates that can be the greatest in Thompson sampling.
    log_below, log_above
        (n,) float64, log distribution function of each contender at the lower and upper edge of a cell.
    """

    position: NDArray[np.int32]
    slot: NDArray[np.int32]
    row: NDArray[np.int32]
    verdict: NDArray[np.uint8]
    raw: NDArray[np.float32]
    values: NDArray[np.float64]
    utility: NDArray[np.float64]
    uncertainty: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    n_outcomes: NDArray[np.float64]
    n_own_outcomes: NDArray[np.float64]
    capacity: NDArray[np.float64]
    load: NDArray[np.float64]
    price: NDArray[np.float64]
    free: NDArray[np.float64]
    is_new: NDArray[np.bool_]
    feasible: NDArray[np.bool_]
    probability: NDArray[np.float64]
    spare_utility: NDArray[np.float64]
    slate: NDArray[np.int32]
    ranked: NDArray[np.int32]
    alternatives: NDArray[np.int32]
    contenders: NDArray[np.int32]
    log_below: NDArray[np.float64]
    log_above: NDArray[np.float64]

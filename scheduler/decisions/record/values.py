"""Records as values: what is known of one decision."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.ids import Id


class FullRecord(NamedTuple):
    """All that a decision was made from, and what came out; for ``m`` candidates in the caller's or retrieval's order.

    Rows of dropped candidates hold NaN and False, except their keys. One that was dropped after it was scored keeps its
    scores.

    Attributes
    ----------
    id, time, arm
        The decision, when it was made, and the number of its arm in the segment.
    seed
        Of the scheduler's draws.
    explores
        Whether another candidate than the best might be drawn.
    draw
        In [0, 1), drew the first node.
    profile
        Number of the weight profile that the request met.
    demand
        kbit/s that the slate had to cover, 0 where the request asks for none.
    request_values, request_keys, x_request
        (width,) float64 and (n_keys,) uint64 columns of the request, and (n_request,) float32 features.
    nodes
        Ids of the candidates; None where a node left before its id was looked up.
    node_keys
        (m, n_node_keys) uint64, their key columns; column 0 is the id's.
    verdict
        (m,) uint8, `ADMITTED`, or 1 + the drop code of the filter that dropped the candidate; see `DROPS`.
    x_node, x_pair
        (m, n_node) and (m, n_pair) float32 features, in the order of ``program.node`` and ``program.pair``.
    raw, values
        (m, n_heads or 2 n_heads) float32 and (m, n_heads) float64; see `CandidateArrays`.
    utility, uncertainty
        (m,) float64; the uncertainty before the draw, which may raise it.
    n_outcomes, n_own_outcomes
        (m,) float64 decayed counts under the policy's count key and under its newcomer key; NaN where unused.
    is_new
        (m,) bool.
    capacity, load
        (m,) float64 kbit/s, and how much of it was reserved as the utility saw it.
    free
        (m,) float64 kbit/s that were left when the slate was drawn; NaN where the request has no demand.
    price
        (m,) float64; NaN where the utility does not depend on it.
    position
        (places,) int32 candidates of the slate and then of the alternatives, -1 past their ends.
    propensity, reason, dropped
        As in `DecisionArrays`.
    """

    id: int
    time: float
    arm: int
    seed: int
    explores: bool
    draw: float
    profile: int
    demand: float
    request_values: NDArray[np.float64]
    request_keys: NDArray[np.uint64]
    x_request: NDArray[np.float32]
    nodes: list[Id | str | None]
    node_keys: NDArray[np.uint64]
    verdict: NDArray[np.uint8]
    x_node: NDArray[np.float32]
    x_pair: NDArray[np.float32]
    raw: NDArray[np.float32]
    values: NDArray[np.float64]
    utility: NDArray[np.float64]
    uncertainty: NDArray[np.float64]
    n_outcomes: NDArray[np.float64]
    n_own_outcomes: NDArray[np.float64]
    is_new: NDArray[np.bool_]
    capacity: NDArray[np.float64]
    load: NDArray[np.float64]
    free: NDArray[np.float64]
    price: NDArray[np.float64]
    position: NDArray[np.int32]
    propensity: float
    reason: int
    dropped: NDArray[np.int32]

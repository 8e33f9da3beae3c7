"""Recorded decisions side by side, as kernels see them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.arrays import ColumnArrays
from scheduler.decisions.arrays import DecisionArrays
from scheduler.fleet.arrays import FleetArrays
from scheduler.forest.arrays import ForestWork
from scheduler.policy.arrays import CandidateArrays


class RecordedArrays(NamedTuple):
    """What n decisions of one arm were made from, and what came out; see `FullRecord`.

    The candidates of decision ``i`` are rows ``starts[i]`` to ``starts[i + 1]`` of the arrays by candidate, which are
    all those after ``x_request``.

    Attributes
    ----------
    starts
        (n + 1,) int64.
    id, seed
        (n,) int64.
    explores, demand
        (n,) bool and float64.
    draw, profile
        (n,) float64 and int32, which come out again.
    request
        (n, ...) rows.
    x_request
        (n, n_request) float32.
    """

    starts: NDArray[np.int64]
    id: NDArray[np.int64]
    seed: NDArray[np.int64]
    explores: NDArray[np.bool_]
    demand: NDArray[np.float64]
    draw: NDArray[np.float64]
    profile: NDArray[np.int32]
    request: ColumnArrays
    x_request: NDArray[np.float32]
    node_keys: NDArray[np.uint64]
    verdict: NDArray[np.uint8]
    x_node: NDArray[np.float32]
    x_pair: NDArray[np.float32]
    raw: NDArray[np.float32]
    values: NDArray[np.float64]
    utility: NDArray[np.float64]
    uncertainty: NDArray[np.float64]
    is_new: NDArray[np.bool_]
    n_outcomes: NDArray[np.float64]
    n_own_outcomes: NDArray[np.float64]
    capacity: NDArray[np.float64]
    load: NDArray[np.float64]
    free: NDArray[np.float64]
    price: NDArray[np.float64]


class ReplayedArrays(NamedTuple):
    """What comes out when decisions are made again.

    Attributes
    ----------
    draw, profile
        (n,) float64 and int32.
    raw, values, utility, uncertainty, is_new
        By candidate, as in `RecordedArrays`; NaN and False where a filter had dropped it.
    out
        The decisions.
    """

    draw: NDArray[np.float64]
    profile: NDArray[np.int32]
    raw: NDArray[np.float32]
    values: NDArray[np.float64]
    utility: NDArray[np.float64]
    uncertainty: NDArray[np.float64]
    is_new: NDArray[np.bool_]
    out: DecisionArrays


class ReplayWork(NamedTuple):
    """Scratch for one decision.

    Attributes
    ----------
    candidates
        Of the decision.
    x_pair
        (n, n_pair) float32.
    x
        (n,) float64.
    request_row, node_rows
        (words,) and (n, node_words) uint64.
    forest
        Scratch of the forest's own kernel.
    fleet
        An empty fleet, whose arrays stand where a kernel asks for some that it does not read.
    zeros
        (n,) float64.
    """

    candidates: CandidateArrays
    x_pair: NDArray[np.float32]
    x: NDArray[np.float64]
    request_row: NDArray[np.uint64]
    node_rows: NDArray[np.uint64]
    forest: ForestWork
    fleet: FleetArrays
    zeros: NDArray[np.float64]

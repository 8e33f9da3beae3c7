"""Compute features from a request, a node and history: the one definition of every model input.

Serving calls `fill` for an owner when that owner changes. Replay calls `fill_row` for each row.
"""

from __future__ import annotations

import math

import numpy as np

from scheduler.columns.arrays import MISSING_KEY, ColumnArrays
from scheduler.features.arrays import (
    OP_AGE,
    OP_CHANGE_POINT,
    OP_CLOCK,
    OP_COUNT,
    OP_DIFFERENCE,
    OP_DISTANCE,
    OP_EQUAL,
    OP_LAST,
    OP_LATENT_FACTORS,
    OP_MEAN,
    OP_NODE,
    OP_NODE_CATEGORY,
    OP_REQUEST,
    OP_REQUEST_CATEGORY,
    OP_SHRUNK_MEAN,
    OP_TRAINED_MEAN,
    FeatureProgram,
)
from scheduler.features.kernels import trained_means
from scheduler.features.kernels.history_keys import group_key, history_key, last_seen, model_key
from scheduler.features.kernels.shrinkage import drawn
from scheduler.history.arrays import MEAN, PART_CLIENT, PART_NODE, SQUARES, WEIGHT, HistoryArrays
from scheduler.history.change_point_arrays import CHANGE_POINT_FRESH
from scheduler.history.kernels import change_points, latent_factors
from scheduler.history.kernels.hash_table import find
from scheduler.runtime.great_circle import distance_km
from scheduler.runtime.jit import inlined, kernel


@inlined
def is_statistic(op: int) -> bool:
    """Return whether an operation reads one history entry."""
    return op >= OP_MEAN and op <= OP_AGE


@inlined
def statistic(program: FeatureProgram, f: int, history: HistoryArrays, slot: int, now: float) -> float:
    """Return statistic ``f`` of the entry in a slot; NaN if the slot is -1 or nothing was seen."""
    if slot < 0:
        return np.nan
    op = program.op[f]
    at = program.args[f, 1]
    if op == OP_LAST:
        return history.rows[slot, at] if history.rows[slot, program.args[f, 2]] > 0.0 else np.nan
    elapsed = max(now - history.seen[slot], 0.0)
    if op == OP_AGE:
        return elapsed
    weight = history.rows[slot, at + WEIGHT]
    if op == OP_COUNT:
        return weight * np.exp2(-elapsed * history.rates[program.args[f, 2]])
    if weight == 0.0:
        return np.nan
    if op == OP_MEAN:
        return history.rows[slot, at + MEAN]
    # Only OP_VARIANCE is left.
    return history.rows[slot, at + SQUARES] / weight


@inlined
def shrink(program: FeatureProgram, f: int, history: HistoryArrays, slot: int, now: float, coarse: float) -> float:
    """Return the mean of feature ``f`` in a slot, shrunk towards a coarser mean; the coarser mean if nothing was seen.

    Weights are decayed to now, so a mean without recent outcomes counts less.
    """
    if slot < 0:
        return coarse
    at = program.args[f, 1]
    weight, mean = np.float64(history.rows[slot, at + WEIGHT]), np.float64(history.rows[slot, at + MEAN])
    if weight == 0.0:
        return coarse
    weight *= np.exp2(-max(now - history.seen[slot], 0.0) * history.rates[program.args[f, 2]])
    return drawn(weight, mean, program.scale[f], coarse)


@inlined
def shrunk(
    program: FeatureProgram,
    f: int,
    request: ColumnArrays,
    i: int,
    node: ColumnArrays,
    j: int,
    history: HistoryArrays,
    now: float,
) -> float:
    """Return feature ``f``, a mean shrunk along its chain of keys."""
    chain = program.args[f, 0]
    x = np.nan
    for level in range(program.chains.shape[1] - 1, -1, -1):
        k = program.chains[chain, level]
        if k >= 0:
            x = shrink(program, f, history, find(history, history_key(program, k, request, i, node, j)), now, x)
    return x


@inlined
def trained(program: FeatureProgram, f: int, request: ColumnArrays, i: int, node: ColumnArrays, j: int) -> float:
    """Return feature ``f``, a mean of training shrunk along its chain of keys."""
    chain, at = program.args[f, 0], program.args[f, 1]
    x = np.nan
    for level in range(program.chains.shape[1] - 1, -1, -1):
        k = program.chains[chain, level]
        if k >= 0:
            slot = trained_means.find(program.trained, history_key(program, k, request, i, node, j))
            x = trained_means.shrink(program.trained, slot, at, program.scale[f], x)
    return x


@inlined
def factor(
    program: FeatureProgram,
    f: int,
    request: ColumnArrays,
    i: int,
    node: ColumnArrays,
    j: int,
    history: HistoryArrays,
    now: float,
) -> float:
    """Return feature ``f``, a part of latent factors; the client's bias reads nothing of the node."""
    m, which = program.args[f, 0], program.args[f, 1]
    left, right = -1, -1
    if which != PART_NODE:
        left = find(history.latent_factors, model_key(program, m, 0, request, i, node, j))
    if which != PART_CLIENT:
        right = find(history.latent_factors, model_key(program, m, 1, request, i, node, j))
    return latent_factors.part(history.latent_factors, m, which, left, right, now)


@inlined
def change_point(
    program: FeatureProgram,
    f: int,
    request: ColumnArrays,
    i: int,
    node: ColumnArrays,
    j: int,
    history: HistoryArrays,
    now: float,
) -> float:
    """Return feature ``f``, an estimate about the last change of a group."""
    g, which = program.args[f, 0], program.args[f, 1]
    seen = np.nan
    if which == CHANGE_POINT_FRESH:
        member = history_key(program, program.change_points[g, 2], request, i, node, j)
        seen = last_seen(history, find(history, member))
    slot = find(history.change_points, group_key(program, g, request, i, node, j))
    return change_points.part(history.change_points, g, which, slot, seen, now)


@inlined
def category_code(program: FeatureProgram, f: int, key: np.uint64) -> float:
    """Return the model's code of a category, NaN if the model does not know it; a binary search."""
    low, high = program.category_start[f], program.category_start[f + 1]
    last = high
    while low < high:
        middle = (low + high) // 2
        if program.category_keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return program.category_codes[low] if low < last and program.category_keys[low] == key else np.nan


@inlined
def plain(
    program: FeatureProgram, f: int, request: ColumnArrays, i: int, node: ColumnArrays, j: int, now: float
) -> float:
    """Return feature ``f`` of request ``i`` and node ``j``, for operations that read neither history nor its models."""
    op = program.op[f]
    a, b = program.args[f, 0], program.args[f, 1]
    if op == OP_REQUEST:
        return request.values[i, a]
    if op == OP_NODE:
        return node.values[j, b]
    if op == OP_REQUEST_CATEGORY:
        return category_code(program, f, request.keys[i, a])
    if op == OP_NODE_CATEGORY:
        return category_code(program, f, node.keys[j, b])
    if op == OP_CLOCK:
        turns = now * program.scale[f]
        return turns - math.floor(turns)
    if op == OP_EQUAL:
        left, right = request.keys[i, a], node.keys[j, b]
        if left == np.uint64(MISSING_KEY) or right == np.uint64(MISSING_KEY):
            return np.nan
        return 1.0 if left == right else 0.0
    if op == OP_DIFFERENCE:
        return abs(request.values[i, a] - node.values[j, b])
    c, d = program.args[f, 2], program.args[f, 3]
    if op == OP_DISTANCE:
        return distance_km(request.values[i, a], request.values[i, c], node.values[j, b], node.values[j, d])
    # Only OP_DOT is left.
    total = 0.0
    for n in range(c):
        total += request.values[i, a + n] * node.values[j, b + n]
    return total


@inlined
def fill(
    program: FeatureProgram,
    owned: np.ndarray,
    scatter: bool,
    request: ColumnArrays,
    i: int,
    node: ColumnArrays,
    j: int,
    history: HistoryArrays,
    now: float,
    out: np.ndarray,
) -> None:
    """Write the features of one owner for request ``i`` and node ``j``.

    Parameters
    ----------
    owned
        Which features: ``program.request``, ``program.node`` or ``program.pair``.
    scatter
        True to write feature ``f`` to ``out[f]`` (a whole row), false to write them side by side.
    out
        float32, changed in place.
    """
    key, slot = -1, -1
    for n in range(owned.size):
        f = owned[n]
        op = program.op[f]
        if is_statistic(op):
            if program.args[f, 0] != key:  # features of one history key are mostly neighbours
                key = program.args[f, 0]
                slot = find(history, history_key(program, key, request, i, node, j))
            x = statistic(program, f, history, slot, now)
        elif op == OP_SHRUNK_MEAN:
            x = shrunk(program, f, request, i, node, j, history, now)
        elif op == OP_TRAINED_MEAN:
            x = trained(program, f, request, i, node, j)
        elif op == OP_LATENT_FACTORS:
            x = factor(program, f, request, i, node, j, history, now)
        elif op == OP_CHANGE_POINT:
            x = change_point(program, f, request, i, node, j, history, now)
        else:
            x = plain(program, f, request, i, node, j, now)
        out[f if scatter else n] = x


@kernel
def fill_row(
    program: FeatureProgram,
    request: ColumnArrays,
    i: int,
    node: ColumnArrays,
    j: int,
    history: HistoryArrays,
    now: float,
    out: np.ndarray,
) -> None:
    """Write all features of request ``i`` and node ``j``, in feature order, to the row ``out``."""
    fill(program, program.every, True, request, i, node, j, history, now, out)


@kernel
def fill_candidates(
    program: FeatureProgram,
    request: ColumnArrays,
    node: ColumnArrays,
    slots: np.ndarray,
    history: HistoryArrays,
    now: float,
    out: np.ndarray,
) -> None:
    """Write whole rows of all candidates of all requests; padding stays as it is.

    Parameters
    ----------
    slots
        (n, n_candidates) int32 rows of ``node``, below 0 as padding.
    out
        (n, n_candidates, n_features) float32, changed in place.
    """
    for i in range(slots.shape[0]):
        for c in range(slots.shape[1]):
            if slots[i, c] >= 0:
                fill_row(program, request, i, node, slots[i, c], history, now, out[i, c])

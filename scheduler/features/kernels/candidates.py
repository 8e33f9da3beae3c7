"""Compute the pair features of all candidates of a request, one feature after another."""

from __future__ import annotations

import numpy as np

from scheduler.columns.arrays import MISSING_KEY, ColumnArrays
from scheduler.features.arrays import (
    OP_AGE,
    OP_CHANGE_POINT,
    OP_COUNT,
    OP_DISTANCE,
    OP_LAST,
    OP_LATENT_FACTORS,
    OP_MEAN,
    OP_SHRUNK_MEAN,
    OP_TRAINED_MEAN,
    OP_VARIANCE,
    FeatureProgram,
    PairWork,
)
from scheduler.features.kernels import trained_means
from scheduler.features.kernels.history_keys import group_key, history_key, last_seen, model_key
from scheduler.features.kernels.operations import is_statistic, plain, shrink
from scheduler.history.arrays import MEAN, SQUARES, WEIGHT, HistoryArrays, LatentFactorArrays
from scheduler.history.change_point_arrays import CHANGE_POINT_FRESH
from scheduler.history.kernels import change_points, latent_factors
from scheduler.history.kernels.hash_table import find, prefetch_bucket
from scheduler.runtime.great_circle import distance_km
from scheduler.runtime.jit import kernel
from scheduler.runtime.prefetch import prefetch, prefetch_row


@kernel
def fill_pairs(
    program: FeatureProgram,
    request: ColumnArrays,
    i: int,
    node: ColumnArrays,
    slots: np.ndarray,
    history: HistoryArrays,
    now: float,
    work: PairWork,
    out: np.ndarray,
) -> None:
    """Write the pair features of request ``i`` and many nodes, feature by feature; `fill` does the same node by node.

    Parameters
    ----------
    slots
        (n,) int32 rows of ``node``.
    work
        Scratch for at least ``n`` candidates.
    out
        (n, n_pair) float32, changed in place.
    """
    for k in range(work.sought.size):
        work.sought[k] = False
    for p in range(program.pair.size):
        f = program.pair[p]
        op = program.op[f]
        if is_statistic(op):
            k = program.args[f, 0]
            find_all(program, k, request, i, node, slots, history, work)
            _statistics(program, f, history, work.found[k, : slots.size], now, work)
        elif op == OP_SHRUNK_MEAN:
            _shrink_all(program, f, request, i, node, slots, history, now, work)
        elif op == OP_TRAINED_MEAN:
            _trained(program, f, request, i, node, slots, work)
        elif op == OP_LATENT_FACTORS:
            _factors(program, f, request, i, node, slots, history, now, work)
        elif op == OP_CHANGE_POINT:
            _change_points(program, f, request, i, node, slots, history, now, work)
        elif op == OP_DISTANCE:
            _distances(program, f, request, i, node, slots, work)
        else:
            for c in range(slots.size):
                work.x[c] = plain(program, f, request, i, node, slots[c], now)
        for c in range(slots.size):
            out[c, p] = work.x[c]


@kernel
def _statistics(
    program: FeatureProgram, f: int, history: HistoryArrays, found: np.ndarray, now: float, work: PairWork
) -> None:
    """Write statistic ``f`` of many entries to ``work.x``, as vectors; `statistic` does the same for one entry."""
    op, at, other = program.op[f], program.args[f, 1], program.args[f, 2]
    x, y = work.x[: found.size], work.y[: found.size]
    if op in (OP_AGE, OP_COUNT):
        for c in range(found.size):
            x[c] = max(now - history.seen[found[c]], 0.0) if found[c] >= 0 else np.nan
        if op == OP_COUNT:
            for c in range(found.size):
                weight = history.rows[found[c], at + WEIGHT] if found[c] >= 0 else np.nan
                x[c] = weight * np.exp2(-x[c] * history.rates[other])
        return
    second = at
    if op != OP_LAST:
        second = at + MEAN if op == OP_MEAN else at + SQUARES
    first = other if op == OP_LAST else at + WEIGHT
    for c in range(found.size):
        slot = found[c]
        x[c] = history.rows[slot, first] if slot >= 0 else 0.0
        y[c] = history.rows[slot, second] if slot >= 0 else 0.0
    for c in range(found.size):
        value = y[c] / x[c] if op == OP_VARIANCE else y[c]
        x[c] = value if x[c] != 0.0 else np.nan


@kernel
def find_all(
    program: FeatureProgram,
    k: int,
    request: ColumnArrays,
    i: int,
    node: ColumnArrays,
    slots: np.ndarray,
    history: HistoryArrays,
    work: PairWork,
) -> None:
    """Look up history key ``k`` of many nodes, once per request: prefetch all buckets first, then all rows."""
    if work.sought[k]:
        return
    work.sought[k] = True
    for c in range(slots.size):
        work.keys[c] = history_key(program, k, request, i, node, slots[c])
    _look_up(history, slots.size, work, k)


@kernel
def _look_up(table: HistoryArrays | LatentFactorArrays, n: int, work: PairWork, at: int) -> None:
    """Write the slots of the first ``n`` keys in ``work`` to row ``at`` of ``work.found``, and prefetch their rows."""
    for c in range(n):
        prefetch_bucket(table, work.keys[c])
    for c in range(n):
        work.found[at, c] = find(table, work.keys[c])
        if work.found[at, c] >= 0:
            prefetch_row(table.rows, work.found[at, c])


@kernel
def _shrink_all(
    program: FeatureProgram,
    f: int,
    request: ColumnArrays,
    i: int,
    node: ColumnArrays,
    slots: np.ndarray,
    history: HistoryArrays,
    now: float,
    work: PairWork,
) -> None:
    """Write feature ``f`` of many nodes, a mean shrunk along its chain of keys, to ``work.x``."""
    for c in range(slots.size):
        work.x[c] = np.nan
    for level in range(program.chains.shape[1] - 1, -1, -1):
        k = program.chains[program.args[f, 0], level]
        if k >= 0:
            find_all(program, k, request, i, node, slots, history, work)
            for c in range(slots.size):
                work.x[c] = shrink(program, f, history, work.found[k, c], now, work.x[c])


@kernel
def _trained(
    program: FeatureProgram,
    f: int,
    request: ColumnArrays,
    i: int,
    node: ColumnArrays,
    slots: np.ndarray,
    work: PairWork,
) -> None:
    """Write feature ``f`` of many nodes, a mean of training shrunk along its chain of keys, to ``work.x``."""
    means, found = program.trained, work.found[work.found.shape[0] - 1]
    for c in range(slots.size):
        work.x[c] = np.nan
    for level in range(program.chains.shape[1] - 1, -1, -1):
        k = program.chains[program.args[f, 0], level]
        if k < 0:
            continue
        for c in range(slots.size):
            work.keys[c] = history_key(program, k, request, i, node, slots[c])
            prefetch(means.keys, trained_means.first_slot(means, work.keys[c]))
        for c in range(slots.size):
            found[c] = trained_means.find(means, work.keys[c])
            if found[c] >= 0:
                prefetch(means.rows, found[c])
        for c in range(slots.size):
            work.x[c] = trained_means.shrink(means, found[c], program.args[f, 1], program.scale[f], work.x[c])


@kernel
def _factors(
    program: FeatureProgram,
    f: int,
    request: ColumnArrays,
    i: int,
    node: ColumnArrays,
    slots: np.ndarray,
    history: HistoryArrays,
    now: float,
    work: PairWork,
) -> None:
    """Write feature ``f`` of many nodes, a part of latent factors, to ``work.x``."""
    m, which = program.args[f, 0], program.args[f, 1]
    client = find(history.latent_factors, model_key(program, m, 0, request, i, node, 0))
    at = program.n_parts.size + m  # row of `work.found` for the model's nodes
    if not work.sought[at]:
        work.sought[at] = True
        for c in range(slots.size):
            work.keys[c] = model_key(program, m, 1, request, i, node, slots[c])
        _look_up(history.latent_factors, slots.size, work, at)
    for c in range(slots.size):
        work.x[c] = latent_factors.part(history.latent_factors, m, which, client, work.found[at, c], now)


@kernel
def _change_points(
    program: FeatureProgram,
    f: int,
    request: ColumnArrays,
    i: int,
    node: ColumnArrays,
    slots: np.ndarray,
    history: HistoryArrays,
    now: float,
    work: PairWork,
) -> None:
    """Write change-point feature ``f`` of many nodes to ``work.x``; look up a group once if neighbours share it."""
    g, which = program.args[f, 0], program.args[f, 1]
    if which == CHANGE_POINT_FRESH:
        find_all(program, program.change_points[g, 2], request, i, node, slots, history, work)
    known, slot = np.uint64(MISSING_KEY), -1
    for c in range(slots.size):
        key = group_key(program, g, request, i, node, slots[c])
        if key != known:
            known, slot = key, find(history.change_points, key)
        seen = last_seen(history, work.found[program.change_points[g, 2], c]) if which == CHANGE_POINT_FRESH else np.nan
        work.x[c] = change_points.part(history.change_points, g, which, slot, seen, now)


@kernel
def _distances(
    program: FeatureProgram,
    f: int,
    request: ColumnArrays,
    i: int,
    node: ColumnArrays,
    slots: np.ndarray,
    work: PairWork,
) -> None:
    """Write distance feature ``f`` of many nodes to ``work.x``; gather coordinates first, so the rest is vectors."""
    a, b, c, d = program.args[f, 0], program.args[f, 1], program.args[f, 2], program.args[f, 3]
    lat, lon = request.values[i, a], request.values[i, c]
    for n in range(slots.size):
        work.x[n] = node.values[slots[n], b]
        work.y[n] = node.values[slots[n], d]
    for n in range(slots.size):
        work.x[n] = distance_km(lat, lon, work.x[n], work.y[n])

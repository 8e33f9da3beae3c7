"""The one definition of every model input: fills feature rows from a request, a node and history.

Serving calls `fill` for an owner when that owner changes; replay calls `fill_row` for each row.
"""

from __future__ import annotations

import math

import numpy as np

from scheduler.kernels import factors, regimes
from scheduler.kernels.history import find, mix, prefetch_bucket, prefetch_entry, update
from scheduler.kernels.jit import inlined, kernel
from scheduler.kernels.memory import prefetch_row
from scheduler.kernels.sphere import distance_km
from scheduler.layout import (
    MISSING_KEY,
    OP_AGE,
    OP_CLOCK,
    OP_COUNT,
    OP_DIFFERENCE,
    OP_DISTANCE,
    OP_EQUAL,
    OP_FACTORS,
    OP_LAST,
    OP_MEAN,
    OP_NODE,
    OP_REGIME,
    OP_REQUEST,
    OP_SHRUNK,
    OP_VARIANCE,
    PART_CLIENT,
    PART_NODE,
    TIME_FLOATS,
    Entity,
    FactorArrays,
    FeatureProgram,
    HistoryArrays,
    PairWork,
)
from scheduler.regime_layout import REGIME_FRESH


@inlined
def history_key(program: FeatureProgram, k: int, request: Entity, i: int, node: Entity, j: int) -> np.uint64:
    """Return history key ``k`` of request ``i`` and node ``j``; `MISSING_KEY` where any part is null."""
    # Starting from the key's own number keeps equal parts of different keys apart.
    key = np.uint64(k + 1)
    for p in range(program.n_parts[k]):
        column = program.parts[k, p]
        part = node.keys[j, column] if program.part_side[k, p] else request.keys[i, column]
        if part == np.uint64(MISSING_KEY):
            return np.uint64(MISSING_KEY)
        key = mix(key, part)
    return key if key != np.uint64(MISSING_KEY) else np.uint64(1)


@inlined
def is_statistic(op: int) -> bool:
    """Return whether an operation reads one history entry."""
    return op >= OP_MEAN and op <= OP_AGE


@inlined
def statistic(program: FeatureProgram, f: int, history: HistoryArrays, slot: int, now: float) -> float:
    """Return statistic ``f`` of the entry in a slot; NaN where the slot is -1 or nothing was seen."""
    if slot < 0:
        return np.nan
    op = program.op[f]
    at = program.args[f, 1]
    if op == OP_LAST:
        return history.rows[slot, at] if history.rows[slot, program.args[f, 2]] > 0.0 else np.nan
    elapsed = max(now - history.seen[slot], 0.0)
    if op == OP_AGE:
        return elapsed
    weight = history.rows[slot, at]
    if op == OP_COUNT:
        return weight * np.exp2(-elapsed * history.rates[program.args[f, 2]])
    if weight == 0.0:
        return np.nan
    if op == OP_MEAN:
        return history.rows[slot, at + 1]
    # OP_VARIANCE is the one left.
    return history.rows[slot, at + 2] / weight


@inlined
def shrink(program: FeatureProgram, f: int, history: HistoryArrays, slot: int, now: float, coarse: float) -> float:
    """Return the mean of feature ``f`` in a slot, drawn towards a coarser one; that alone where nothing was seen.

    The weights are those as of now, so that what has not been seen for long gives way.
    """
    if slot < 0:
        return coarse
    at = program.args[f, 1]
    weight, mean = np.float64(history.rows[slot, at]), np.float64(history.rows[slot, at + 1])
    if weight == 0.0:
        return coarse
    if np.isnan(coarse):
        return mean
    weight *= np.exp2(-max(now - history.seen[slot], 0.0) * history.rates[program.args[f, 2]])
    return (weight * mean + program.scale[f] * coarse) / (weight + program.scale[f])


@inlined
def shrunk(
    program: FeatureProgram, f: int, request: Entity, i: int, node: Entity, j: int, history: HistoryArrays, now: float
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
def model_key(program: FeatureProgram, m: int, side: int, request: Entity, i: int, node: Entity, j: int) -> np.uint64:
    """Return under which key factor model ``m`` holds request ``i`` (side 0) or node ``j`` (side 1)."""
    return factors.entity_key(history_key(program, program.models[m, 1 + side], request, i, node, j), m)


@inlined
def factor(
    program: FeatureProgram, f: int, request: Entity, i: int, node: Entity, j: int, history: HistoryArrays, now: float
) -> float:
    """Return feature ``f``, a part of a factor model; one of the client alone reads nothing of the node."""
    m, which = program.args[f, 0], program.args[f, 1]
    left, right = -1, -1
    if which != PART_NODE:
        left = find(history.factors, model_key(program, m, 0, request, i, node, j))
    if which != PART_CLIENT:
        right = find(history.factors, model_key(program, m, 1, request, i, node, j))
    return factors.part(history.factors, m, which, left, right, now)


@inlined
def group_key(program: FeatureProgram, g: int, request: Entity, i: int, node: Entity, j: int) -> np.uint64:
    """Return under which key regimes of kind ``g`` hold the group of request ``i`` and node ``j``."""
    return factors.entity_key(history_key(program, program.regimes[g, 1], request, i, node, j), g)


@inlined
def last_seen(history: HistoryArrays, slot: int) -> float:
    """Return when the last outcome of an entry came; NaN for slot -1."""
    return history.seen[slot] if slot >= 0 else np.nan


@inlined
def regime(
    program: FeatureProgram, f: int, request: Entity, i: int, node: Entity, j: int, history: HistoryArrays, now: float
) -> float:
    """Return feature ``f``, what is known of the last change in a group."""
    g, which = program.args[f, 0], program.args[f, 1]
    seen = np.nan
    if which == REGIME_FRESH:
        member = history_key(program, program.regimes[g, 2], request, i, node, j)
        seen = last_seen(history, find(history, member))
    slot = find(history.regimes, group_key(program, g, request, i, node, j))
    return regimes.part(history.regimes, g, which, slot, seen, now)


@inlined
def plain(program: FeatureProgram, f: int, request: Entity, i: int, node: Entity, j: int, now: float) -> float:
    """Return feature ``f`` of request ``i`` and node ``j``, for all operations but statistics."""
    op = program.op[f]
    a, b = program.args[f, 0], program.args[f, 1]
    if op == OP_REQUEST:
        return request.values[i, a]
    if op == OP_NODE:
        return node.values[j, b]
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
    # OP_DOT is the one left.
    total = 0.0
    for n in range(c):
        total += request.values[i, a + n] * node.values[j, b + n]
    return total


@inlined
def fill(
    program: FeatureProgram,
    owned: np.ndarray,
    scatter: bool,
    request: Entity,
    i: int,
    node: Entity,
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
            if program.args[f, 0] != key:  # features of one history key mostly stand together
                key = program.args[f, 0]
                slot = find(history, history_key(program, key, request, i, node, j))
            x = statistic(program, f, history, slot, now)
        elif op == OP_SHRUNK:
            x = shrunk(program, f, request, i, node, j, history, now)
        elif op == OP_FACTORS:
            x = factor(program, f, request, i, node, j, history, now)
        elif op == OP_REGIME:
            x = regime(program, f, request, i, node, j, history, now)
        else:
            x = plain(program, f, request, i, node, j, now)
        out[f if scatter else n] = x


@kernel
def fill_row(
    program: FeatureProgram,
    request: Entity,
    i: int,
    node: Entity,
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
    request: Entity,
    node: Entity,
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


@kernel
def fill_pairs(
    program: FeatureProgram,
    request: Entity,
    i: int,
    node: Entity,
    slots: np.ndarray,
    history: HistoryArrays,
    now: float,
    work: PairWork,
    out: np.ndarray,
) -> None:
    """Write the pair features of request ``i`` and many nodes: feature by feature, as `fill` node by node.

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
        elif op == OP_SHRUNK:
            _shrink_all(program, f, request, i, node, slots, history, now, work)
        elif op == OP_FACTORS:
            _factors(program, f, request, i, node, slots, history, now, work)
        elif op == OP_REGIME:
            _regimes(program, f, request, i, node, slots, history, now, work)
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
    """Write statistic ``f`` of many entries to ``work.x``: what it is made of side by side, then as `statistic`."""
    op, at, other = program.op[f], program.args[f, 1], program.args[f, 2]
    x, y = work.x[: found.size], work.y[: found.size]
    if op in (OP_AGE, OP_COUNT):
        for c in range(found.size):
            x[c] = max(now - history.seen[found[c]], 0.0) if found[c] >= 0 else np.nan
        if op == OP_COUNT:
            for c in range(found.size):
                weight = history.rows[found[c], at] if found[c] >= 0 else np.nan
                x[c] = weight * np.exp2(-x[c] * history.rates[other])
        return
    second = at
    if op != OP_LAST:
        second = at + 1 if op == OP_MEAN else at + 2
    first = other if op == OP_LAST else at
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
    request: Entity,
    i: int,
    node: Entity,
    slots: np.ndarray,
    history: HistoryArrays,
    work: PairWork,
) -> None:
    """Look up history key ``k`` of many nodes at once, but once: all buckets are asked for first, then all rows."""
    if work.sought[k]:
        return
    work.sought[k] = True
    for c in range(slots.size):
        work.keys[c] = history_key(program, k, request, i, node, slots[c])
    _look_up(history, slots.size, work, k)


@kernel
def _look_up(table: HistoryArrays | FactorArrays, n: int, work: PairWork, at: int) -> None:
    """Write the slots of the first keys in ``work`` to row ``at`` of ``work.found``, and ask for their rows."""
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
    request: Entity,
    i: int,
    node: Entity,
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
def _factors(
    program: FeatureProgram,
    f: int,
    request: Entity,
    i: int,
    node: Entity,
    slots: np.ndarray,
    history: HistoryArrays,
    now: float,
    work: PairWork,
) -> None:
    """Write feature ``f`` of many nodes, a part of a factor model, to ``work.x``."""
    m, which = program.args[f, 0], program.args[f, 1]
    client = find(history.factors, model_key(program, m, 0, request, i, node, 0))
    at = program.n_parts.size + m  # in which row of `work.found` the model's nodes are
    if not work.sought[at]:
        work.sought[at] = True
        for c in range(slots.size):
            work.keys[c] = model_key(program, m, 1, request, i, node, slots[c])
        _look_up(history.factors, slots.size, work, at)
    for c in range(slots.size):
        work.x[c] = factors.part(history.factors, m, which, client, work.found[at, c], now)


@kernel
def _regimes(
    program: FeatureProgram,
    f: int,
    request: Entity,
    i: int,
    node: Entity,
    slots: np.ndarray,
    history: HistoryArrays,
    now: float,
    work: PairWork,
) -> None:
    """Write regime feature ``f`` of many nodes to ``work.x``; a group that many share is looked up once."""
    g, which = program.args[f, 0], program.args[f, 1]
    if which == REGIME_FRESH:
        find_all(program, program.regimes[g, 2], request, i, node, slots, history, work)
    known, slot = np.uint64(MISSING_KEY), -1
    for c in range(slots.size):
        key = group_key(program, g, request, i, node, slots[c])
        if key != known:
            known, slot = key, find(history.regimes, key)
        seen = last_seen(history, work.found[program.regimes[g, 2], c]) if which == REGIME_FRESH else np.nan
        work.x[c] = regimes.part(history.regimes, g, which, slot, seen, now)


@kernel
def _distances(
    program: FeatureProgram, f: int, request: Entity, i: int, node: Entity, slots: np.ndarray, work: PairWork
) -> None:
    """Compute distance feature ``f`` of many nodes: coordinates side by side first, so that the rest is vectors."""
    a, b, c, d = program.args[f, 0], program.args[f, 1], program.args[f, 2], program.args[f, 3]
    lat, lon = request.values[i, a], request.values[i, c]
    for n in range(slots.size):
        work.x[n] = node.values[slots[n], b]
        work.y[n] = node.values[slots[n], d]
    for n in range(slots.size):
        work.x[n] = distance_km(lat, lon, work.x[n], work.y[n])


@inlined
def ask_for_buckets(
    program: FeatureProgram, request: Entity, i: int, node: Entity, j: int, history: HistoryArrays
) -> None:
    """Ask for the buckets that `learn` will look in; well before `ask_for_entries`."""
    for k in range(program.n_parts.size):
        prefetch_bucket(history, history_key(program, k, request, i, node, j))


@inlined
def ask_for_entries(
    program: FeatureProgram, request: Entity, i: int, node: Entity, j: int, history: HistoryArrays
) -> None:
    """Ask for the entries that `learn` will change, where there are such yet."""
    for k in range(program.n_parts.size):
        prefetch_entry(history, history_key(program, k, request, i, node, j))


@inlined
def learn(
    program: FeatureProgram,
    request: Entity,
    i: int,
    node: Entity,
    j: int,
    history: HistoryArrays,
    values: np.ndarray,
    now: float,
) -> None:
    """Fold an outcome's tracked values into factor models, regimes, then every history key of its request and node.

    Parameters
    ----------
    values
        (n_values,) float64, NaN where not measured; residuals of factor models are written to it.
    now
        Arrival of the outcome in seconds.
    """
    for m in range(program.models.shape[0]):
        left = model_key(program, m, 0, request, i, node, j)
        right = model_key(program, m, 1, request, i, node, j)
        residual = factors.update(history.factors, m, left, right, values[program.models[m, 0]], now)
        if program.models[m, 3] >= 0:
            values[program.models[m, 3]] = residual
    for g in range(program.regimes.shape[0]):
        value = program.regimes[g, 0]
        slot = find(history, history_key(program, program.regimes[g, 2], request, i, node, j))
        known = slot >= 0 and history.rows[slot, program.regimes[g, 3]] > 0.0
        last = np.float64(history.rows[slot, TIME_FLOATS + value]) if known else np.nan
        key = group_key(program, g, request, i, node, j)
        regimes.update(history.regimes, g, key, values[value], last, last_seen(history, slot), now)
    for k in range(program.n_parts.size):
        update(history, history_key(program, k, request, i, node, j), values, now)

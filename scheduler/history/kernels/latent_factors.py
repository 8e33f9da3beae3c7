"""Latent factors of clients and nodes, updated by every outcome.

A model predicts ``mean + slow_c + fast_c + slow_n + fast_n + p_c . q_n``: a slow bias that stays and a fast bias that
decays, of client and node, and the dot product of their vectors. The form is that of adaptive matrix factorisation
(Zhu, He, Zheng, Lyu: Online QoS prediction for runtime service adaptation via adaptive matrix factorization, IEEE TPDS
2017) with biases. The step sizes are those of a Kalman filter that keeps variances only: each part takes a share of the
surprise in proportion to its variance. So new entries learn fast and known ones slowly, and most of a surprise goes to
the side that is less known.
"""

from __future__ import annotations

import numpy as np

from scheduler.columns.arrays import MISSING_KEY
from scheduler.history.arrays import (
    CLIP,
    FAST,
    FAST_PRIOR,
    FAST_VARIANCE,
    LARGEST,
    LEAST_NOISE,
    LEVEL_CLIP,
    LEVEL_COUNT,
    LEVEL_MEAN,
    LEVEL_NOISE,
    LEVEL_RATE,
    LEVEL_SURE,
    LEVEL_VARIANCE,
    PART_CLIENT,
    PART_NODE,
    PART_PAIR,
    SLOW,
    SLOW_PRIOR,
    SLOW_VARIANCE,
    VECTOR,
    VECTOR_PRIOR,
    VECTOR_START,
    VECTOR_VARIANCE,
    LatentFactorArrays,
)
from scheduler.history.kernels.hash_table import claim
from scheduler.runtime.hashing import mix
from scheduler.runtime.jit import inlined, kernel


@inlined
def entity_key(key: np.uint64, seed: np.uint64) -> np.uint64:
    """Return the key of a client or node in a model: its history key, mixed with the model's seed."""
    if key == np.uint64(MISSING_KEY):
        return key
    key = mix(key, seed)
    return key if key != np.uint64(MISSING_KEY) else np.uint64(1)


@inlined
def _fade(factors: LatentFactorArrays, m: int, slot: int, now: float) -> float:
    """Return the share of a fast bias that is left now."""
    return np.exp2(-max(now - factors.seen[slot], 0.0) * factors.rates[m, 0])


@inlined
def _bias(factors: LatentFactorArrays, m: int, slot: int, now: float) -> float:
    """Return the sum of both biases of an entry; 0 for slot -1."""
    if slot < 0:
        return 0.0
    return np.float64(factors.rows[slot, SLOW]) + factors.rows[slot, FAST] * _fade(factors, m, slot, now)


@inlined
def _dot(factors: LatentFactorArrays, m: int, client: int, node: int) -> float:
    """Return the dot product of two entries' vectors; 0 if either slot is -1."""
    total = 0.0
    if client >= 0 and node >= 0:
        for r in range(VECTOR, VECTOR + factors.rank[m]):
            total += np.float64(factors.rows[client, r]) * factors.rows[node, r]
    return total


@inlined
def _length(factors: LatentFactorArrays, m: int, slot: int) -> float:
    """Return the squared length of an entry's vector."""
    total = 0.0
    for r in range(VECTOR, VECTOR + factors.rank[m]):
        total += np.float64(factors.rows[slot, r]) * factors.rows[slot, r]
    return total


@inlined
def part(factors: LatentFactorArrays, m: int, which: int, client: int, node: int, now: float) -> float:
    """Return the prediction of model ``m`` for two entries, or one part of it; NaN if it is unknown.

    Parameters
    ----------
    which
        `PART_PREDICTION`, in which a missing entry counts as average; `PART_CLIENT` and `PART_NODE`, the biases;
        `PART_PAIR`, the dot product.
    client, node
        Slots, -1 if the table does not hold the key.
    """
    if which == PART_CLIENT:
        return _bias(factors, m, client, now) if client >= 0 else np.nan
    if which == PART_NODE:
        return _bias(factors, m, node, now) if node >= 0 else np.nan
    if which == PART_PAIR:
        return _dot(factors, m, client, node) if client >= 0 and node >= 0 else np.nan
    return _prediction(factors, m, client, node, now) if factors.levels[m, LEVEL_COUNT] > 0.0 else np.nan


@inlined
def _prediction(factors: LatentFactorArrays, m: int, client: int, node: int, now: float) -> float:
    biases = _bias(factors, m, client, now) + _bias(factors, m, node, now)
    return factors.levels[m, LEVEL_MEAN] + biases + _dot(factors, m, client, node)


@kernel
def update(factors: LatentFactorArrays, m: int, client: np.uint64, node: np.uint64, x: float, now: float) -> float:
    """Learn one outcome and return its residual, the value less the prediction just before; changes the table.

    The residual is NaN for the first outcome. It is also NaN, and nothing is learned, if the value was not measured or
    a key is missing.

    Parameters
    ----------
    client, node
        Keys, see `entity_key`.
    x
        The value.
    now
        Arrival of the outcome in seconds.
    """
    if np.isnan(x) or client == np.uint64(MISSING_KEY) or node == np.uint64(MISSING_KEY):
        return np.nan
    levels = factors.levels
    if not levels[m, LEVEL_VARIANCE] > 0.0:  # all values are equal so far
        residual = x - levels[m, LEVEL_MEAN] if levels[m, LEVEL_COUNT] > 0.0 else np.nan
        _level(levels, m, x, x - levels[m, LEVEL_MEAN])
        return residual
    c = _visit(factors, m, client, now)
    n = _visit(factors, m, node, now)
    if c == n:  # in one full bucket the second key may have evicted the first
        return np.nan
    residual = x - _prediction(factors, m, c, n, now)
    _level(levels, m, x, _learn(factors, m, c, n, residual))
    return residual


@inlined
def _visit(factors: LatentFactorArrays, m: int, key: np.uint64, now: float) -> int:
    """Bring an entry up to date and return its slot: the fast bias decays, variances grow.

    A new entry gets the prior variances, and a small vector computed from its key, so that the vectors of two entries
    differ and can grow.
    """
    slot = claim(factors, key, now)
    row = factors.rows[slot]
    if row[SLOW_VARIANCE] == 0.0:
        row[SLOW_VARIANCE], row[FAST_VARIANCE], row[VECTOR_VARIANCE] = SLOW_PRIOR, FAST_PRIOR, VECTOR_PRIOR
        largest = VECTOR_START * np.sqrt(np.sqrt(factors.levels[m, LEVEL_VARIANCE]))
        word = key
        for r in range(VECTOR, VECTOR + factors.rank[m]):
            word = mix(word, key)
            row[r] = largest * (np.float64(word >> np.uint64(11)) * 2.0**-52 - 1.0)
    fade = _fade(factors, m, slot, now)
    row[FAST] *= fade
    row[FAST_VARIANCE] = FAST_PRIOR + (row[FAST_VARIANCE] - FAST_PRIOR) * fade * fade
    age = max(now - factors.seen[slot], 0.0) * factors.rates[m, 1]
    row[SLOW_VARIANCE] = min(row[SLOW_VARIANCE] + age * SLOW_PRIOR, SLOW_PRIOR)
    row[VECTOR_VARIANCE] = min(row[VECTOR_VARIANCE] + age * VECTOR_PRIOR, VECTOR_PRIOR)
    factors.seen[slot] = max(now, factors.seen[slot])
    return slot


@inlined
def _level(levels: np.ndarray, m: int, x: float, surprise: float) -> None:
    """Update a model's running variance by a value, and its mean by the surprise.

    The mean follows the surprise, not the value, because the mean value of a policy's picks falls as the policy learns.
    """
    levels[m, LEVEL_COUNT] += 1.0
    rate = 1.0 / levels[m, LEVEL_COUNT]
    variance = levels[m, LEVEL_VARIANCE]
    square = (1.0 - rate) * (x - levels[m, LEVEL_MEAN]) ** 2
    if levels[m, LEVEL_COUNT] > LEVEL_SURE and variance > 0.0:
        square = min(square, LEVEL_CLIP * variance)
    levels[m, LEVEL_VARIANCE] += rate * (square - variance)
    levels[m, LEVEL_MEAN] += rate * surprise


@inlined
def _learn(factors: LatentFactorArrays, m: int, c: int, n: int, residual: float) -> float:
    """Share a surprise among all parts of two entries, and return it, clipped to `CLIP` standard errors."""
    client, node, levels = factors.rows[c], factors.rows[n], factors.levels
    deviation = np.sqrt(levels[m, LEVEL_VARIANCE])
    of_client = client[VECTOR_VARIANCE] * _length(factors, m, n) / deviation
    of_node = node[VECTOR_VARIANCE] * _length(factors, m, c) / deviation
    uncertainty = np.float64(client[SLOW_VARIANCE]) + client[FAST_VARIANCE] + node[SLOW_VARIANCE] + node[FAST_VARIANCE]
    uncertainty += of_client + of_node
    total = uncertainty + levels[m, LEVEL_NOISE]
    bound = CLIP * np.sqrt(total) * deviation
    surprise = min(max(residual, -bound), bound)
    excess = max((surprise / deviation) ** 2 - uncertainty, 0.0)
    rate = max(1.0 / levels[m, LEVEL_COUNT], LEVEL_RATE)
    levels[m, LEVEL_NOISE] = max(levels[m, LEVEL_NOISE] + rate * (excess - levels[m, LEVEL_NOISE]), LEAST_NOISE)
    step = surprise / total
    for r in range(VECTOR, VECTOR + factors.rank[m]):
        p, q = np.float64(client[r]), np.float64(node[r])
        client[r] = _bounded(p + client[VECTOR_VARIANCE] * q * step / deviation)
        node[r] = _bounded(q + node[VECTOR_VARIANCE] * p * step / deviation)
    _settle(client, step, total, of_client, factors.rank[m])
    _settle(node, step, total, of_node, factors.rank[m])
    return surprise


@inlined
def _settle(row: np.ndarray, step: float, total: float, of_vector: float, rank: int) -> None:
    """Move an entry's biases by their share of the surprise, and reduce its variances."""
    row[SLOW] = _bounded(row[SLOW] + row[SLOW_VARIANCE] * step)
    row[FAST] = _bounded(row[FAST] + row[FAST_VARIANCE] * step)
    row[SLOW_VARIANCE] *= 1.0 - row[SLOW_VARIANCE] / total
    row[FAST_VARIANCE] *= 1.0 - row[FAST_VARIANCE] / total
    # One outcome informs about one of `rank` directions.
    row[VECTOR_VARIANCE] *= 1.0 - of_vector / total / max(rank, 1)


@inlined
def _bounded(x: float) -> float:
    return min(max(x, -LARGEST), LARGEST)

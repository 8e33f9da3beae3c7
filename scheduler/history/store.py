"""Running statistics of outcomes, the strongest features: what was seen of a node, a client, a pair."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from scheduler.history.arrays import LINE_FLOATS, STATS, TIME_FLOATS, VECTOR, WAYS, HistoryArrays, LatentFactorArrays
from scheduler.history.change_point_arrays import SPANS, ChangePointArrays
from scheduler.spec import ChangePoints, LatentFactors, Spec, seconds


def new_history(spec: Spec) -> HistoryArrays:
    """Return empty statistics for a spec.

    Twice the spec's capacity is set aside, so that buckets rarely overflow; the operating system hands out
    the memory only as entries come.
    """
    width = TIME_FLOATS + len(spec.history.values) * (1 + len(spec.history.half_lives) * STATS)
    slots = _slots(spec.history.capacity)
    rows = _aligned(slots, width)
    return HistoryArrays(
        keys=np.zeros(slots, np.uint64),
        seen=rows.view(np.float64)[:, 0],
        rows=rows,
        rates=np.array([1.0 / seconds(h) for h in spec.history.half_lives]),
        counters=np.zeros(2, np.int64),
        latent_factors=new_latent_factors(spec.latent_factors.values()),
        change_points=new_change_points(spec.change_points.values()),
        row_reader=np.zeros(slots, np.int32),
        evicted=np.zeros(1 + len(spec.history.keys), np.int32),
    )


def new_latent_factors(factors: Iterable[LatentFactors]) -> LatentFactorArrays:
    """Return factor models that know nothing; all share one table."""
    models = list(factors)
    slots = _slots(sum(model.capacity for model in models))
    rows = _aligned(slots, VECTOR + max((model.rank for model in models), default=0))
    rates = [(1.0 / seconds(model.half_life), 1.0 / seconds(model.memory)) for model in models]
    return LatentFactorArrays(
        keys=np.zeros(slots, np.uint64),
        seen=rows.view(np.float64)[:, 0],
        rows=rows,
        counters=np.zeros(2, np.int64),
        rank=np.array([model.rank for model in models], np.int32),
        rates=np.array(rates).reshape(-1, 2),
        levels=np.zeros((len(models), 4)),
    )


def new_change_points(change_points: Iterable[ChangePoints]) -> ChangePointArrays:
    """Return change_points of which nothing is known; groups of all kinds share one table."""
    kinds = list(change_points)
    slots = _slots(sum(kind.capacity for kind in kinds))
    rows = _aligned(slots, TIME_FLOATS + SPANS + 1)
    numbers = [(seconds(kind.length), kind.same, kind.tolerance) for kind in kinds]
    return ChangePointArrays(
        keys=np.zeros(slots, np.uint64),
        seen=rows.view(np.float64)[:, 0],
        rows=rows,
        counters=np.zeros(2, np.int64),
        edges=np.zeros((slots, SPANS)),
        numbers=np.array(numbers).reshape(-1, 3),
        shape=np.array([kind.shape for kind in kinds], np.int32),
    )


def _slots(capacity: int) -> int:
    slots = WAYS
    while slots < 2 * capacity:
        slots *= 2
    return slots


def _aligned(slots: int, width: int) -> NDArray[np.float32]:
    """Return rows of zeros, padded to whole cache lines and starting on them; the memory is not touched yet."""
    width = -(-width // LINE_FLOATS) * LINE_FLOATS
    raw = np.zeros(slots * width + LINE_FLOATS, np.float32)
    skip = -raw.ctypes.data // raw.itemsize % LINE_FLOATS
    return raw[skip : skip + slots * width].reshape(slots, width)

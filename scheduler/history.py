"""Running statistics of outcomes, the strongest features: what was seen of a node, a client, a pair."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scheduler.layout import LINE_FLOATS, STATS, TIME_FLOATS, WAYS, HistoryArrays
from scheduler.spec import Spec, seconds


def new_history(spec: Spec) -> HistoryArrays:
    """Return empty statistics for a spec.

    Twice the spec's capacity is set aside, so that buckets rarely overflow; the operating system hands out
    the memory only as entries come.
    """
    width = TIME_FLOATS + len(spec.history.values) * (1 + len(spec.history.half_lives) * STATS)
    width = -(-width // LINE_FLOATS) * LINE_FLOATS
    slots = WAYS
    while slots < 2 * spec.history.capacity:
        slots *= 2
    rows = _aligned(slots, width)
    return HistoryArrays(
        keys=np.zeros(slots, np.uint64),
        seen=rows.view(np.float64)[:, 0],
        rows=rows,
        rates=np.array([1.0 / seconds(h) for h in spec.history.half_lives]),
        counters=np.zeros(2, np.int64),
    )


def _aligned(slots: int, width: int) -> NDArray[np.float32]:
    """Return rows of zeros that start on cache lines; the memory is not touched yet."""
    raw = np.zeros(slots * width + LINE_FLOATS, np.float32)
    skip = -raw.ctypes.data // raw.itemsize % LINE_FLOATS
    return raw[skip : skip + slots * width].reshape(slots, width)

"""Update decayed statistics in a set-associative table.

A key's hash names a bucket of `WAYS` slots. A new key takes the first free slot of its bucket, or evicts the entry
whose last outcome is oldest. So a look-up reads at most two cache lines of keys, memory is bounded, and nothing is
rehashed.
"""

from __future__ import annotations

import numpy as np

from scheduler.columns.arrays import MISSING_KEY
from scheduler.history.arrays import LARGEST, MEAN, SQUARES, WEIGHT, HistoryArrays
from scheduler.history.kernels.hash_table import claim
from scheduler.history.kernels.row_layout import last_value_at, statistics_at
from scheduler.runtime.jit import inlined


@inlined
def disown(history: HistoryArrays, slot: int) -> None:
    """Record the node whose forest row read the evicted entry of a slot."""
    owner, n = history.row_reader[slot], history.evicted[0]
    history.row_reader[slot] = 0
    # In replay no node has a forest row, so no entry has a reader.
    if owner > 0 and n + 1 < history.evicted.size:
        history.evicted[n + 1] = owner - 1
        history.evicted[0] = n + 1


@inlined
def update(history: HistoryArrays, key: np.uint64, values: np.ndarray, now: float) -> None:
    """Update a key's statistics by an outcome's values; changes the table.

    Weights halve every half-life since the key's last outcome, then a value enters with weight 1 (West's update of a
    weighted mean and variance, CACM 1979). With a NaN value the weight only decays. An outcome older than the key's
    last one counts as if it had the same time.

    Parameters
    ----------
    values
        (n_values,) float64.
    now
        Arrival of the outcome in seconds.
    """
    if key == np.uint64(MISSING_KEY):
        return
    n_evicted = history.counters[1]
    slot = claim(history, key, now)
    if history.counters[1] > n_evicted:
        disown(history, slot)
    n_values = values.size
    n_half_lives = history.rates.size
    elapsed = max(now - history.seen[slot], 0.0)
    history.seen[slot] = max(now, history.seen[slot])
    for h in range(n_half_lives):
        fade = np.exp2(-elapsed * history.rates[h]) if elapsed > 0.0 else 1.0
        for v in range(n_values):
            at = statistics_at(n_values, n_half_lives, v, h)
            weight = history.rows[slot, at + WEIGHT] * fade
            x = values[v]
            if np.isnan(x):
                history.rows[slot, at + WEIGHT] = weight
                history.rows[slot, at + SQUARES] *= fade
            else:
                mean = np.float64(history.rows[slot, at + MEAN])
                weight += 1.0
                step = x - mean
                mean += step / weight
                history.rows[slot, at + WEIGHT] = weight
                history.rows[slot, at + MEAN] = mean
                squares = history.rows[slot, at + SQUARES] * fade + step * (x - mean)
                # Rounding can leave a small negative rest if one value is far larger than the other.
                history.rows[slot, at + SQUARES] = min(max(squares, 0.0), LARGEST)
    for v in range(n_values):
        if not np.isnan(values[v]):
            history.rows[slot, last_value_at(v)] = values[v]

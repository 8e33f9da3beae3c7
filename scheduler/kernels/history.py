"""Decayed running statistics in a set-associative table: find, update, prefetch.

A key's hash names a bucket of `WAYS` slots; a new key takes the first free slot of its bucket or the one
whose last outcome is oldest. So a look-up reads at most two cache lines of keys, memory is bounded, and
nothing ever has to be rehashed.
"""

from __future__ import annotations

import numpy as np

from scheduler.kernels.jit import inlined, kernel
from scheduler.kernels.memory import prefetch
from scheduler.layout import LARGEST, MISSING_KEY, STATS, TIME_FLOATS, WAYS, FactorArrays, HistoryArrays
from scheduler.regime_layout import RegimeArrays


@inlined
def mix(a: np.uint64, b: np.uint64) -> np.uint64:
    """Combine two keys into one, order mattering (splitmix64 finaliser, Steele et al., OOPSLA 2014)."""
    z = (a ^ (b + np.uint64(0x9E3779B97F4A7C15) + (a << np.uint64(6)) + (a >> np.uint64(2)))) * np.uint64(
        0xBF58476D1CE4E5B9
    )
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@inlined
def find(history: HistoryArrays | FactorArrays | RegimeArrays, key: np.uint64) -> int:
    """Return the slot of a key, or -1 where the table does not hold it."""
    if key == np.uint64(MISSING_KEY):
        return -1
    buckets = np.uint64(history.keys.size // WAYS - 1)
    first = np.int64(key & buckets) * WAYS
    for slot in range(first, first + WAYS):
        held = history.keys[slot]
        if held == key:
            return slot
        if held == np.uint64(MISSING_KEY):
            return -1
    return -1


@inlined
def claim(history: HistoryArrays | FactorArrays | RegimeArrays, key: np.uint64, now: float) -> int:
    """Return the slot of a key, taking a free or the oldest slot of its bucket for a new one.

    Changes the table when the key is new.
    """
    buckets = np.uint64(history.keys.size // WAYS - 1)
    first = np.int64(key & buckets) * WAYS
    oldest = first
    for slot in range(first, first + WAYS):
        held = history.keys[slot]
        if held == key:
            return slot
        if held == np.uint64(MISSING_KEY):
            history.counters[0] += 1
            _start(history, slot, key, now)
            return slot
        if history.seen[slot] < history.seen[oldest]:
            oldest = slot
    history.counters[1] += 1
    _start(history, oldest, key, now)
    return oldest


@kernel
def _start(history: HistoryArrays | FactorArrays | RegimeArrays, slot: int, key: np.uint64, now: float) -> None:
    """Begin an entry in a slot: no weight."""
    history.keys[slot] = key
    history.seen[slot] = now
    for i in range(TIME_FLOATS, history.rows.shape[1]):
        history.rows[slot, i] = 0.0


@inlined
def disown(history: HistoryArrays, slot: int) -> None:
    """Note whose forest row read the entry that a slot held before."""
    owner, n = history.owners[slot], history.stale[0]
    history.owners[slot] = 0
    # Where nobody refreshes rows, as in replay, nobody owns an entry either.
    if owner > 0 and n + 1 < history.stale.size:
        history.stale[n + 1] = owner - 1
        history.stale[0] = n + 1


@inlined
def update(history: HistoryArrays, key: np.uint64, values: np.ndarray, now: float) -> None:
    """Fold an outcome's values into a key's statistics; changes the table.

    Weights fade by half every half-life since the key's last outcome, then a value enters with weight 1
    (West's update of a weighted mean and variance, CACM 1979). A NaN value only fades. An outcome older than
    the key's last one counts as if it came with it.

    Parameters
    ----------
    values
        (n_values,) float64.
    now
        Arrival of the outcome in seconds.
    """
    if key == np.uint64(MISSING_KEY):
        return
    let_go = history.counters[1]
    slot = claim(history, key, now)
    if history.counters[1] > let_go:
        disown(history, slot)
    n_values = values.size
    first = TIME_FLOATS + n_values
    n_half_lives = history.rates.size
    elapsed = max(now - history.seen[slot], 0.0)
    history.seen[slot] = max(now, history.seen[slot])
    for h in range(n_half_lives):
        fade = np.exp2(-elapsed * history.rates[h]) if elapsed > 0.0 else 1.0
        for v in range(n_values):
            at = first + (v * n_half_lives + h) * STATS
            weight = history.rows[slot, at] * fade
            x = values[v]
            if np.isnan(x):
                history.rows[slot, at] = weight
                history.rows[slot, at + 2] *= fade
            else:
                mean = np.float64(history.rows[slot, at + 1])
                weight += 1.0
                step = x - mean
                mean += step / weight
                history.rows[slot, at] = weight
                history.rows[slot, at + 1] = mean
                squares = history.rows[slot, at + 2] * fade + step * (x - mean)
                # Rounding can leave a sliver below zero where one value is far larger than the other.
                history.rows[slot, at + 2] = min(max(squares, 0.0), LARGEST)
    for v in range(n_values):
        if not np.isnan(values[v]):
            history.rows[slot, TIME_FLOATS + v] = values[v]


@inlined
def prefetch_bucket(history: HistoryArrays | FactorArrays, key: np.uint64) -> None:
    """Ask for the keys that a look-up of ``key`` will read."""
    buckets = np.uint64(history.keys.size // WAYS - 1)
    prefetch(history.keys, np.int64(key & buckets) * WAYS)


@inlined
def prefetch_entry(history: HistoryArrays, key: np.uint64) -> None:
    """Ask for the first line of the row that a look-up of ``key`` will read; its bucket should be there."""
    slot = find(history, key)
    if slot >= 0:
        prefetch(history.rows, slot)

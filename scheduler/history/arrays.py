"""History and latent factors as kernels see them: arrays, the layout of a row, and constants."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.history.change_point_arrays import ChangePointArrays

WAYS: Final = 16
"""Entries in a history bucket. Two cache lines of keys; at half load one bucket in 250 overflows and lets go
of its oldest entry, against one in 50 for 8 ways."""

TIME_FLOATS: Final = 2
"""Room of a float64 time at the start of a history row."""

LINE_FLOATS: Final = 16
"""Floats of a cache line; history rows are padded to it."""

(WEIGHT, MEAN, SQUARES) = range(3)
"""Statistics of a value and half-life, side by side: decayed weight, mean, and sum of squared deviations."""

STATISTICS: Final = 3
"""How many those are."""

LARGEST: Final = float(np.finfo(np.float32).max)
"""Bound of the squared deviations: an infinite one would fade to NaN and stay so."""

(PART_PREDICTION, PART_CLIENT, PART_NODE, PART_PAIR) = range(4)

PARTS: Final = ("prediction", "client", "node", "pair")
"""What a feature may take from a factor model."""

(SLOW, SLOW_VARIANCE, FAST, FAST_VARIANCE, VECTOR_VARIANCE) = range(TIME_FLOATS, TIME_FLOATS + 5)

VECTOR: Final = 8
"""Places in a row of factors: biases and how uncertain they are, then the vector. With a rank of 8 a row is one
cache line."""

(LEVEL_MEAN, LEVEL_COUNT, LEVEL_VARIANCE, LEVEL_NOISE) = range(4)
"""Levels of a factor model: running mean of the value, how many came, its variance, and the share of that variance
that no client or node explains."""

SLOW_PRIOR, FAST_PRIOR, VECTOR_PRIOR = 0.5, 0.02, 0.3
"""Variances of an entity's parts before anything is known, as shares of the value's variance."""

VECTOR_START: Final = 0.2
"""Largest number in a new vector; its square is a share of the value's deviation."""

CLIP: Final = 3.0
"""Standard errors at which a surprise is cut: one timeout is not to move everything."""

LEAST_NOISE: Final = 1e-3
"""Bound of the noise, so that steps stay stable where all is explained."""

LEVEL_RATE: Final = 1e-4
"""Share by which an outcome moves the noise at least: it follows the last 10,000."""

LEVEL_SURE, LEVEL_CLIP = 100, 100.0
"""After so many outcomes one counts in the variance at most so many times the variance, that is ten deviations."""


class LatentFactorArrays(NamedTuple):
    """Clients and nodes of factor models in a table like that of history; see `kernels.latent_factors`.

    Attributes
    ----------
    keys, seen, rows, counters
        As of `HistoryArrays`; for what stands in a row, see `SLOW`.
    rank
        (n_models,) int32, numbers in the vectors of each model.
    rates
        (n_models, 2) float64, 1 / half-life of the fast biases in seconds, and share by which what is known becomes
        unknown again each second.
    levels
        (n_models, 4) float64, see `LEVEL_MEAN`.
    """

    keys: NDArray[np.uint64]
    seen: NDArray[np.float64]
    rows: NDArray[np.float32]
    counters: NDArray[np.int64]
    rank: NDArray[np.int32]
    rates: NDArray[np.float64]
    levels: NDArray[np.float64]


class HistoryArrays(NamedTuple):
    """Decayed statistics in a set-associative table; slot ``i`` is row ``i`` of each array.

    Attributes
    ----------
    keys
        (slots,) uint64, `MISSING_KEY` where free.
    seen
        (slots,) float64, time of the last outcome in seconds: a view of the first bytes of each row, so that
        time and statistics come with the same cache line.
    rows
        (slots, width) float32: `TIME_FLOATS` that hold ``seen``, then last values, then statistics,
        see `scheduler.history.kernels.row_layout`, then padding to whole cache lines.
    rates
        (n_half_lives,) float64, 1 / half-life in seconds.
    counters
        (2,) int64: entries held, entries let go to make room.
    factors
        Factor models.
    change_points
        Regimes.
    row_reader
        (slots,) int32, 1 + the fleet slot whose kept forest row reads the entry, 0 for none.
    evicted
        (1 + n_history_keys,) int32: how many, and the fleet slots whose row reads an entry that was let go.
    """

    keys: NDArray[np.uint64]
    seen: NDArray[np.float64]
    rows: NDArray[np.float32]
    rates: NDArray[np.float64]
    counters: NDArray[np.int64]
    latent_factors: LatentFactorArrays
    change_points: ChangePointArrays
    row_reader: NDArray[np.int32]
    evicted: NDArray[np.int32]


class Tracked(NamedTuple):
    """Which outcome each tracked value is, -1 for none, and whether its logarithm is meant.

    Attributes
    ----------
    columns, log1p
        (n_values,) int32 and bool; see `scheduler.history.kernels.outcome_values.track`.
    """

    columns: NDArray[np.int32]
    log1p: NDArray[np.bool_]


class OutcomeArrays(NamedTuple):
    """One outcome as its caller reported it, and where it goes; one row each.

    Attributes
    ----------
    outcomes
        (1, n_outcomes) float32, NaN where not measured.
    values
        (1, n_values) float32, the tracked values.
    node
        (1,) uint64, key of the node, `MISSING_KEY` for the only one of the slate.
    row, place, time
        (1,) int64, int64 and float64: which row of the decision log and which place in it, and the arrival.
    """

    outcomes: NDArray[np.float32]
    values: NDArray[np.float32]
    node: NDArray[np.uint64]
    row: NDArray[np.int64]
    place: NDArray[np.int64]
    time: NDArray[np.float64]

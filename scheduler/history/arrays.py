"""History and latent factors as kernels see them: arrays, the layout of a row, and constants."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.history.change_point_arrays import ChangePointArrays

WAYS: Final = 16
"""Entries in a bucket of history. Their keys are two cache lines. At half load one bucket in 250 overflows and evicts
its oldest entry, against one in 50 for 8 entries."""

(MULTIPLIER, SHIFT) = range(2)
"""How a table places keys: the high bits of their product with a secret odd number, moved down by so much and by one,
are the bucket. By one, because a table of one bucket moves them by all 64."""

TIME_FLOATS: Final = 2
"""Floats at the start of a history row that hold a float64 time."""

LINE_FLOATS: Final = 16
"""Floats of a cache line; history rows are padded to it."""

(WEIGHT, MEAN, SQUARES) = range(3)
"""Statistics of a value and half-life, side by side: decayed weight, mean, and sum of squared deviations."""

STATISTICS: Final = 3
"""How many those are."""

LARGEST: Final = float(np.finfo(np.float32).max)
"""Bound of the squared deviations: an infinite sum would decay to NaN and stay NaN."""

(PART_PREDICTION, PART_CLIENT, PART_NODE, PART_PAIR) = range(4)

PARTS: Final = ("prediction", "client", "node", "pair")
"""What a feature may read from latent factors."""

(SLOW, SLOW_VARIANCE, FAST, FAST_VARIANCE, VECTOR_VARIANCE) = range(TIME_FLOATS, TIME_FLOATS + 5)

VECTOR: Final = 8
"""Place of the vector in a row of latent factors; biases and variances come before it. With a rank of 8 a row is one
cache line."""

(LEVEL_MEAN, LEVEL_COUNT, LEVEL_VARIANCE, LEVEL_NOISE) = range(4)
"""Levels of latent factors: running mean of the value, number of outcomes, variance of the value, and the share of that
variance that no client or node explains."""

SLOW_PRIOR, FAST_PRIOR, VECTOR_PRIOR = 0.5, 0.02, 0.3
"""Variances of the parts of a new client or node, as shares of the value's variance."""

VECTOR_START: Final = 0.2
"""Largest number in a new vector; its square is a share of the value's standard deviation."""

CLIP: Final = 3.0
"""Standard errors at which a surprise is clipped, so that one timeout does not move everything."""

LEAST_NOISE: Final = 1e-3
"""Smallest noise, so that steps stay stable if clients and nodes explain everything."""

LEVEL_RATE: Final = 1e-4
"""Smallest share by which an outcome moves the noise, which so follows about the last 10,000 outcomes."""

LEVEL_SURE, LEVEL_CLIP = 100, 100.0
"""After `LEVEL_SURE` outcomes, one outcome adds at most `LEVEL_CLIP` times the variance: ten deviations, squared."""


class LatentFactorArrays(NamedTuple):
    """Clients and nodes of all latent factors, in a table like that of history; see `kernels.latent_factors`.

    Attributes
    ----------
    keys, placement, seen, rows, counters
        As in `HistoryArrays`; for the layout of a row see `SLOW`.
    rank
        (n_models,) int32, length of the vectors of each model.
    rates
        (n_models, 2) float64: 1 / half-life of the fast biases in seconds, and 1 / memory in seconds, by which
        variances grow back.
    levels
        (n_models, 4) float64, see `LEVEL_MEAN`.
    """

    keys: NDArray[np.uint64]
    placement: NDArray[np.uint64]
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
        (slots,) uint64, `MISSING_KEY` if free.
    placement
        (2,) uint64, see `MULTIPLIER`.
    seen
        (slots,) float64, time of the last outcome in seconds. It is a view of the first bytes of each row, so that one
        cache line brings time and statistics.
    rows
        (slots, width) float32: `TIME_FLOATS` that hold ``seen``, then last values, then statistics,
        see `scheduler.history.kernels.row_layout`, then padding to whole cache lines.
    rates
        (n_half_lives,) float64, 1 / half-life in seconds.
    counters
        (2,) int64: entries held, entries evicted.
    latent_factors
        Latent factors of all models.
    change_points
        Change points of all kinds of groups.
    row_reader
        (slots,) int32, 1 + the fleet slot whose forest row reads the entry, 0 for none.
    evicted
        (1 + n_history_keys,) int32: the number of fleet slots whose forest row read an evicted entry, then these slots.
    """

    keys: NDArray[np.uint64]
    placement: NDArray[np.uint64]
    seen: NDArray[np.float64]
    rows: NDArray[np.float32]
    rates: NDArray[np.float64]
    counters: NDArray[np.int64]
    latent_factors: LatentFactorArrays
    change_points: ChangePointArrays
    row_reader: NDArray[np.int32]
    evicted: NDArray[np.int32]


class Tracked(NamedTuple):
    """The outcome that each tracked value is computed from, -1 for none, and whether it is a logarithm.

    Attributes
    ----------
    columns, log1p
        (n_values,) int32 and bool; see `scheduler.history.kernels.outcome_values.track`.
    """

    columns: NDArray[np.int32]
    log1p: NDArray[np.bool_]


class OutcomeArrays(NamedTuple):
    """One outcome as its caller reported it, and its place in the decision log; one row each.

    Attributes
    ----------
    outcomes
        (1, n_outcomes) float32, NaN if not measured.
    values
        (1, n_values) float32, the tracked values.
    node
        (1,) uint64, key of the node; `MISSING_KEY` means the only node of the slate.
    row, place, time
        (1,) int64, int64 and float64: row of the decision log, place in that row, time of arrival in seconds.
    """

    outcomes: NDArray[np.float32]
    values: NDArray[np.float32]
    node: NDArray[np.uint64]
    row: NDArray[np.int64]
    place: NDArray[np.int64]
    time: NDArray[np.float64]

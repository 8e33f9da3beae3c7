"""Make the tables of history: decayed statistics, latent factors, change points."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from scheduler.errors import InputError, shown
from scheduler.history.arrays import LINE_FLOATS, TIME_FLOATS, VECTOR, WAYS, HistoryArrays, LatentFactorArrays
from scheduler.history.change_point_arrays import SPANS, ChangePointArrays
from scheduler.history.row_layout import row_floats
from scheduler.runtime.aligned_arrays import aligned_zeros
from scheduler.runtime.hashing import PUBLIC_MULTIPLIER
from scheduler.runtime.touch import touch_large_pages
from scheduler.spec import LEAST_CAPACITY, MOST_CAPACITY, Capacity, ChangePoints, LatentFactors, Spec, seconds

HISTORY, LATENT_FACTORS, CHANGE_POINTS = "history", "latent_factors", "change_points"
"""The tables of running statistics, under the names of their sections in a spec."""

UNSIZED: Mapping[str, int] = {HISTORY: 1_000_000, LATENT_FACTORS: 65_536, CHANGE_POINTS: 16_384}
"""Capacities for ``auto`` if no data was counted, as for a model that fogline did not train."""


def checked_capacity(capacity: object, what: str) -> int:
    """Return a capacity that a caller gave, or raise `InputError`, naming it ``what``."""
    number = capacity.item() if isinstance(capacity, np.generic) else capacity
    if not isinstance(number, int) or isinstance(number, bool) or not LEAST_CAPACITY <= number <= MOST_CAPACITY:
        message = f"{what}: expected an integer from {LEAST_CAPACITY} to {MOST_CAPACITY}, found {shown(capacity)}"
        raise InputError(message)
    return number


def capacities(spec: Spec) -> dict[str, int]:
    """Return about how many entries each table of a spec has room for; tables that it does not use are left out."""
    shared = {
        LATENT_FACTORS: [model.capacity for model in spec.latent_factors.values()],
        CHANGE_POINTS: [kind.capacity for kind in spec.change_points.values()],
    }
    own = {name: sum(_number(one, name) for one in parts) for name, parts in shared.items() if parts}
    return {HISTORY: _number(spec.history.capacity, HISTORY), **own}


def _number(capacity: Capacity, table: str) -> int:
    return UNSIZED[table] if capacity == "auto" else capacity


def new_history(spec: Spec, capacity: int | None = None, multiplier: np.uint64 = PUBLIC_MULTIPLIER) -> HistoryArrays:
    """Return empty statistics for a spec.

    The table has at least twice the capacity, so that buckets rarely overflow. The operating system provides the memory
    only as entries are written.

    Parameters
    ----------
    capacity
        In place of the spec's ``history.capacity``.
    multiplier
        Says which keys share a bucket; see `scheduler.runtime.hashing.secret_multiplier`.
    """
    slots = _slots(capacities(spec)[HISTORY] if capacity is None else capacity)
    rows = _rows(slots, row_floats(spec))
    return HistoryArrays(
        keys=np.zeros(slots, np.uint64),
        placement=_placement(slots, multiplier),
        seen=rows.view(np.float64)[:, 0],
        rows=rows,
        rates=np.array([1.0 / seconds(h) for h in spec.history.half_lives]),
        counters=np.zeros(2, np.int64),
        latent_factors=new_latent_factors(spec.latent_factors.values(), multiplier),
        change_points=new_change_points(spec.change_points.values(), multiplier),
        row_reader=np.zeros(slots, np.int32),
        evicted=np.zeros(1 + len(spec.history.keys), np.int32),
    )


def new_latent_factors(
    factors: Iterable[LatentFactors], multiplier: np.uint64 = PUBLIC_MULTIPLIER
) -> LatentFactorArrays:
    """Return empty latent factors; all models share one table."""
    models = list(factors)
    slots = _slots(sum(_number(model.capacity, LATENT_FACTORS) for model in models))
    rows = _rows(slots, VECTOR + max((model.rank for model in models), default=0))
    rates = [(1.0 / seconds(model.half_life), 1.0 / seconds(model.memory)) for model in models]
    return LatentFactorArrays(
        keys=np.zeros(slots, np.uint64),
        placement=_placement(slots, multiplier),
        seen=rows.view(np.float64)[:, 0],
        rows=rows,
        counters=np.zeros(2, np.int64),
        rank=np.array([model.rank for model in models], np.int32),
        rates=np.array(rates).reshape(-1, 2),
        levels=np.zeros((len(models), 4)),
    )


def new_change_points(
    change_points: Iterable[ChangePoints], multiplier: np.uint64 = PUBLIC_MULTIPLIER
) -> ChangePointArrays:
    """Return empty change points; groups of all kinds share one table."""
    kinds = list(change_points)
    slots = _slots(sum(_number(kind.capacity, CHANGE_POINTS) for kind in kinds))
    rows = _rows(slots, TIME_FLOATS + SPANS + 1)
    numbers = [(seconds(kind.length), kind.same, kind.tolerance) for kind in kinds]
    return ChangePointArrays(
        keys=np.zeros(slots, np.uint64),
        placement=_placement(slots, multiplier),
        seen=rows.view(np.float64)[:, 0],
        rows=rows,
        counters=np.zeros(2, np.int64),
        edges=np.zeros((slots, SPANS)),
        numbers=np.array(numbers).reshape(-1, 3),
        shape=np.array([kind.shape for kind in kinds], np.int32),
    )


def touch_history(history: HistoryArrays) -> None:
    """Ask the system for the large pages of all tables, so that no outcome waits for one; others go on meanwhile.

    Entries are spread all over a table, so a few thousand outcomes would ask for all of them anyway.
    """
    factors, points = history.latent_factors, history.change_points
    tables = (history.keys, history.rows, history.row_reader, factors.keys, factors.rows, points.keys, points.rows)
    for array in (*tables, points.edges):
        touch_large_pages(array)


def table_counters(history: HistoryArrays) -> dict[str, NDArray[np.int64]]:
    """Return for each table how many entries it holds and how many it evicted, (2,) int64."""
    return {
        HISTORY: history.counters,
        LATENT_FACTORS: history.latent_factors.counters,
        CHANGE_POINTS: history.change_points.counters,
    }


def _slots(capacity: int) -> int:
    slots = WAYS
    while slots < 2 * capacity:
        slots *= 2
    return slots


def _placement(slots: int, multiplier: np.uint64) -> NDArray[np.uint64]:
    n_bits = (slots // WAYS).bit_length() - 1
    return np.array([multiplier, 63 - n_bits], np.uint64)


def _rows(slots: int, width: int) -> NDArray[np.float32]:
    """Return rows of zeros, padded and aligned to whole cache lines. The memory is not touched yet."""
    rows: NDArray[np.float32] = aligned_zeros((slots, -(-width // LINE_FLOATS) * LINE_FLOATS), np.float32)
    return rows

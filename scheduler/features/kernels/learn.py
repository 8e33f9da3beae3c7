"""Update latent factors, change points and history by an outcome."""

from __future__ import annotations

import numpy as np

from scheduler.columns.arrays import ColumnArrays
from scheduler.features.arrays import FeatureProgram
from scheduler.features.kernels.history_keys import group_key, history_key, last_seen, model_key
from scheduler.history.arrays import HistoryArrays
from scheduler.history.kernels import change_points, latent_factors
from scheduler.history.kernels.hash_table import find, prefetch_bucket, prefetch_entry
from scheduler.history.kernels.row_layout import last_value_at
from scheduler.history.kernels.statistics import update
from scheduler.runtime.jit import inlined


@inlined
def prefetch_buckets(
    program: FeatureProgram, request: ColumnArrays, i: int, node: ColumnArrays, j: int, history: HistoryArrays
) -> None:
    """Prefetch the buckets that `learn` will search; call it well before `prefetch_entries`."""
    for k in range(program.n_parts.size):
        prefetch_bucket(history, history_key(program, k, request, i, node, j))


@inlined
def prefetch_entries(
    program: FeatureProgram, request: ColumnArrays, i: int, node: ColumnArrays, j: int, history: HistoryArrays
) -> None:
    """Prefetch the entries that `learn` will change, if they exist."""
    for k in range(program.n_parts.size):
        prefetch_entry(history, history_key(program, k, request, i, node, j))


@inlined
def learn(
    program: FeatureProgram,
    request: ColumnArrays,
    i: int,
    node: ColumnArrays,
    j: int,
    history: HistoryArrays,
    values: np.ndarray,
    now: float,
) -> None:
    """Update latent factors, then change points, then every history key by an outcome's tracked values.

    Parameters
    ----------
    values
        (n_values,) float64, NaN if not measured; residuals of latent factors are written to it.
    now
        Arrival of the outcome in seconds.
    """
    for m in range(program.models.shape[0]):
        left = model_key(program, m, 0, request, i, node, j)
        right = model_key(program, m, 1, request, i, node, j)
        residual = latent_factors.update(history.latent_factors, m, left, right, values[program.models[m, 0]], now)
        if program.models[m, 3] >= 0:
            values[program.models[m, 3]] = residual
    for g in range(program.change_points.shape[0]):
        value = program.change_points[g, 0]
        slot = find(history, history_key(program, program.change_points[g, 2], request, i, node, j))
        known = slot >= 0 and history.rows[slot, program.change_points[g, 3]] > 0.0
        last = np.float64(history.rows[slot, last_value_at(value)]) if known else np.nan
        key = group_key(program, g, request, i, node, j)
        change_points.update(history.change_points, g, key, values[value], last, last_seen(history, slot), now)
    for k in range(program.n_parts.size):
        update(history, history_key(program, k, request, i, node, j), values, now)

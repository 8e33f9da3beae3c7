"""Hash columns of a request and a node into history keys."""

from __future__ import annotations

import numpy as np

from scheduler.columns.arrays import MISSING_KEY, ColumnArrays
from scheduler.features.arrays import FeatureProgram
from scheduler.history.arrays import HistoryArrays
from scheduler.history.kernels import latent_factors
from scheduler.runtime.hashing import mix
from scheduler.runtime.jit import inlined


@inlined
def history_key(
    program: FeatureProgram, k: int, request: ColumnArrays, i: int, node: ColumnArrays, j: int
) -> np.uint64:
    """Return history key ``k`` of request ``i`` and node ``j``; `MISSING_KEY` if any part is missing."""
    # Starting from the key's own seed keeps equal parts of different keys apart.
    key = program.key_seeds[k]
    for p in range(program.n_parts[k]):
        column = program.parts[k, p]
        part = node.keys[j, column] if program.part_side[k, p] else request.keys[i, column]
        if part == np.uint64(MISSING_KEY):
            return np.uint64(MISSING_KEY)
        key = mix(key, part)
    return key if key != np.uint64(MISSING_KEY) else np.uint64(1)


@inlined
def model_key(
    program: FeatureProgram, m: int, side: int, request: ColumnArrays, i: int, node: ColumnArrays, j: int
) -> np.uint64:
    """Return the key of request ``i`` (side 0) or node ``j`` (side 1) in latent factors ``m``."""
    key = history_key(program, program.models[m, 1 + side], request, i, node, j)
    return latent_factors.entity_key(key, program.model_seeds[m])


@inlined
def group_key(program: FeatureProgram, g: int, request: ColumnArrays, i: int, node: ColumnArrays, j: int) -> np.uint64:
    """Return the key of the group of request ``i`` and node ``j`` in change points of kind ``g``."""
    key = history_key(program, program.change_points[g, 1], request, i, node, j)
    return latent_factors.entity_key(key, program.kind_seeds[g])


@inlined
def last_seen(history: HistoryArrays, slot: int) -> float:
    """Return the time of an entry's last outcome; NaN for slot -1."""
    return history.seen[slot] if slot >= 0 else np.nan

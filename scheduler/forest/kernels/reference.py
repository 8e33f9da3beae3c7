"""Each tree's leaf, by the same tables, one tree after another: for checks and exact sums."""

from __future__ import annotations

import numpy as np

from scheduler.forest.arrays import RANKED, ForestNames, MaskTables
from scheduler.forest.kernels.ranks import zeros_above
from scheduler.forest.kernels.score import mask_row, rank
from scheduler.runtime.jit import kernel
from scheduler.runtime.prefetch import LINE


@kernel
def _whole_row(f: MaskTables, x: np.ndarray, ranks_at: np.ndarray, row: np.ndarray) -> None:
    """Write into `row` the leaves of each tree that a full feature row `x` leaves, the one reached the rightmost.

    `ranks_at`, shape (2 * split features,), is overwritten.
    """
    for w in range(len(row)):
        row[w] = f.full[w]
    for owned in (f.request_features, f.node_features):
        for k in range(len(owned)):
            mask = mask_row(f, owned[k, 1], x[f.columns[owned[k, 1]]])
            for w in range(len(row)):
                row[w] &= f.masks[mask, w]
    for k in range(len(f.pair_features)):
        feature = f.pair_features[k, 1]
        mask = mask_row(f, feature, x[f.columns[feature]])
        for w in range(len(row)):
            row[w] &= f.pair_masks[w >> 3, mask, w & 7]
    for k in range(len(f.split_features)):
        feature = f.split_features[k, 1]
        value = x[f.columns[feature]]
        ranks_at[2 * k + 1] = rank(f, feature, value)
        ranks_at[2 * k] = -1 if np.isnan(value) else ranks_at[2 * k + 1]
    per_line = 8 * LINE // f.word_bits
    for line in range(len(f.line_splits)):
        first, count = f.line_splits[line]
        for k in range(per_line * count):
            split = f.splits[first + k]
            if ranks_at[np.int64(split[0]) // (4 * RANKED)] <= np.int64(np.int32(split[1])):
                _narrow(f, split, per_line * line + k // count, row)


@kernel
def _narrow(f: MaskTables, split: np.ndarray, position: int, row: np.ndarray) -> None:
    """Leave in `row`, of the tree at `position`, what a split leaves to those that go left."""
    if f.word_bits == 64:
        row[position] &= np.uint64(split[2]) | np.uint64(split[3]) << np.uint64(32)
    else:
        shift = np.uint64(32 * (position & 1))
        row[position >> 1] &= np.uint64(split[2]) << shift | ~(np.uint64(2**32 - 1) << shift)


@kernel
def _leaf(f: MaskTables, position: int, row: np.ndarray) -> int:
    """Column of `f.leaf_value` that the single bit left for a tree in `row` names."""
    if f.word_bits == 64:
        return zeros_above(row[position], 64)
    return zeros_above(row[position >> 1] >> np.uint64(32 * (position & 1)), 32)


@kernel
def leaves(
    f: MaskTables, names: ForestNames, x: np.ndarray, ranks_at: np.ndarray, row: np.ndarray, out: np.ndarray
) -> None:
    """Write into `out`, shape (n, n_trees), the leaf numbers of full feature rows `x`.

    `ranks_at`, shape (2 * split features,), and `row`, shape (words,), are overwritten.
    """
    for i in range(len(x)):
        _whole_row(f, x[i], ranks_at, row)
        for t in range(out.shape[1]):
            position = names.position[t]
            out[i, t] = names.leaf[position, _leaf(f, position, row)]


@kernel
def predict(
    f: MaskTables, names: ForestNames, x: np.ndarray, ranks_at: np.ndarray, row: np.ndarray, out: np.ndarray
) -> None:
    """Write into `out`, shape (n, n_heads), double sums in tree order for full feature rows `x`; otherwise `leaves`."""
    for i in range(len(x)):
        _whole_row(f, x[i], ranks_at, row)
        for h in range(out.shape[1]):
            out[i, h] = 0.0
        for t in range(len(names.position)):
            position = names.position[t]
            out[i, names.head[t]] += names.value[position, _leaf(f, position, row)]

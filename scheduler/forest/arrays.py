"""How a forest lies in memory: constants and NamedTuples shared by its tables and its kernels."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

LANES: Final = 16
"""Lanes of 32 bits in a line; LLVM splits them where registers are narrower."""

FANOUT: Final = 8
"""Bounds of a feature are searched by blocks of this many doubles: one line, one vector compare."""

GROUP: Final = 4
"""Trees whose leaf numbers, a byte each, travel in one lane."""

WIDE: Final = 2 * LANES
"""Candidates whose splits are looked at together: two vectors keep both vector units busy for each split read."""

TILE: Final = 64
"""Candidates scored together, in four vectors: their leaf numbers are written as bytes for all before they are read
back as lanes (a wide load of bytes written just before waits for the stores), and the rows of the next tile are asked
for meanwhile."""

RANKED: Final = 4 * TILE
"""Candidates whose pair features are ranked together, while the rows of the first tile come from memory."""


class MaskTables(NamedTuple):
    """What the kernels read. A *position* is the place of a tree in a row; see `build_tables` for the order.

    Attributes
    ----------
    bounds
        Upper bounds of ranks, in blocks of 8, a search tree per feature.
    n_levels, level_start
        Height of a feature's search tree, shape (n_used,), and where each level starts in `bounds`, top first.
    rank_start, rank_row
        `rank_row[rank_start[k] + r]` is the row of `masks` for rank `r`; the last rank of a feature is NaN.
    masks
        Reachable leaves by request and node features, shape (n_rows, words); 64 bits hold one tree or two.
    pair_masks
        The same by pair features, line by line, shape (words / 8, n_pair_rows, 8).
    full
        The row of which nothing is known, shape (words,).
    splits
        uint32, shape (n, 4), splits by pair features, tree by tree: the byte of the feature's ranks in
        `ForestWork.rank_at`, the last rank that goes left, and in two halves the word of leaves that such ranks leave.
    line_splits
        For each line the first of its `splits` and how many each of its trees has, shape (lines, 2).
    columns
        Column of each used feature, shape (n_used,).
    request_features, node_features, pair_features, split_features
        Pairs (place in the owner's feature vector, number of the used feature); pair features with rows in `pair_masks`
        and with `splits`.
    leaf_value, leaf_variance
        float32, shape (n_positions, word_bits), by the number of zero bits above the leaf's bit.
    line_head, line_groups
        For each line (8 words) of a row its head, and how many groups of 4 positions hold trees.
    node_words
        Leading words of a row that depend on a node.
    word_bits
        Bits of a tree's word: 32, or 64 if any tree has over 32 leaves.
    """

    bounds: NDArray[np.float64]
    n_levels: NDArray[np.int64]
    level_start: NDArray[np.int64]
    rank_start: NDArray[np.int64]
    rank_row: NDArray[np.int64]
    masks: NDArray[np.uint64]
    pair_masks: NDArray[np.uint64]
    full: NDArray[np.uint64]
    splits: NDArray[np.uint32]
    line_splits: NDArray[np.int64]
    columns: NDArray[np.int64]
    request_features: NDArray[np.int64]
    node_features: NDArray[np.int64]
    pair_features: NDArray[np.int64]
    split_features: NDArray[np.int64]
    leaf_value: NDArray[np.float32]
    line_head: NDArray[np.int64]
    line_groups: NDArray[np.int64]
    leaf_variance: NDArray[np.float32]
    node_words: int
    word_bits: int


class ForestNames(NamedTuple):
    """Translation back to the trees, all heads one after another.

    Attributes
    ----------
    position, head
        Of each tree, shape (n_trees,).
    leaf, value, variance
        Number, and double value and variance of a leaf, shaped as `MaskTables.leaf_value`.
    """

    position: NDArray[np.int64]
    head: NDArray[np.int64]
    leaf: NDArray[np.int32]
    value: NDArray[np.float64]
    variance: NDArray[np.float64]


class ForestWork(NamedTuple):
    """Scratch of one thread in `scheduler.forest.kernels.score.score`.

    Attributes
    ----------
    node_at
        First byte of each candidate's row, shape (TILE,).
    zeros
        Zeros of the same shape.
    touch_at
        Bytes of `rows` that the next tile will need, shape (TILE * lines,).
    pair_at
        Byte of each pair feature's row in a line of `pair_masks`, shape (RANKED, pair features).
    found
        Ranks of one feature, shape (TILE,).
    rank_at
        Ranks of features with splits, shape (2 * split features, RANKED): each feature's with NaN before all others,
        then with NaN after them.
    sums
        Shape (2 n_heads, TILE): of values, then of variances.
    """

    node_at: NDArray[np.int64]
    zeros: NDArray[np.int64]
    touch_at: NDArray[np.int64]
    pair_at: NDArray[np.int64]
    found: NDArray[np.int64]
    rank_at: NDArray[np.int32]
    sums: NDArray[np.float32]

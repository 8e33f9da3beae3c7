"""How much memory the tables of a forest take, computed from its trees before anything is built."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scheduler.errors import FoglineError, ForestError
from scheduler.forest.trees import CATEGORICAL, Trees
from scheduler.runtime.prefetch import LINE

FREE_BYTES = 2**27
"""Tables of any trees may take 128 MB. Those of 300 trees of 31 leaves in each of 4 heads, over 20 features of 255
values, come to 50 MB."""

BYTES_PER_TREE_BYTE = 96
"""Beyond those, so many bytes a byte of trees: memory and time grow with what was sent, not with its square. 1,000
trees of 64 leaves in each of 3 heads, over 26 features of 255 values, take 42 bytes for each of their 7 million; 4
heads over 40 features of 500 values take 95; trees made to exhaust a machine take 500 and more."""

MOST_BYTES = 2**30
"""Tables above 1 GB are refused whatever the size of the trees: no processor keeps a share of them in its caches."""

TREE_BYTES, SPLIT_BYTES = 1_000, 400
"""What Python keeps of a tree and of a split while tables are built."""

MEMBER_BYTES = 24
"""Of a category that a split sends left: its number and two bounds, 8 bytes each."""

UNPACKED_BYTES = 32
"""Of a word of a set of categories: a byte for each bit while the set is read."""

WORD_BITS = 32
"""Categories that a word of a set can hold."""

LEAF_BYTES = 28
"""Of a leaf: number, value and variance as doubles, value and variance as singles."""


def check_table_bytes(heads: Sequence[Trees], name: str = "heads", error: type[FoglineError] = ForestError) -> None:
    """Refuse trees whose tables would take more memory than their own size warrants.

    Parameters
    ----------
    heads
        Checked trees of each head.
    name
        Begins the message.
    error
        Class to raise.

    Raises
    ------
    FoglineError
        Of the class `error`, with the bytes allowed and needed.
    """
    n_bytes = sum(array.nbytes for trees in heads for array in trees)
    allowed, needed = min(FREE_BYTES + BYTES_PER_TREE_BYTE * n_bytes, MOST_BYTES), table_bytes(heads)
    if needed > allowed:
        message = (
            f"{name}: expected trees whose tables take at most {allowed:,} bytes "
            f"({FREE_BYTES:,} and {BYTES_PER_TREE_BYTE} for each of their {n_bytes:,} bytes, at most {MOST_BYTES:,}), "
            f"found {needed:,}; fewer trees, or fewer bins of values (max_bin), take less"
        )
        raise error(message)


def table_bytes(heads: Sequence[Trees]) -> int:
    """Return about how many bytes the tables of a forest take, never less than they will.

    A row of masks for each rank of each feature holds a word of every tree, and each split says for each rank of its
    feature where it goes: both grow with the product of trees and thresholds.

    Parameters
    ----------
    heads
        Checked trees of each head.
    """
    leaves = np.concatenate([np.diff(trees.leaf_start) for trees in heads])
    word_bits = 32 if leaves.max(initial=0) <= 32 else 64  # noqa: PLR2004
    per_line = 8 * LINE // word_bits
    # Each head has two runs of whole lines: trees that look at the node, and others.
    n_lines = -(-len(leaves) // per_line) + 2 * len(heads)
    n_splits, n_ranks, category_bytes = _ranks(heads)
    masks = int((n_ranks * 8 * n_lines * 8).sum())
    directions = int((n_splits * n_ranks).sum())
    kept = len(leaves) * TREE_BYTES + int(n_splits.sum()) * SPLIT_BYTES
    return masks + directions + category_bytes + kept + n_lines * per_line * word_bits * LEAF_BYTES


def _ranks(heads: Sequence[Trees]) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Return for each used column the number of its splits and of its ranks at most, and the bytes of categories."""
    used = np.unique(np.concatenate([trees.feature for trees in heads]))
    n_splits, n_members, longest = np.zeros((3, len(used)), np.int64)
    numbers: list[NDArray[np.float64]] = []
    category_bytes = 0
    for trees in heads:
        column = np.searchsorted(used, trees.feature)
        n_splits += np.bincount(column, minlength=len(used))
        by_category = (trees.decision & CATEGORICAL) > 0
        numbers.append(np.column_stack([column[~by_category], trees.threshold[~by_category]]))
        sets, column = trees.threshold[by_category].astype(np.int64), column[by_category]
        members, words = _set_sizes(trees)[sets], np.diff(trees.cat_start)[sets]
        np.add.at(n_members, column, members)
        np.maximum.at(longest, column, words)
        category_bytes += int((members * MEMBER_BYTES + words.astype(np.int64) * UNPACKED_BYTES).sum())
    # Two bounds of each category, two of zero where zero is missing, and the ranks of infinity and NaN.
    n_categories = np.minimum(n_members, WORD_BITS * longest)
    return n_splits, _distinct(np.concatenate(numbers), len(used)) + 2 * n_categories + 4, category_bytes


def _set_sizes(trees: Trees) -> NDArray[np.int64]:
    """Return how many categories each set holds."""
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bitwise_count(trees.cat_bits), dtype=np.int64)])
    return np.diff(ends[trees.cat_start])


def _distinct(pairs: NDArray[np.float64], width: int) -> NDArray[np.int64]:
    """Return the number of distinct thresholds of each column, of (n, 2) columns and thresholds."""
    column, threshold = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))].T
    is_new = np.ones(len(column), np.bool_)
    is_new[1:] = (np.diff(column) != 0) | (threshold[1:] != threshold[:-1])
    return np.bincount(column[is_new].astype(np.int64), minlength=width)

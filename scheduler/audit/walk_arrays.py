"""Scratch of the kernels that walk a tree, for Shapley values and responses, and the weights of its leaves."""

from __future__ import annotations

from math import comb
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.forest.trees import MAX_LEAVES


class WalkWork(NamedTuple):
    """Scratch of one walk over the leaves of a tree.

    Attributes
    ----------
    node, first, second
        (MAX_LEAVES,) int32, the children that wait, and two numbers of each: for Shapley values how many features of
        the path the chosen row and the background row had decided, for a response the first and the end of its values.
    waiting
        (MAX_LEAVES,) int32, the feature of the split above each child that waits.
    feature, is_chosen
        (MAX_LEAVES,) int32 and bool: the features of the path on which both rows differ, and whose side was taken.
    differs
        (n_features,) bool, whether the two rows differ.
    """

    node: NDArray[np.int32]
    first: NDArray[np.int32]
    second: NDArray[np.int32]
    waiting: NDArray[np.int32]
    feature: NDArray[np.int32]
    is_chosen: NDArray[np.bool_]
    differs: NDArray[np.bool_]


def new_walk(n_features: int) -> WalkWork:
    """Return scratch for trees over so many features."""
    node, first, second, waiting, feature = np.empty((5, MAX_LEAVES), np.int32)
    return WalkWork(
        node, first, second, waiting, feature, np.empty(MAX_LEAVES, np.bool_), np.empty(n_features, np.bool_)
    )


def shapley_weights() -> NDArray[np.float64]:
    """Return (MAX_LEAVES, MAX_LEAVES) weights of a leaf: (a - 1)! b! / (a + b)! in row a and column b.

    Row 0 is 0: it is never used. A path to a leaf has fewer splits than the tree has leaves.
    """
    table = np.zeros((MAX_LEAVES, MAX_LEAVES))
    for a in range(1, MAX_LEAVES):
        for b in range(MAX_LEAVES - a):
            table[a, b] = 1.0 / (a * comb(a + b, a))
    return table

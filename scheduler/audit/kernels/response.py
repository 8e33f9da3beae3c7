"""The raw score of a row as a function of one of its features."""

from __future__ import annotations

import numpy as np

from scheduler.audit.kernels.walk import child_of, goes_left
from scheduler.audit.walk_arrays import WalkWork
from scheduler.forest.trees import Trees
from scheduler.runtime.jit import inlined, kernel


@kernel
def response(
    trees: Trees, x: np.ndarray, feature: int, values: np.ndarray, order: np.ndarray, work: WalkWork, out: np.ndarray
) -> None:
    """Write into ``out`` the raw score of row ``x`` with each of ``values`` in the place of one feature.

    One walk over each tree serves all values: a split by the feature divides the values that reached it.

    Parameters
    ----------
    x
        (n_features,).
    values, out
        (n,) float64.
    order
        (n,) int32, overwritten.
    """
    base = 0.0
    for v in range(values.size):
        order[v], out[v] = v, 0.0
    for t in range(len(trees.node_start) - 1):
        if trees.node_start[t + 1] == trees.node_start[t]:
            base += trees.leaf_value[trees.leaf_start[t]]
        else:
            base += add_tree(trees, t, x, feature, values, order, work, out)
    for v in range(values.size):
        out[v] += base


@inlined
def add_tree(
    trees: Trees,
    t: int,
    x: np.ndarray,
    feature: int,
    values: np.ndarray,
    order: np.ndarray,
    work: WalkWork,
    out: np.ndarray,
) -> float:
    """Add one tree's leaf to each value; a leaf that all values share is returned in place of that."""
    first, node, top, low, high = trees.node_start[t], 0, 0, 0, values.size
    while True:
        if node < 0:
            leaf = trees.leaf_value[trees.leaf_start[t] + ~node]
            if high - low == values.size:
                return leaf
            for k in range(low, high):
                out[order[k]] += leaf
            if top == 0:
                return 0.0
            top -= 1
            node, low, high = work.node[top], work.first[top], work.second[top]
            continue
        split = first + node
        f = trees.feature[split]
        if f != feature:
            node = child_of(trees, split, goes_left(trees, split, x[f]))
            continue
        middle = divide(trees, split, values, order, low, high)
        if low < middle < high:
            work.node[top], work.first[top], work.second[top] = child_of(trees, split, False), middle, high
            top += 1
        node = child_of(trees, split, middle > low)
        high = middle if middle > low else high


@inlined
def divide(trees: Trees, split: int, values: np.ndarray, order: np.ndarray, low: int, high: int) -> int:
    """Move the values of a part of ``order`` that go left to its front; return where the others begin."""
    middle = low
    for k in range(low, high):
        if goes_left(trees, split, values[order[k]]):
            order[k], order[middle] = order[middle], order[k]
            middle += 1
    return middle

"""Exact interventional Shapley values of a tree ensemble with one background row.

The game of a pair: a coalition of features takes their values from the chosen row, the others from the background row,
and is worth the raw score of that hybrid. A leaf is reached by a hybrid exactly if the coalition has all features A of
its path on which only the chosen row goes the leaf's way, and none of the features B on which only the background row
does. The Shapley values of such a game are known: with a = |A| and b = |B| each of A gets (a - 1)! b! / (a + b)! of the
leaf's value, and each of B loses a! (b - 1)! / (a + b)! of it. So one walk over the leaves that some hybrid reaches
gives the values of the tree, and their sum over the trees gives those of the ensemble.

References
----------
Laberge, Pequignot: Understanding interventional TreeSHAP: how and why it works. arXiv:2209.15123, 2022.
Lundberg et al.: From local explanations to global understanding with explainable AI for trees. Nature Machine
Intelligence 2, 2020.
"""

from __future__ import annotations

import numpy as np

from scheduler.audit.kernels.walk import child_of, goes_left
from scheduler.audit.walk_arrays import WalkWork
from scheduler.forest.trees import Trees
from scheduler.runtime.jit import inlined, kernel


@kernel
def shapley(trees: Trees, x: np.ndarray, z: np.ndarray, weights: np.ndarray, work: WalkWork, out: np.ndarray) -> None:
    """Write into ``out``, shape (n, n_features), the values of the pairs of rows ``x[i]`` and ``z[i]``.

    Parameters
    ----------
    x, z
        (n, n_features), chosen rows and background rows.
    weights
        From `scheduler.audit.walk_arrays.shapley_weights`.
    """
    for i in range(len(x)):
        for f in range(out.shape[1]):
            out[i, f] = 0.0
            work.differs[f] = not (x[i, f] == z[i, f] or (np.isnan(x[i, f]) and np.isnan(z[i, f])))
        for t in range(len(trees.node_start) - 1):
            if trees.node_start[t + 1] > trees.node_start[t]:
                add_tree(trees, t, x[i], z[i], weights, work, out[i])


@inlined
def add_tree(
    trees: Trees, t: int, x: np.ndarray, z: np.ndarray, weights: np.ndarray, work: WalkWork, out: np.ndarray
) -> None:
    """Add the values of one tree with splits."""
    first, node, top, a, b = trees.node_start[t], 0, 0, 0, 0
    while True:
        if node < 0:
            add_leaf(trees.leaf_value[trees.leaf_start[t] + ~node], a, b, weights, work, out)
            if top == 0:
                return
            top -= 1
            node, a, b = work.node[top], work.first[top], work.second[top]
            work.feature[a + b], work.is_chosen[a + b] = work.waiting[top], False
            b += 1
            continue
        split = first + node
        f = trees.feature[split]
        x_left = goes_left(trees, split, x[f])
        if not work.differs[f] or goes_left(trees, split, z[f]) == x_left:
            node = child_of(trees, split, x_left)
            continue
        side = side_of(work, f, a + b)
        if side >= 0:
            node = child_of(trees, split, x_left == (side == 1))
            continue
        work.node[top], work.first[top], work.second[top] = child_of(trees, split, not x_left), a, b
        work.waiting[top] = f
        top += 1
        work.feature[a + b], work.is_chosen[a + b] = f, True
        a += 1
        node = child_of(trees, split, x_left)


@inlined
def add_leaf(value: float, a: int, b: int, weights: np.ndarray, work: WalkWork, out: np.ndarray) -> None:
    """Add what a leaf gives to the ``a + b`` features of its path on which the rows differ."""
    gain, loss = value * weights[a, b], value * weights[b, a]
    for d in range(a + b):
        out[work.feature[d]] += gain if work.is_chosen[d] else -loss


@inlined
def side_of(work: WalkWork, f: int, length: int) -> int:
    """Return 1 if the path took the chosen row's side of a feature, 0 for the background's, -1 if it took none yet."""
    for d in range(length):
        if work.feature[d] == f:
            return 1 if work.is_chosen[d] else 0
    return -1

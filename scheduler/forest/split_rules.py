"""Splits of trees as ranges of ranks."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scheduler.forest.trees import (
    CATEGORICAL,
    DEFAULT_LEFT,
    MISSING_NAN,
    MISSING_NONE,
    MISSING_SHIFT,
    MISSING_ZERO,
    Trees,
)

#: LightGBM reads every value up to this size as 0 (`kZeroThreshold`, a float32 constant widened to double).
ZERO = float(np.float32(1e-35))

BELOW_ZERO = float(np.nextafter(-ZERO, -np.inf))


class Shape:
    """One tree with its leaves in order from left to right, and the leaves below each side of each split."""

    def __init__(self, trees: Trees, tree: int) -> None:
        self.trees = trees
        nodes = slice(trees.node_start[tree], trees.node_start[tree + 1])
        self.first = int(trees.node_start[tree])
        self.feature = trees.feature[nodes].tolist()
        leaves = slice(trees.leaf_start[tree], trees.leaf_start[tree + 1])
        self.value, self.variance = trees.leaf_value[leaves], trees.leaf_variance[leaves]
        self.n_leaves = len(self.value)
        self.order: list[int] = []
        left, right = trees.left[nodes].tolist(), trees.right[nodes].tolist()
        self.below: list[tuple[int, int]] = [(0, 0)] * len(left)
        # Depth first, right side pushed below the left; a split is closed once both sides are numbered.
        self._walk(left, right)

    def _walk(self, left: list[int], right: list[int]) -> None:
        bits: dict[int, int] = {}
        waiting: list[tuple[int, bool]] = [(0 if left else ~0, False)]
        while waiting:
            child, closing = waiting.pop()
            if child < 0:
                bits[child] = 1 << len(self.order)
                self.order.append(~child)
            elif closing:
                self.below[child] = bits[left[child]], bits[right[child]]
                bits[child] = bits[left[child]] | bits[right[child]]
            else:
                waiting += [(child, True), (right[child], False), (left[child], False)]


def word_of(position: int, word_bits: int) -> tuple[int, int]:
    """Word of a position, and the place of its lowest bit in it."""
    if word_bits == 64:  # noqa: PLR2004
        return position, 0
    return position // 2, 32 * (position % 2)


class _Split(NamedTuple):
    """A split by one column: the leaves on either side of it, and which of the column's ranks go left, NaN last."""

    tree: int
    left: int
    right: int
    goes_left: NDArray[np.bool_]


Found: TypeAlias = "tuple[int, int]"
"""A tree and one of its splits."""


def splits_by_column(shapes: list[Shape]) -> dict[int, list[Found]]:
    """Return the splits of each column that some tree looks at, columns in order."""
    found: dict[int, list[Found]] = {}
    for tree, shape in enumerate(shapes):
        for split, column in enumerate(shape.feature):
            found.setdefault(column, []).append((tree, split))
    return dict(sorted(found.items()))


class UsedFeature:
    """Bounds of the ranks of one column, and its splits."""

    def __init__(self, shapes: list[Shape], found: list[Found]) -> None:
        rules = [_Rule(shapes[tree].trees, shapes[tree].first + split) for tree, split in found]
        self.bounds = np.unique(np.concatenate([rule.bounds for rule in rules]))
        values = np.append(self.bounds, (np.inf, np.nan))
        self.splits = [
            _Split(tree, *shapes[tree].below[split], rule.goes_left(values))
            for (tree, split), rule in zip(found, rules, strict=True)
        ]

    @property
    def n_ranks(self) -> int:
        """How many ranks there are, the last of them for NaN."""
        return len(self.bounds) + 2

    def is_ordered(self) -> bool:
        """Return whether each split sends all ranks up to one left and all others right, wherever NaN goes."""
        return all(not (split.goes_left[1:-1] & ~split.goes_left[:-2]).any() for split in self.splits)

    def masks(self, position: NDArray[np.int64], word_bits: int, words: int) -> NDArray[np.uint64]:
        """Return the leaves that can still be reached at each rank, shape (ranks, words)."""
        masks = np.full((self.n_ranks, words), ~np.uint64(0))
        for split in self.splits if words else ():
            word, shift = word_of(int(position[split.tree]), word_bits)
            gone = np.where(split.goes_left, np.uint64(split.right << shift), np.uint64(split.left << shift))
            masks[:, word] &= ~gone
        return masks


class _Rule:
    """Where LightGBM sends a value at one split (`Tree::NumericalDecision`, `CategoricalDecision`)."""

    def __init__(self, trees: Trees, split: int) -> None:
        decision = int(trees.decision[split])
        self.default_left = bool(decision & DEFAULT_LEFT)
        self.missing = decision >> MISSING_SHIFT
        self.members: NDArray[np.int64] | None = None
        if decision & CATEGORICAL:
            number = int(trees.threshold[split])
            bits = trees.cat_bits[trees.cat_start[number] : trees.cat_start[number + 1]]
            self.members = np.flatnonzero(np.unpackbits(bits.astype("<u4").view(np.uint8), bitorder="little"))
            # A category is the integer part, so member c is the interval [c, c + 1), and (-1, 1) for c = 0.
            low = np.where(self.members == 0, -1.0, np.nextafter(self.members.astype(float), -np.inf))
            self.bounds = np.append(low, np.nextafter(self.members + 1.0, -np.inf))
            return
        threshold = float(trees.threshold[split])
        if -ZERO <= threshold < ZERO:
            # Values of this range are 0 to LightGBM, so they all go the way of 0.
            threshold = ZERO if threshold >= 0 else BELOW_ZERO
        self.threshold = threshold
        self.bounds = np.array([threshold, *((BELOW_ZERO, ZERO) if self.missing == MISSING_ZERO else ())])

    def goes_left(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Direction of the greatest value of each rank and, last, of NaN."""
        is_nan = np.isnan(values)
        if self.members is not None:
            whole = np.where(is_nan | (values <= -1) | (values >= 2.0**31), -1, values).astype(np.int64)
            return np.isin(whole, self.members)
        if self.missing == MISSING_NAN:
            return np.where(is_nan, self.default_left, values <= self.threshold)
        values = np.where(is_nan, 0.0, values)
        below = values <= self.threshold
        if self.missing == MISSING_NONE:
            return below
        return np.where(np.abs(values) <= ZERO, self.default_left, below)

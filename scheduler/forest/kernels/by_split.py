"""The inner loop of the forest where pair features are many: each split of a tree, for many candidates at once.

A vector holds one tree of many candidates, so that a split is read once for all of them (Lucchese et al., Exploiting
CPU SIMD extensions to speed-up document scoring with tree ensembles, SIGIR 2016).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from scheduler.forest.arrays import GROUP, LANES, WIDE
from scheduler.forest.kernels.by_mask import Lines, emitter, plain_add_lines
from scheduler.runtime.llvm_builder import F32, I32, I64, INT, Code, check_contiguous, or_plain, vector
from scheduler.runtime.prefetch import LINE


def _plain_add_lines_by_split(*arguments: Any) -> None:
    *common, splits, line_splits, rank_at, first = arguments

    def narrow(line: int, place: int, c: int, word: int) -> int:
        start, count = line_splits[line].tolist()
        for at, last, low, high in splits[start + place * count : start + (place + 1) * count].tolist():
            if rank_at.reshape(-1)[at // 4 + first + c] <= np.uint32(last).astype(np.int32):
                word &= low | high << 32
        return word

    plain_add_lines(*common, narrow)


@or_plain(_plain_add_lines_by_split)
def add_lines_by_split(
    typing: Any, request: Any, node: Any, node_at: Any, base: Any, base_at: Any, pair_masks: Any, pair_at: Any,
    node_lines: Any, bits: Any, values: Any, line_head: Any, line_groups: Any, touch_at: Any, vectors: Any, sums: Any,
    variances: Any, spreads: Any, splits: Any, line_splits: Any, rank_at: Any, first: Any,
) -> Any:  # fmt: skip
    """Do what `add_lines` does, after each tree's splits by pair features besides those with masks.

    Parameters
    ----------
    request ... spreads
        As for `add_lines`.
    splits, line_splits
        As in `MaskTables`.
    rank_at, first
        `ForestWork.rank_at`, and the first candidate there.
    """
    del typing, node_lines, bits, vectors, first  # integers, and numba's context
    rows = (request, node, node_at, base, base_at, pair_masks, pair_at)
    leaves, totals = (values, line_head, line_groups, touch_at), (sums, variances, spreads)
    by_split = (splits, line_splits, rank_at)
    check_contiguous(*rows, *leaves, *totals, *by_split)
    return types.void(*rows, INT, INT, *leaves, INT, *totals, *by_split, INT), emitter(_BySplit)


class _BySplit(Lines):
    """By splits, `WIDE` candidates at a time."""

    def __init__(self, code: Code, kind: Any, lanes: int) -> None:
        super().__init__(code, kind, lanes)
        self.rows_at_hand, self.trees_at_hand = self.room(WIDE * LINE), self.room(WIDE * LINE)

    def add_line(self) -> None:
        code, builder = self.code, self.code.builder
        splits, starts, ranks = map(code.start, range(17, 20))
        starts = code.place(starts, self.line, 16)
        self.splits_at, self.n_splits = code.place(splits, code.item(starts, I64(0)), 16), code.item(starts, I64(1))
        wides = builder.udiv(builder.add(self.vectors, I64(WIDE // LANES - 1)), I64(WIDE // LANES))
        with code.loop(wides) as at:
            first = builder.mul(at.index, I64(WIDE))
            self._turn(first)
            self.ranks_at = code.place(ranks, builder.add(code.args[20], first), 4)
            with code.loop(builder.mul(self.n_groups, I64(GROUP))) as tree:
                left = code.load(code.place(self.trees_at_hand, tree.index, WIDE * self.bits // 8), self._wide, LINE)
                self._add(self.zeros_above(self._narrowed(left, tree.index)), tree.index, code.place(I64(0), first, 4))

    @property
    def _wide(self) -> Any:
        return vector(self.kind, WIDE)

    def _turn(self, first: Any) -> None:
        """Write the leaves left to `WIDE` candidates tree by tree."""
        code, builder = self.code, self.code.builder
        with code.loop(I64(WIDE)) as loop:
            c = builder.add(first, loop.index)
            self.prefetch_line(c)
            code.store(self.left(c, self.n_pairs), code.place(self.rows_at_hand, loop.index, LINE), LINE)
        half = self.lanes // 2
        low = [k // 2 + self.lanes * (k % 2) for k in range(self.lanes)]
        high = [k + half for k in low]
        for part in range(WIDE // self.lanes):
            places = [I64((part * self.lanes + k) * LINE) for k in range(self.lanes)]
            rows = [code.load(builder.add(self.rows_at_hand, place), self.words, LINE) for place in places]
            for _ in range(half.bit_length()):  # each round interleaves both halves; after all, rows are columns
                pairs = list(zip(rows[:half], rows[half:], strict=True))
                rows = [self.pick(a, b, lanes) for a, b in pairs for lanes in (low, high)]
            for tree, words in enumerate(rows):
                at = I64(tree * WIDE * self.bits // 8 + part * LINE)
                code.store(words, builder.add(self.trees_at_hand, at), LINE)

    def _narrowed(self, left: Any, tree: Any) -> Any:
        """Take from each candidate's leaves those on the right of every split at which it goes left."""
        code, builder = self.code, self.code.builder
        tree_at = code.place(self.splits_at, builder.mul(self.n_splits, tree), 16)

        def look(split: Any, left: Any) -> Any:
            at = code.place(tree_at, split, 16)
            ranks_of = builder.zext(code.load(at, I32, 4), I64)
            ranks = code.load(builder.add(self.ranks_at, ranks_of), vector(I32, WIDE), 4)
            last = code.broadcast(code.load(builder.add(at, I64(4)), I32, 4), WIDE)
            stay = code.broadcast(code.load(builder.add(at, I64(8)), self.kind, 4), WIDE)
            return builder.select(builder.icmp_signed("<=", ranks, last), builder.and_(left, stay), left)

        return code.fold(left, self.n_splits, look)

    def _add(self, numbers: Any, tree: Any, place: Any) -> None:
        """Add a tree's leaf values to the sums of `WIDE` candidates."""
        code, builder = self.code, self.code.builder
        if self.kind is I64:
            numbers = builder.trunc(numbers, vector(I32, WIDE))
        indices = [self.pick(numbers, numbers, list(range(k, k + LANES))) for k in range(0, WIDE, LANES)]

        def add(table_at: Any, sums_at: Any) -> None:
            tables = self.leaves(code.place(table_at, tree, self.bits * 4))
            for k, index in enumerate(indices):
                at = builder.add(builder.add(sums_at, place), I64(k * LINE))
                total = code.load(at, vector(F32, LANES), 4)
                code.store(builder.fadd(total, self.look_up(tables, index)), at, 4)

        add(*self.tables[0])
        with builder.if_then(self.has_spreads):
            add(*self.tables[1])

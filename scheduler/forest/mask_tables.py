"""The tables of masks of a forest, built from its trees."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from scheduler.forest.arrays import FANOUT, GROUP, RANKED, TILE, ForestNames, ForestWork, MaskTables
from scheduler.forest.split_rules import Shape, UsedFeature, splits_by_column, word_of
from scheduler.forest.trees import Trees
from scheduler.runtime.aligned_arrays import aligned_copy, aligned_zeros
from scheduler.runtime.packed_arrays import PackedArrays
from scheduler.runtime.prefetch import LINE

MASK_CYCLES, SPLIT_CYCLES, TURN_CYCLES = 2.5, 0.1, 4.0
"""Processor cycles a candidate for the masks of a pair feature in a line, for a split of one, and for turning a line so
that splits can be looked at; measured on models of 10 to 38 pair features. Either way comes to the same leaf."""


def empty_work(tables: MaskTables) -> ForestWork:
    """Scratch arrays for one thread."""
    n_heads = int(tables.line_head.max(initial=0)) + 1
    return ForestWork(
        node_at=np.zeros(TILE, np.int64),
        zeros=np.zeros(TILE, np.int64),
        touch_at=np.zeros(TILE * len(tables.line_head), np.int64),
        pair_at=np.zeros((RANKED, len(tables.pair_features)), np.int64),
        found=np.zeros(TILE, np.int64),
        rank_at=np.zeros((2 * len(tables.split_features), RANKED), np.int32),
        sums=aligned_zeros((2 * n_heads, TILE), np.float32),
    )


def build_tables(
    heads: Sequence[Trees],
    request: Sequence[int],
    node: Sequence[int],
    pair: Sequence[int],
) -> tuple[PackedArrays[MaskTables], ForestNames]:
    """Lay out positions and compute the masks of every rank of every used feature.

    Positions hold the trees that look at a node feature first, head by head, then the others, head by head; each
    such run starts on a line of 8 words and is padded with trees of one leaf of value 0. Within a run trees with as
    many `splits` stand together, as those of a line are filled up to its most.

    Parameters
    ----------
    heads
        Checked trees of each head.
    request, node, pair
        Columns of each owner.

    Returns
    -------
    tuple
        Tables, each array at a cache line, and the translation back.
    """
    shapes = [Shape(trees, tree) for trees in heads for tree in range(trees.n_trees)]
    head = np.repeat(np.arange(len(heads)), [trees.n_trees for trees in heads])
    word_bits = 32 if all(shape.n_leaves <= 32 for shape in shapes) else 64  # noqa: PLR2004
    per_line = 8 * LINE // word_bits
    by_column = splits_by_column(shapes)
    used = np.array(list(by_column), np.int64)
    features = [UsedFeature(shapes, found) for found in by_column.values()]
    is_pair = np.isin(used, pair)
    by_split, n_splits = _looked_at_by_split(features, is_pair, len(shapes), per_line)
    position, line_head, line_groups, node_lines = _positions(shapes, head, set(node), n_splits, per_line)
    words = 8 * len(line_head)

    n_levels, level_start, bounds = _search_trees([feature.bounds for feature in features])
    # One feature's rows at a time: those that repeat are let go before the next ones are made.
    rows = (
        feature.masks(position, word_bits, 0 if split else words)
        for feature, split in zip(features, by_split, strict=True)
    )
    masks, pair_masks, rank_row = _unique_rows(rows, is_pair, words)
    rank_start = np.cumsum([0] + [feature.n_ranks for feature in features])
    leaf, value, variance = _leaf_tables(shapes, position, word_bits, len(line_head) * per_line)

    number = {int(column): k for k, column in enumerate(used)}
    pair_features = _owned(pair, number)
    split_features = pair_features[by_split[pair_features[:, 1]]]
    splits, line_splits = _split_table([features[k] for k in split_features[:, 1]], position, per_line, len(line_head))
    tables = MaskTables(
        bounds=bounds,
        n_levels=n_levels,
        level_start=level_start,
        rank_start=rank_start.astype(np.int64),
        rank_row=rank_row,
        masks=masks,
        pair_masks=pair_masks,
        full=_full_row(shapes, position, word_bits, words),
        splits=splits,
        line_splits=line_splits,
        columns=used,
        request_features=_owned(request, number),
        node_features=_owned(node, number),
        pair_features=pair_features[~by_split[pair_features[:, 1]]],
        split_features=split_features,
        leaf_value=value.astype(np.float32),
        line_head=line_head,
        line_groups=line_groups,
        leaf_variance=variance.astype(np.float32),
        node_words=8 * node_lines,
        word_bits=word_bits,
    )
    aligned = (aligned_copy(part) if isinstance(part, np.ndarray) else part for part in tables)
    return PackedArrays(MaskTables._make(aligned)), ForestNames(position, head.astype(np.int64), leaf, value, variance)


def _looked_at_by_split(
    features: list[UsedFeature], is_pair: NDArray[np.bool_], n_trees: int, per_line: int
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Choose pair features to evaluate split by split where that is cheaper, and count their splits in each tree."""
    by_split = is_pair & np.array([feature.is_ordered() for feature in features], np.bool_)
    n_splits = np.zeros(n_trees, np.int64)
    for k in np.flatnonzero(by_split):
        np.add.at(n_splits, [split.tree for split in features[k].splits], 1)
    lines = n_trees / per_line
    if lines * by_split.sum() * MASK_CYCLES > n_splits.sum() * SPLIT_CYCLES + lines * TURN_CYCLES:
        return by_split, n_splits
    return np.zeros_like(by_split), np.zeros_like(n_splits)


def _round_up(n: int, step: int) -> int:
    return -(-int(n) // step) * step


def _owned(columns: Sequence[int], number: dict[int, int]) -> NDArray[np.int64]:
    pairs = [(place, number[column]) for place, column in enumerate(columns) if column in number]
    return np.array(pairs, np.int64).reshape(-1, 2)


def _positions(
    shapes: list[Shape],
    head: NDArray[np.int64],
    node: set[int],
    n_splits: NDArray[np.int64],
    per_line: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], int]:
    """Position of each tree, head and groups of each line, and the number of lines that depend on a node."""
    needs_node = np.array([not node.isdisjoint(shape.feature) for shape in shapes], bool)
    position = np.zeros(len(shapes), np.int64)
    line_head: list[int] = []
    line_groups: list[int] = []
    node_lines = 0
    for kept in (True, False):
        for number in range(head.max(initial=-1) + 1):
            run = np.flatnonzero((needs_node == kept) & (head == number))
            run = run[np.argsort(n_splits[run], kind="stable")]
            position[run] = len(line_head) * per_line + np.arange(len(run))
            for start in range(0, len(run), per_line):
                line_head.append(number)
                line_groups.append(-(-min(len(run) - start, per_line) // GROUP))
        if kept:
            node_lines = len(line_head)
    if not line_head:
        line_head, line_groups = [0], [0]
    return position, np.array(line_head, np.int64), np.array(line_groups, np.int64), node_lines


def _full_row(shapes: list[Shape], position: NDArray[np.int64], word_bits: int, words: int) -> NDArray[np.uint64]:
    full = np.zeros(words, np.uint64)
    # A padding position has one leaf: bit 0.
    full[:] = 1 if word_bits == 64 else (1 << 32) | 1  # noqa: PLR2004
    for shape, place in zip(shapes, position, strict=True):
        word, shift = word_of(int(place), word_bits)
        full[word] |= np.uint64(((1 << shape.n_leaves) - 1) << shift)
    return full


def _leaf_tables(
    shapes: list[Shape],
    position: NDArray[np.int64],
    word_bits: int,
    n_positions: int,
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]]:
    leaf = np.zeros((n_positions, word_bits), np.int32)
    value, variance = np.zeros((2, n_positions, word_bits))
    for shape, place in zip(shapes, position, strict=True):
        columns = word_bits - 1 - np.arange(shape.n_leaves)
        leaf[place, columns] = shape.order
        value[place, columns] = shape.value[shape.order]
        variance[place, columns] = shape.variance[shape.order]
    return leaf, value, variance


def _split_table(
    features: list[UsedFeature], position: NDArray[np.int64], per_line: int, n_lines: int
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Return splits of ordered features tree by tree, and for each line where they begin and how many a tree has.

    To go right leaves all leaves as they are: of those that are left at last the rightmost is reached.
    """
    rows: list[list[tuple[int, int, int, int]]] = [[] for _ in range(n_lines * per_line)]
    for k, feature in enumerate(features):
        for split in feature.splits:
            ranks_at = 4 * RANKED * (2 * k + (not split.goes_left[-1]))
            last, stay = int(split.goes_left[:-1].sum()) - 1, ~split.right
            rows[position[split.tree]].append((ranks_at, last % 2**32, stay % 2**32, (stay >> 32) % 2**32))
    most = np.array([len(row) for row in rows]).reshape(n_lines, per_line).max(axis=1)
    nothing = (0, -2 % 2**32, 2**32 - 1, 2**32 - 1)  # no rank is so low
    table = [row + [nothing] * (most[place // per_line] - len(row)) for place, row in enumerate(rows)]
    flat = np.array([split for row in table for split in row], np.uint32).reshape(-1, 4)
    return flat, np.column_stack([np.cumsum([0, *(per_line * most[:-1])]), most]).astype(np.int64)


def _search_trees(
    bounds: list[NDArray[np.float64]],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Blocks of 8 bounds, above them blocks of the last bounds of blocks, up to one block, for each feature."""
    trees = [_levels(row) for row in bounds]
    n_levels = np.array([len(tree) for tree in trees], np.int64)
    level_start = np.zeros((len(trees), n_levels.max(initial=1)), np.int64)
    end = 0
    for k, tree in enumerate(trees):
        for level, blocks in enumerate(tree):
            level_start[k, level] = end
            end += len(blocks)
    flat = np.zeros(max(end, FANOUT))
    if trees:
        flat[:end] = np.concatenate([blocks for tree in trees for blocks in tree])
    return n_levels, level_start, flat


def _levels(row: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    blocks = np.full(_round_up(len(row), FANOUT), np.inf)
    blocks[: len(row)] = row
    levels = [blocks]
    while len(levels[0]) > FANOUT:
        # The last block has no bound above it: whatever passes all others is in it.
        last = levels[0][FANOUT - 1 :: FANOUT][:-1]
        above = np.full(_round_up(len(last) + 1, FANOUT), np.inf)
        above[: len(last)] = last
        levels.insert(0, above)
    return levels


def _unique_rows(
    masks: Iterable[NDArray[np.uint64]],
    is_pair: NDArray[np.bool_],
    words: int,
) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.int64]]:
    """Each distinct row of a feature once, in the order of ranks, and the row of each rank.

    Rows of pair features come in a table of their own, cut into lines. Masks of no words have no rows.
    """
    kept: dict[bool, list[NDArray[np.uint64]]] = {True: [], False: []}
    rank_row, end = [np.zeros(0, np.int64)], {True: 0, False: 0}
    for table, pair in zip(masks, is_pair.tolist(), strict=True):
        if table.size == 0:
            rank_row.append(np.zeros(len(table), np.int64))
            continue
        first, place = _distinct_rows(table)
        kept[pair].append(table if len(first) == len(table) else table[first])
        rank_row.append(end[pair] + place)
        end[pair] += len(first)
    rows = _stacked(kept[False], words)
    lines = np.ascontiguousarray(_stacked(kept[True], words).reshape(-1, words // 8, 8).transpose(1, 0, 2))
    return rows, lines, np.concatenate(rank_row)


def _distinct_rows(table: NDArray[np.uint64]) -> tuple[list[int], NDArray[np.int64]]:
    """Return the first of equal rows each, and for each row which of those it equals.

    Rows are told apart by 128 bits of a hash: to sort them takes two more copies of a table.
    """
    numbers: dict[bytes, int] = {}
    first: list[int] = []
    place = np.empty(len(table), np.int64)
    for r, row in enumerate(table):
        number = numbers.setdefault(hashlib.blake2b(row, digest_size=16).digest(), len(first))
        if number == len(first):
            first.append(r)
        place[r] = number
    return first, place


def _stacked(tables: list[NDArray[np.uint64]], words: int) -> NDArray[np.uint64]:
    """Return the rows of all tables, one row of zeros for none; each table is let go as soon as it is copied."""
    out = np.zeros((max(sum(map(len, tables)), 1), words), np.uint64)
    end = len(out) if tables else 0
    while tables:
        table = tables.pop()
        out[end - len(table) : end] = table
        end -= len(table)
    return out

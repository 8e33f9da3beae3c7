"""Rank, mask, leaf: trees evaluated by bits (Lucchese et al., SIGIR 2015), split by who owns a feature.

The first argument of each kernel is a `MaskTables`; those that are called from Python take it packed. Kernels cast
feature values to double, so that a float32 value meets the double threshold exactly; the dtype of `x` is free, one
specialisation for each.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from scheduler.forest.arrays import FANOUT, LANES, RANKED, TILE, ForestWork, MaskTables
from scheduler.forest.kernels.by_mask import add_lines
from scheduler.forest.kernels.by_split import add_lines_by_split
from scheduler.forest.kernels.ranks import count_below, prefetch_line, ranks
from scheduler.runtime.jit import allocating, inlined, kernel
from scheduler.runtime.packed_arrays import PackedArrays, unpack_arrays
from scheduler.runtime.prefetch import LINE

AHEAD = 32


@kernel
def rank(f: MaskTables, feature: int, x: float) -> int:
    """Rank of a value `x` of a feature among its bounds; the last one is NaN's."""
    value = np.float64(x)
    if np.isnan(value):
        return f.rank_start[feature + 1] - f.rank_start[feature] - 1
    block = 0
    for level in range(f.n_levels[feature]):
        start = f.level_start[feature, level] + FANOUT * block
        block = FANOUT * block + count_below(f.bounds, start, value)
    return block


@kernel
def mask_row(f: MaskTables, feature: int, x: float) -> int:
    """Row of `f.masks` that a value `x` of a feature selects."""
    return f.rank_row[f.rank_start[feature] + rank(f, feature, x)]


@kernel
def request_row(tables: MaskTables | PackedArrays[MaskTables], x: np.ndarray, out: np.ndarray) -> None:
    """Write into `out`, shape (words,), the leaves reachable once the request features `x` are known."""
    f = unpack_arrays(tables)
    for w in range(len(out)):
        out[w] = f.full[w]
    for k in range(len(f.request_features)):
        row = mask_row(f, f.request_features[k, 1], x[f.request_features[k, 0]])
        for w in range(len(out)):
            out[w] &= f.masks[row, w]


@inlined
def node_row(f: MaskTables, x: np.ndarray, out: np.ndarray) -> None:
    """Write into `out`, shape (node_words,), the leaves reachable once the node features `x` are known."""
    for w in range(len(out)):
        out[w] = f.full[w]
    for k in range(len(f.node_features)):
        row = mask_row(f, f.node_features[k, 1], x[f.node_features[k, 0]])
        for w in range(len(out)):
            out[w] &= f.masks[row, w]


@kernel
def score(
    f: MaskTables,
    request: np.ndarray,
    rows: np.ndarray,
    indices: np.ndarray,
    x_pair: np.ndarray,
    work: ForestWork,
    out: np.ndarray,
) -> None:
    """Write raw scores of candidates into `out`, shape (n, n_heads), or (n, 2 n_heads) for their variances as well.

    `request` is a row of `request_row`; `rows[indices[c]]` a row of `node_row`; `x_pair`, shape (n, pair features),
    the pair features of each candidate; `work` a `ForestWork`, overwritten. Leaf values are added as float32,
    in the order of the forest's positions, so that a score does not depend on the other candidates. Variances are
    those of the leaves, added likewise.
    """
    n_heads, n_sums = work.sums.shape[0] // 2, out.shape[1]
    n_touch = _place_touches(f, indices, 0, work.touch_at)
    for start in range(0, len(indices), TILE):
        count = min(TILE, len(indices) - start)
        ranked = start % RANKED
        if ranked == 0:
            _place_pairs(f, x_pair, start, work, rows, work.touch_at[:n_touch])
            n_touch = 0
        _place_nodes(f, indices, start, work.node_at)
        _place_touches(f, indices, start + TILE, work.touch_at)
        work.sums[:n_sums] = 0
        tile = (
            request,
            rows,
            work.node_at,
            f.full,
            work.zeros,
            f.pair_masks,
            work.pair_at[ranked : ranked + TILE],
            f.node_words // 8,
            f.word_bits,
            f.leaf_value,
            f.line_head,
            f.line_groups,
            work.touch_at,
            (count + LANES - 1) // LANES,
            work.sums[:n_heads],
            f.leaf_variance,
            work.sums[n_heads:n_sums],
        )
        if len(f.splits) > 0:
            _add_by_split(tile, f.splits, f.line_splits, work.rank_at, ranked)
        else:
            add_lines(*tile)
        for c in range(count):
            for h in range(n_sums):
                out[start + c, h] = work.sums[h, c]


@kernel
def _add_by_split(tile: Any, splits: np.ndarray, line_splits: np.ndarray, rank_at: np.ndarray, ranked: int) -> None:
    """Call `add_lines_by_split`; by itself, so that neither its code nor `add_lines` takes registers from the other."""
    add_lines_by_split(*tile, splits, line_splits, rank_at, ranked)


@kernel
def _place_nodes(f: MaskTables, indices: np.ndarray, start: int, node_at: np.ndarray) -> None:
    """First byte of the row of each candidate of a tile, the last one repeated to the end."""
    last = len(indices) - 1
    for c in range(TILE):
        node_at[c] = LINE * (f.node_words >> 3) * np.int64(indices[min(start + c, last)])


@kernel
def _place_touches(f: MaskTables, indices: np.ndarray, start: int, touch_at: np.ndarray) -> int:
    """Bytes of all lines of the rows of a tile, row after row: memory serves neighbours faster than jumps; how many."""
    node_lines = f.node_words >> 3
    place = 0
    for c in range(min(TILE, len(indices) - start)):
        first = LINE * node_lines * np.int64(indices[start + c])
        for line in range(node_lines):
            touch_at[place + line] = first + LINE * line
        place += node_lines
    return place


@kernel
def _place_pairs(
    f: MaskTables, x_pair: np.ndarray, start: int, work: ForestWork, rows: np.ndarray, touch_at: np.ndarray
) -> None:
    """Find rows of masks, or ranks for splits, of the pair features of up to `RANKED` candidates.

    Between the searches asks for `touch_at`, the lines of the first tile: all at once they would stop everything.
    """
    n_masked, n_pair = len(f.pair_features), len(f.pair_features) + len(f.split_features)
    end = min(start + RANKED, len(x_pair))
    blocks = (end - start + TILE - 1) // TILE
    asked = 0
    for b in range(blocks):
        first = start + b * TILE
        until = min(first + TILE, end)
        for k in range(n_pair):
            if k < n_masked:
                _place_pair(f, x_pair, k, first, until, work.pair_at[b * TILE : (b + 1) * TILE])
            else:
                _place_ranks(f, x_pair, k - n_masked, first, until, work.found, work.rank_at[:, b * TILE :])
            last = len(touch_at) * (b * n_pair + k + 1) // (blocks * n_pair)
            for number in range(asked, last):
                prefetch_line(rows, touch_at[number])
            asked = last


@inlined
def _find_ranks(
    f: MaskTables, x_pair: np.ndarray, place: int, feature: int, start: int, end: int, out: np.ndarray
) -> None:
    """Write the ranks of a pair feature of candidates `start` to `end`."""
    width = x_pair.shape[1]
    ranks(
        f.bounds,
        f.level_start[feature],
        f.n_levels[feature],
        x_pair,
        start * width + place,
        width,
        end - start,
        f.rank_start[feature + 1] - f.rank_start[feature] - 1,
        out,
    )


@kernel
def _place_pair(f: MaskTables, x_pair: np.ndarray, k: int, start: int, end: int, pair_at: np.ndarray) -> None:
    """Write the place of pair feature `k`'s line in `f.pair_masks[line]`; lanes without a candidate get any place."""
    place, feature = f.pair_features[k]
    first = f.rank_start[feature]
    _find_ranks(f, x_pair, place, feature, start, end, pair_at[:, k])
    for c in range(end - start):
        pair_at[c, k] = LINE * f.rank_row[first + pair_at[c, k]]
    for c in range(end - start, TILE):
        pair_at[c, k] = 0


@kernel
def _place_ranks(
    f: MaskTables, x_pair: np.ndarray, k: int, start: int, end: int, found: np.ndarray, rank_at: np.ndarray
) -> None:
    """Write the ranks of split feature `k`, NaN first and NaN last; lanes without a candidate keep theirs."""
    place, feature = f.split_features[k]
    nan = f.rank_start[feature + 1] - f.rank_start[feature] - 1
    _find_ranks(f, x_pair, place, feature, start, end, found)
    for c in range(end - start):
        rank_at[2 * k, c] = found[c] if found[c] < nan else -1
        rank_at[2 * k + 1, c] = found[c]


@allocating
def node_rows(tables: PackedArrays[MaskTables], x: np.ndarray, out: np.ndarray) -> None:
    """`node_row` for many nodes: `x` of shape (n, node features), `out` (n, node_words)."""
    f = unpack_arrays(tables)
    for i in range(len(x)):
        node_row(f, x[i], out[i])


@allocating
def score_once(
    tables: PackedArrays[MaskTables],
    request: np.ndarray,
    rows: np.ndarray,
    indices: np.ndarray,
    x_pair: np.ndarray,
    n_heads: int,
    out: np.ndarray,
) -> int:
    """`score` with scratch of its own; the place of the first index outside `rows`, or -1."""
    n_rows = len(rows)
    for c in range(len(indices)):
        if not 0 <= indices[c] < n_rows:
            return c
    f = unpack_arrays(tables)
    places = np.empty(TILE * (2 + len(f.line_head)), np.int64)
    places[TILE : 2 * TILE] = 0
    work = ForestWork(
        node_at=places[:TILE],
        zeros=places[TILE : 2 * TILE],
        touch_at=places[2 * TILE :],
        pair_at=np.empty((RANKED, len(f.pair_features)), np.int64),
        found=np.empty(TILE, np.int64),
        rank_at=np.zeros((2 * len(f.split_features), RANKED), np.int32),
        sums=np.empty((2 * n_heads, TILE), np.float32),
    )
    score(f, request, rows, indices, x_pair, work, out)
    return -1

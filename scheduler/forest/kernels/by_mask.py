"""The inner loop of the forest: AND the rows of a tile's candidates, find the leaf bits, add the leaf values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from scheduler.forest.arrays import GROUP, LANES, TILE
from scheduler.runtime.llvm_builder import (
    F32,
    I1,
    I8,
    I32,
    I64,
    INT,
    Code,
    check_contiguous,
    constant,
    or_plain,
    vector,
)
from scheduler.runtime.prefetch import LINE


def _plain_words(node: Any, node_at: Any, known: Any, masks: Any, pair_at: Any, bits: Any) -> list[int]:
    """Leaves left of each tree of one line, one candidate's."""
    left = known & node.reshape(-1)[node_at // 8 : node_at // 8 + 8]
    for at in pair_at:
        left = left & masks.reshape(-1)[at // 8 : at // 8 + 8]
    return [int(left[place * bits // 64]) >> (place * bits % 64) & ((1 << bits) - 1) for place in range(512 // bits)]


def plain_add_lines(
    request: Any, node: Any, node_at: Any, base: Any, base_at: Any, pair_masks: Any, pair_at: Any, node_lines: Any,
    bits: Any, values: Any, line_head: Any, line_groups: Any, touch_at: Any, vectors: Any, sums: Any,
    variances: Any, spreads: Any, narrow: Callable[[int, int, int, int], int] | None = None,
) -> None:  # fmt: skip
    """Do what `add_lines` does; `narrow(line, place, c, word)` gives what is left of a tree's word further on."""
    del touch_at  # a hint, which changes nothing
    tables = [(values, sums), (variances, spreads)][: 1 + (len(spreads) > 0)]
    per_line = 512 // bits
    for line in range(len(line_head)):
        rows, starts = (node, node_at) if line < node_lines else (base, base_at)
        known = request[8 * line : 8 * line + 8]
        for c in range(LANES * vectors):
            start = int(starts[c]) + LINE * line
            words = _plain_words(rows, start, known, pair_masks[line], pair_at[c].tolist(), int(bits))
            for place in range(GROUP * line_groups[line]):
                word = words[place] if narrow is None else narrow(line, place, c, words[place])
                for table, totals in tables:
                    value = table[line * per_line + place, (bits - word.bit_length()) % bits]
                    totals[line_head[line], c] = np.float32(totals[line_head[line], c] + value)


@or_plain(plain_add_lines)
def add_lines(
    typing: Any, request: Any, node: Any, node_at: Any, base: Any, base_at: Any, pair_masks: Any, pair_at: Any,
    node_lines: Any, bits: Any, values: Any, line_head: Any, line_groups: Any, touch_at: Any, vectors: Any, sums: Any,
    variances: Any, spreads: Any,
) -> Any:  # fmt: skip
    """Add to `sums` the leaf values of 16 * vectors candidates, line after line of their rows.

    A line is 64 bytes of a row: 16 trees, or 8 of over 32 leaves. Going line by line keeps that line of the pair
    tables and its trees' leaf values in the first-level cache for all candidates; going row by row, the time was that
    of fetching pair rows from the second level.

    Parameters
    ----------
    request
        The request's row.
    node, node_at
        Rows of nodes, and the byte at which each candidate's begins.
    base, base_at
        The same for lines that do not depend on a node: the full row, and zeros.
    pair_masks, pair_at
        `MaskTables.pair_masks`, and the byte in a line of it for each candidate and pair feature.
    node_lines
        Lines that depend on a node.
    bits, values, line_head, line_groups
        As in `MaskTables`.
    touch_at
        Bytes of `node` to ask for meanwhile, one for each line and candidate.
    vectors
        Sixteenths of candidates, at most 4.
    sums
        Changed in place, shape (n_heads, 64).
    variances, spreads
        `MaskTables.leaf_variance`, and where to add them up likewise; of shape (0, 64) to leave them alone.
    """
    del typing, node_lines, bits, vectors  # integers, and numba's context
    arrays = (request, node, node_at, base, base_at, pair_masks, pair_at)
    check_contiguous(*arrays, values, line_head, line_groups, touch_at, sums, variances, spreads)
    signature = types.void(*arrays, INT, INT, values, line_head, line_groups, touch_at, INT, sums, variances, spreads)
    return signature, emitter(_ByMask)


def emitter(lines: type[Lines]) -> Callable[..., Any]:
    """Return what numba calls for the code of an intrinsic whose first arguments are those of `add_lines`."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        code = Code(context, builder, signature, args)
        with builder.if_else(builder.icmp_signed("==", args[8], I64(32))) as (narrow, wide):
            with narrow:
                lines(code, I32, 16).emit()
            with wide:
                lines(code, I64, 8).emit()
        return context.get_dummy_value()

    return emit


class Lines(ABC):
    """The code for one width of words: `lanes` trees a line."""

    def __init__(self, code: Code, kind: Any, lanes: int) -> None:
        self.code, self.kind, self.lanes, self.bits = code, kind, lanes, 512 // lanes
        self.words = vector(kind, lanes)

    @abstractmethod
    def add_line(self) -> None:
        """Add the leaf values of one line's trees for all candidates."""

    def room(self, n_bytes: int) -> Any:
        """Address of bytes on the stack, at a line."""
        room = cgutils.alloca_once(self.code.builder, ir.ArrayType(I8, n_bytes))
        room.align = LINE
        return self.code.builder.ptrtoint(room, I64)

    def emit(self) -> None:
        """Go through all lines."""
        code, builder = self.code, self.code.builder
        request, self.node, node_at, base, base_at, masks, self.pairs_at = map(code.start, range(7))
        values, heads, groups, touches = map(code.start, range(9, 13))
        sums, variances, spreads = map(code.start, range(14, 17))
        self.has_spreads = builder.icmp_signed(">", code.size(16, 0), I64(0))
        line_masks, head_bytes = builder.mul(code.size(5, 1), I64(LINE)), builder.mul(code.size(14, 1), I64(4))
        self.n_pairs, self.vectors = code.size(6, 1), code.args[13]
        self.pair_bytes = builder.mul(self.n_pairs, I64(8))
        with code.loop(code.size(10, 0)) as loop:
            self.line = loop.index
            byte = builder.mul(self.line, I64(LINE))
            is_kept = builder.icmp_signed("<", self.line, code.args[7])
            self.known = code.load(builder.add(request, byte), self.words)
            self.rows_at = builder.add(builder.select(is_kept, self.node, base), byte)
            self.places_at = builder.select(is_kept, node_at, base_at)
            self.masks_at = builder.add(masks, builder.mul(self.line, line_masks))
            self.touch_at = code.place(touches, self.line, 8 * TILE)
            self.n_groups = code.item(groups, self.line)
            head_at = builder.mul(code.item(heads, self.line), head_bytes)
            self.tables = [
                (code.place(table, self.line, self.lanes * self.bits * 4), builder.add(total, head_at))
                for table, total in ((values, sums), (variances, spreads))
            ]
            self.add_line()

    def prefetch_line(self, number: Any) -> None:
        """Ask for a line of the next tile's rows."""
        self.code.prefetch(self.code.builder.add(self.node, self.code.item(self.touch_at, number)))

    def left(self, c: Any, pairs: Any) -> Any:
        """Leaves of a line that request, node and masks of pair features leave to candidate `c`."""
        code, builder = self.code, self.code.builder
        row = code.load(builder.add(self.rows_at, code.item(self.places_at, c)), self.words)
        pair_at = builder.add(self.pairs_at, builder.mul(c, self.pair_bytes))

        def narrow(pair: Any, left: Any) -> Any:
            return builder.and_(left, code.load(builder.add(self.masks_at, code.item(pair_at, pair)), self.words))

        return code.fold(builder.and_(row, self.known), pairs, narrow)

    def zeros_above(self, words: Any) -> Any:
        """Leaf numbers: zero bits above the highest one that is left."""
        name = f"llvm.ctlz.v{words.type.count}i{self.bits}"
        return self.code.call(name, words.type, words, I1(0))

    def pick(self, first: Any, second: Any, lanes: list[int]) -> Any:
        """Lanes of two vectors, those of the second numbered after those of the first."""
        return self.code.builder.shuffle_vector(first, second, ir.Constant(vector(I32, len(lanes)), lanes))

    def leaves(self, at: Any) -> list[Any]:
        """Leaf values of one tree."""
        places = [self.code.builder.add(at, I64(t * LINE)) for t in range(self.bits // LANES)]
        return [self.code.load(place, vector(F32, LANES), 4) for place in places]

    def look_up(self, tables: list[Any], index: Any) -> Any:
        """`tables[index]` of each lane, as if the tables were one: a permutation each, joined by the high bits."""
        builder = self.code.builder
        low = builder.and_(index, constant(LANES, LANES - 1))
        found, bit = [self._permute(table, low) for table in tables], LANES
        while len(found) > 1:
            is_high = builder.icmp_signed("!=", builder.and_(index, constant(LANES, bit)), constant(LANES, 0))
            pairs = zip(found[::2], found[1::2], strict=True)
            found, bit = [builder.select(is_high, high, low) for low, high in pairs], 2 * bit
        return found[0]

    def _permute(self, table: Any, index: Any) -> Any:
        """`table[index]` of each lane, in the form for which LLVM has an instruction on AVX2 and AVX-512.

        The two-register permutation of AVX-512, which LLVM does not find, would not have been faster.
        """
        builder = self.code.builder
        out = ir.Constant(table.type, ir.Undefined)
        for lane in range(LANES):
            one = builder.extract_element(table, builder.extract_element(index, I32(lane)))
            out = builder.insert_element(out, one, I32(lane))
        return out


class _ByMask(Lines):
    """By a row of masks for each pair feature."""

    def __init__(self, code: Code, kind: Any, lanes: int) -> None:
        super().__init__(code, kind, lanes)
        self.numbers_at = self.room(TILE * lanes)
        self.turned_at = self.room(LANES * lanes)

    def add_line(self) -> None:
        code, builder = self.code, self.code.builder
        code.unroll(self.n_pairs, self._numbers)
        with code.loop(self.vectors) as vectors:
            self._turn(code.place(self.numbers_at, vectors.index, LANES * self.lanes))
            late = builder.mul(vectors.index, I64(self.lanes // GROUP))
            self.late = builder.add(late, I64(4 * (LANES - self.lanes // GROUP)))
            (values_at, sums_at), (variances_at, spreads_at) = self.tables
            place = builder.mul(vectors.index, I64(LINE))
            self._add(values_at, builder.add(sums_at, place), touches=True)
            with builder.if_then(self.has_spreads):
                self._add(variances_at, builder.add(spreads_at, place), touches=False)

    def _numbers(self, pairs: Any) -> None:
        """Leaf numbers of all candidates for one line, as bytes; `pairs` is a range or a count."""
        code, builder = self.code, self.code.builder
        with code.loop(builder.mul(self.vectors, I64(LANES))) as loop:
            c = loop.index
            left = self.left(c, pairs)
            # Of 16 candidates all but one a group ask here, the others in `_add`: memory is kept busy in both.
            self.prefetch_line(builder.lshr(builder.mul(c, I64(LANES - self.lanes // GROUP)), I64(4)))
            numbers = builder.trunc(self.zeros_above(left), vector(I8, self.lanes))
            code.store(numbers, code.place(self.numbers_at, c, self.lanes), self.lanes)

    def _turn(self, at: Any) -> None:
        """From 16 candidates of `lanes` bytes to vectors over candidates, the leaf numbers of 4 trees in a lane."""
        code = self.code
        n_groups = self.lanes // GROUP
        parts = [code.load(code.place(at, I64(k), LINE), vector(I32, LANES), LINE) for k in range(n_groups)]
        if n_groups == 2:
            turned = [self.pick(*parts, list(range(g, 32, 2))) for g in range(2)]
        else:
            low, high = [*range(8), *range(16, 24)], [*range(8, 16), *range(24, 32)]
            turned = []
            for g in (0, 2):
                two = [*range(g, 32, 4), *range(g + 1, 32, 4)]
                halves = self.pick(parts[0], parts[1], two), self.pick(parts[2], parts[3], two)
                turned += [self.pick(*halves, low), self.pick(*halves, high)]
        for g, group in enumerate(turned):
            code.store(group, code.place(self.turned_at, I64(g), LINE), LINE)

    def _add(self, values_at: Any, sums_at: Any, *, touches: bool) -> None:
        """Add the leaf values of groups of 4 trees, tree after tree, to 16 sums."""
        code, builder = self.code, self.code.builder
        kind = vector(F32, LANES)

        def add_group(group: Any, total: Any) -> Any:
            if touches:
                self.prefetch_line(builder.add(self.late, group))
            four = code.load(code.place(self.turned_at, group, LINE), vector(I32, LANES), LINE)
            tree_at = code.place(values_at, group, GROUP * self.bits * 4)
            for k in range(GROUP):
                tables = self.leaves(builder.add(tree_at, I64(k * self.bits * 4)))
                total = builder.fadd(total, self.look_up(tables, builder.lshr(four, constant(LANES, 8 * k))))
            return total

        code.store(code.fold(code.load(sums_at, kind, 4), self.n_groups, add_group), sums_at, 4)

"""Vector instructions that rank feature values among the thresholds of a forest."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from scheduler.forest.arrays import FANOUT
from scheduler.runtime.llvm_builder import F32, F64, I1, I8, I64, INT, Code, check_contiguous, or_plain, vector


def _plain_touch(array: Any, place: Any) -> None:
    """Do what a hint does to the program: nothing."""


@or_plain(_plain_touch)
def prefetch_line(typing: Any, array: Any, place: Any) -> Any:  # noqa: ARG001
    """Ask for the cache line at byte `place` of `array` without waiting for it."""
    check_contiguous(array)

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        code = Code(context, builder, signature, args)
        code.prefetch(builder.add(code.start(0), args[1]))
        return context.get_dummy_value()

    return types.void(array, INT), emit


def _plain_zeros_above(word: Any, bits: Any) -> int:
    return int(bits) - (int(word) & ((1 << int(bits)) - 1)).bit_length()


@or_plain(_plain_zeros_above)
def zeros_above(typing: Any, word: Any, bits: Any) -> Any:  # noqa: ARG001
    """Zero bits above the highest set one of the lower `bits` (32 or 64) bits of a word."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        return builder.ctlz(builder.shl(args[0], builder.sub(I64(64), args[1])), I1(0))

    return INT(types.uint64, INT), emit


def _count_in_block(code: Code, block_at: Any, value: Any) -> Any:
    """Return how many of the `FANOUT` doubles at an address lie below a value."""
    block = code.load(block_at, vector(F64, FANOUT))
    is_below = code.builder.fcmp_ordered("<", block, code.broadcast(value, FANOUT))
    return code.builder.zext(code.builder.ctpop(code.builder.bitcast(is_below, I8)), I64)


def _plain_count_below(bounds: Any, start: Any, x: Any) -> int:
    return int((bounds[start : start + FANOUT] < x).sum())


@or_plain(_plain_count_below)
def count_below(typing: Any, bounds: Any, start: Any, x: Any) -> Any:  # noqa: ARG001
    """How many of the 8 doubles from `bounds[start]` on lie below `x`."""
    check_contiguous(bounds)

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        code = Code(context, builder, signature, args)
        return _count_in_block(code, code.place(code.start(0), args[1]), args[2])

    return INT(bounds, INT, types.float64), emit


def _plain_ranks(
    bounds: Any, level_start: Any, n_levels: Any, x: Any, x_start: Any, x_step: Any, count: Any, nan: Any, out: Any
) -> None:
    for c in range(count):
        value = np.float64(x.reshape(-1)[x_start + c * x_step])
        rank = 0
        for level in range(n_levels):
            rank = FANOUT * rank + _plain_count_below(bounds, level_start[level] + FANOUT * rank, value)
        out[c] = nan if np.isnan(value) else rank


@or_plain(_plain_ranks)
def ranks(
    typing: Any,  # noqa: ARG001
    bounds: Any,
    level_start: Any,
    n_levels: Any,  # noqa: ARG001
    x: Any,
    x_start: Any,  # noqa: ARG001
    x_step: Any,  # noqa: ARG001
    count: Any,  # noqa: ARG001
    nan: Any,  # noqa: ARG001
    out: Any,
) -> Any:
    """Write to `out[:count]` the ranks of every `x_step`-th value of `x` from `x_start` on, `nan` for NaN.

    The searches of neighbours overlap: a third of the time of a jitted loop over `count_below`.
    """
    check_contiguous(bounds, level_start, x)
    single = x.dtype == types.float32

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        code = Code(context, builder, signature, args)
        bounds_at, levels_at, x_at, out_at = (code.start(number) for number in (0, 1, 3, 8))
        out_step = code.stride(8)

        def search(levels: Any) -> None:
            with code.loop(args[6]) as loop:
                place = builder.add(args[4], builder.mul(loop.index, args[5]))
                if single:
                    value = builder.fpext(code.load(code.place(x_at, place, 4), F32, 4), F64)
                else:
                    value = code.load(code.place(x_at, place), F64)

                def descend(level: Any, rank: Any) -> Any:
                    first = builder.mul(rank, I64(FANOUT))
                    block = builder.add(code.item(levels_at, level), first)
                    return builder.add(first, _count_in_block(code, code.place(bounds_at, block), value))

                rank = code.fold(I64(0), levels, descend)
                rank = builder.select(builder.fcmp_unordered("uno", value, value), args[7], rank)
                code.store(rank, builder.add(out_at, builder.mul(loop.index, out_step)))

        code.unroll(args[2], search)
        return context.get_dummy_value()

    return types.void(bounds, level_start, INT, x, INT, INT, INT, INT, out), emit

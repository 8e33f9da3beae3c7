"""A hint to the processor: bring a cache line before it is needed."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from scheduler.runtime.jit import inlined

LINE: Final = 64
"""Bytes of a cache line, and of the widest vector register."""


@inlined
def copy_row(to: np.ndarray, i: int, source: np.ndarray, j: int) -> None:
    """Copy row ``j`` of one array to row ``i`` of another of the same width."""
    for c in range(to.shape[1]):
        to[i, c] = source[j, c]


AHEAD = 16
"""Candidates ahead for which memory is asked for: enough to cover its latency of about 100 ns."""

_I8, _I32 = ir.IntType(8), ir.IntType(32)


def _ask(builder: Any, pointer: Any) -> None:
    kind = ir.FunctionType(ir.VoidType(), [pointer.type, _I32, _I32, _I32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(function, [pointer, _I32(0), _I32(3), _I32(1)])  # to read, keep in all caches, data


def _row(context: Any, builder: Any, signature: Any, args: Any) -> tuple[Any, Any]:
    """Return where row number `args[1]` of an array begins, and bytes to the next."""
    data = context.make_array(signature.args[0])(context, builder, args[0])
    stride = cgutils.unpack_tuple(builder, data.strides)[0]
    return builder.gep(builder.bitcast(data.data, _I8.as_pointer()), [builder.mul(args[1], stride)]), stride


def _prefetch(typing: Any, array: Any, index: Any) -> Any:  # noqa: ARG001 - numba passes its typing context
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _ask(builder, _row(context, builder, signature, args)[0])
        return context.get_dummy_value()

    return types.void(array, types.int64), code


def _prefetch_row(typing: Any, array: Any, index: Any) -> Any:  # noqa: ARG001 - numba passes its typing context
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer, stride = _row(context, builder, signature, args)
        line = ir.IntType(64)(LINE)
        with cgutils.for_range_slice(builder, line.type(0), stride, line) as (byte, _):
            _ask(builder, builder.gep(pointer, [byte]))
        return context.get_dummy_value()

    return types.void(array, types.int64), code


def _nothing(array: Any, index: int) -> None:
    """Do what prefetch does to the program: nothing."""


prefetch = _nothing if config.DISABLE_JIT else intrinsic(_prefetch)
"""``prefetch(array, i)`` asks for the cache line at the start of row ``i`` of an array of any dimension."""

prefetch_row = _nothing if config.DISABLE_JIT else intrinsic(_prefetch_row)
"""``prefetch_row(array, i)`` asks for all cache lines of a row."""

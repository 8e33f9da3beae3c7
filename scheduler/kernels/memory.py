"""A hint to the processor: bring a cache line before it is needed."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

_I8, _I32 = ir.IntType(8), ir.IntType(32)


def _prefetch(typing: Any, array: Any, index: Any) -> Any:  # noqa: ARG001 - numba passes its typing context
    signature = types.void(array, types.int64)

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0])
        stride = cgutils.unpack_tuple(builder, data.strides)[0]
        pointer = builder.gep(builder.bitcast(data.data, _I8.as_pointer()), [builder.mul(args[1], stride)])
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, _I32, _I32, _I32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [pointer, _I32(0), _I32(3), _I32(1)])  # to read, keep in all caches, data
        return context.get_dummy_value()

    return signature, code


def _nothing(array: Any, index: int) -> None:
    """Do what prefetch does to the program: nothing."""


prefetch = _nothing if config.DISABLE_JIT else intrinsic(_prefetch)
"""``prefetch(array, i)`` asks for the cache line at the start of row ``i`` of an array of any dimension."""

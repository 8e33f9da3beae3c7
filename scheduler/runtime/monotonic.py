"""The system's monotonic clock inside kernels, to time them; nothing is decided by it."""

from __future__ import annotations

import time
from typing import Any, Final

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

_CLOCK_MONOTONIC: Final = 1
"""Number of the clock on Linux (``linux/time.h``)."""

_NANOSECONDS: Final = 1_000_000_000
_I32, _I64 = ir.IntType(32), ir.IntType(64)
_TIMESPEC = ir.LiteralStructType([_I64, _I64])


def _monotonic_ns(typing: Any) -> Any:  # noqa: ARG001 - numba passes its typing context
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        kind = ir.FunctionType(_I32, [_I32, _TIMESPEC.as_pointer()])
        function = cgutils.get_or_insert_function(builder.module, kind, "clock_gettime")
        time_ = cgutils.alloca_once(builder, _TIMESPEC)
        builder.call(function, [_I32(_CLOCK_MONOTONIC), time_])
        parts = [builder.load(cgutils.gep_inbounds(builder, time_, 0, i)) for i in range(2)]
        return builder.add(builder.mul(parts[0], _I64(_NANOSECONDS)), parts[1])

    return types.int64(), code


monotonic_ns = time.monotonic_ns if config.DISABLE_JIT else intrinsic(_monotonic_ns)
"""``monotonic_ns()`` is the time in nanoseconds since some start, as `time.monotonic_ns` has it."""

"""Atomic operations on words of memory, and waiting."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

ORDER = "seq_cst"


def _word(context: Any, builder: Any, kind: Any, array: Any, i: Any) -> Any:
    """Return the address of word ``i`` of a contiguous int64 array."""
    data = context.make_array(kind)(context, builder, array)
    return cgutils.gep_inbounds(builder, data.data, i)


def _load(typing: Any, array: Any, i: Any) -> Any:  # noqa: ARG001 - numba passes its typing context
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_word(context, builder, signature.args[0], *args), ORDER, 8)

    return types.int64(array, types.intp), code


def _store(typing: Any, array: Any, i: Any, value: Any) -> Any:  # noqa: ARG001
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store_atomic(args[2], _word(context, builder, signature.args[0], *args[:2]), ORDER, 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.int64), code


def _add(typing: Any, array: Any, i: Any, value: Any) -> Any:  # noqa: ARG001
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", _word(context, builder, signature.args[0], *args[:2]), args[2], ORDER)

    return types.int64(array, types.intp, types.int64), code


def _swap(typing: Any, array: Any, i: Any, old: Any, new: Any) -> Any:  # noqa: ARG001
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = _word(context, builder, signature.args[0], *args[:2])
        found = builder.cmpxchg(word, args[2], args[3], ORDER, ORDER)
        return builder.zext(builder.extract_value(found, 1), ir.IntType(8))

    return types.uint8(array, types.intp, types.int64, types.int64), code


_atomic = threading.Lock()
"""Makes the plain twins atomic."""


def _plain_load(array: np.ndarray, i: int) -> int:
    return int(array[i])


def _plain_store(array: np.ndarray, i: int, value: int) -> None:
    array[i] = value


def _plain_add(array: np.ndarray, i: int, value: int) -> int:
    with _atomic:
        old = int(array[i])
        array[i] = old + value
    return old


def _plain_swap(array: np.ndarray, i: int, old: int, new: int) -> int:
    with _atomic:
        same = int(array[i]) == old
        if same:
            array[i] = new
    return int(same)


def _plain_yield() -> int:
    time.sleep(0)
    return 0


def _plain_sleep(microseconds: int) -> int:
    time.sleep(microseconds * 1e-6)
    return 0


if config.DISABLE_JIT:
    load, store, add, swap = _plain_load, _plain_store, _plain_add, _plain_swap
    give_way, sleep = _plain_yield, _plain_sleep
else:
    load, store, add, swap = intrinsic(_load), intrinsic(_store), intrinsic(_add), intrinsic(_swap)
    give_way = types.ExternalFunction("sched_yield", types.int32())
    sleep = types.ExternalFunction("usleep", types.int32(types.uint32))

"""How kernels are compiled.

All except those of `holds_gil` release the GIL, and all are cached on disk. None may allocate: reference counting is
left out, because numba counts each array taken out of a NamedTuple, inside loops too, and those atomic additions cost a
third of a replay's time. Division by zero gives infinity or NaN, as in numpy: a check for it would keep a loop from
becoming vector instructions.

With ``NUMBA_DISABLE_JIT=1`` kernels are plain Python, where numpy is told to be as silent: hashes overflow on purpose.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import config, njit

from scheduler.runtime.compile_cache import KernelCache

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile a function that is called with arrays and NamedTuples of them, and allocates nothing."""
    return _compiled(function)


def inlined(function: F) -> F:
    """Compile a small kernel into its callers: passing a NamedTuple of arrays copies 7 words or more for each."""
    return _compiled(function, forceinline=True)


def holds_gil(function: F) -> F:
    """Compile a kernel that never waits and is done in a microsecond or two: it keeps the GIL.

    To give the GIL up is to queue for it where threads contend, which takes longer.
    """
    return _compiled(function, nogil=False)


def allocating(function: F) -> F:
    """Compile a function that may allocate arrays, return them, and divide by zero only by mistake."""
    return cached(njit(nogil=True)(function))


def cached(dispatcher: F) -> F:
    """Have numba keep a function's compiled code as `scheduler.runtime.compile_cache` says."""
    if not config.DISABLE_JIT:
        dispatcher._cache = KernelCache(dispatcher.py_func)  # noqa: SLF001 - numba's own has one stamp a file
    return dispatcher


def _compiled(function: F, **options: bool) -> F:
    if config.DISABLE_JIT:
        return np.errstate(all="ignore")(function)
    options = {"nogil": True} | options
    return cached(njit(error_model="numpy", _nrt=False, **options)(function))  # type: ignore[call-overload]

"""Kernels that are called over and over with the same packed arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import config, typeof


class Direct:
    """Calls a kernel's compiled code without numba's look at the type of each argument, 0.3 us for one that is packed.

    Whoever calls asks whether the packed arguments are those of the last call, as ``seen == packed``, and then calls
    ``call``, else what `resolve` returns. All other arguments have to be of the same types in every call. Each thread
    has its own.

    Parameters
    ----------
    kernel
        What is called.

    Attributes
    ----------
    seen
        The packed arguments that ``call`` is for.
    call
        The compiled code.
    """

    __slots__ = ("_kernel", "call", "seen")

    def __init__(self, kernel: Callable[..., Any]) -> None:
        self._kernel = kernel
        self.call: Callable[..., Any] = kernel
        self.seen: tuple[object, ...] = ()

    def resolve(self, packed: tuple[object, ...], *args: object) -> Callable[..., Any]:
        """Return the compiled code for arguments, and keep it for calls with the same packed ones."""
        self.seen, self.call = (), compiled(self._kernel, *args)
        self.seen = packed
        return self.call


def compiled(kernel: Callable[..., Any], *args: object) -> Callable[..., Any]:
    """Return a kernel's compiled code for arguments of some types, which are not looked at when it is called."""
    if config.DISABLE_JIT:
        return kernel
    types = tuple(map(typeof, args))
    # What is compiled already is found without numba's lock: an exception in a signal handler, while another kernel is
    # compiled, may leave that lock taken.
    found = kernel.overloads.get(types)
    code: Callable[..., Any] = kernel.compile(types) if found is None else found.entry_point
    return code

"""For which processors compiled code is, and on which it runs."""

from __future__ import annotations

from typing import Final

import msgspec
from llvmlite import binding

_V2: Final = frozenset({"cx16", "sahf", "popcnt", "sse3", "sse4.1", "sse4.2", "ssse3"})
_V3: Final = _V2 | {"avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave"}
_V4: Final = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}

LEVELS: Final = {"x86-64-v2": _V2, "x86-64-v3": _V3, "x86-64-v4": _V4}
"""Levels of x86-64 with what they have beyond its first processors, in LLVM's names (x86-64 psABI, 1.0)."""

GENERIC: Final = "generic"
NATIVE: Final = "native"


class Processor(msgspec.Struct, frozen=True):
    """What LLVM compiled for.

    Attributes
    ----------
    triple, name, features
        As numba names them in its cache.
    asked
        What the caller asked for: ``generic``, a level, ``native``, or LLVM's name of a processor.
    """

    triple: str
    name: str
    features: str
    asked: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What numba's cache has for it."""
        return self.triple, self.name, self.features

    def missing_here(self) -> str:
        """Return what keeps the code from running on this machine's processor, nothing where it runs."""
        if self.triple != binding.get_process_triple():
            return f"this is {binding.get_process_triple()}"
        here = host_features()
        if self.features:
            needed = {name[1:] for name in self.features.split(",") if name.startswith("+")}
        elif self.asked == GENERIC:
            needed = set()
        elif self.asked in LEVELS:
            needed = set(LEVELS[self.asked])
        else:
            return "" if self.name == binding.get_host_cpu_name() else f"this is {binding.get_host_cpu_name()}"
        lacking = sorted(needed - here)
        return f"this one lacks {', '.join(lacking)}" if lacking else ""


def host_features() -> set[str]:
    """Return what this machine's processor has, in LLVM's names."""
    return {name for name, has in binding.get_host_cpu_features().items() if has}


def environment(asked: str) -> dict[str, str]:
    """Return the environment variables by which a process compiles for a processor; none for its own."""
    return {} if asked == NATIVE else {"NUMBA_CPU_NAME": asked, "NUMBA_CPU_FEATURES": ""}

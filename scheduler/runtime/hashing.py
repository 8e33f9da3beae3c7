"""Mix 64-bit keys."""

from __future__ import annotations

import numpy as np

from scheduler.runtime.jit import inlined


@inlined
def mix(a: np.uint64, b: np.uint64) -> np.uint64:
    """Combine two keys into one, order mattering (splitmix64 finaliser, Steele et al., OOPSLA 2014)."""
    z = (a ^ (b + np.uint64(0x9E3779B97F4A7C15) + (a << np.uint64(6)) + (a >> np.uint64(2)))) * np.uint64(
        0xBF58476D1CE4E5B9
    )
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))

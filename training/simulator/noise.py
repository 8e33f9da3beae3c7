"""Stateless noise: a number is a hash of its subject, so it is the same in any order of calls."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MUL_1, _MUL_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def mix(*parts: ArrayLike) -> NDArray[np.uint64]:
    """Hash integers or floats, broadcast against each other, to 64 bits by splitmix64's finaliser."""
    state = np.zeros(1, np.uint64)
    for part in parts:
        bits = np.atleast_1d(part)
        bits = bits.astype(np.float64).view(np.uint64) if bits.dtype.kind == "f" else bits.astype(np.uint64)
        z = (state ^ bits) + _GAMMA
        z = (z ^ (z >> np.uint64(30))) * _MUL_1
        z = (z ^ (z >> np.uint64(27))) * _MUL_2
        state = z ^ (z >> np.uint64(31))
    return state


def uniform(*parts: ArrayLike) -> NDArray[np.float64]:
    """Return uniform numbers in [0, 1), one for each combination of the parts; see `mix`."""
    return (mix(*parts) >> np.uint64(11)) * np.float64(2.0**-53)


def normal(*parts: ArrayLike) -> NDArray[np.float64]:
    """Return standard normal numbers (Box-Muller), one for each combination of the parts; see `mix`."""
    radius = np.sqrt(-2.0 * np.log1p(-uniform(*parts, 0)))
    return radius * np.cos(2.0 * np.pi * uniform(*parts, 1))


def drift(seed: int, who: ArrayLike, time: NDArray[np.float64], period: float) -> NDArray[np.float64]:
    """Return a random course: standard normal at every multiple of ``period``, straight lines between."""
    place = time / period
    step = np.floor(place)
    share = place - step
    return (1.0 - share) * normal(seed, who, step) + share * normal(seed, who, step + 1.0)

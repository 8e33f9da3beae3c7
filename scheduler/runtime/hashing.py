"""Mix 64-bit keys, and place them in tables so that nobody outside can tell which keys stand together."""

from __future__ import annotations

import hashlib
from typing import Final

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


def secret_multiplier(secret: int) -> np.uint64:
    """Return the odd number that keys are multiplied by where a table places them.

    The high bits of the product say where. Over all odd numbers, two keys that were chosen without knowing it stand
    together with a probability of two divided by the number of places at most (Dietzfelbinger, Hagerup, Katajainen,
    Penttonen, Journal of Algorithms 1997).
    """
    digest = hashlib.blake2b(secret.to_bytes(8, "little"), digest_size=8, person=b"placement").digest()
    return np.uint64(int.from_bytes(digest, "little") | 1)


PUBLIC_MULTIPLIER: Final = secret_multiplier(0)
"""Of tables that only ever hold the caller's own data, as in training: each run is as the one before."""


@inlined
def place_bits(key: int, multiplier: int) -> int:
    """Return 32 bits of which the low ones say where a table that grows place by place has a key."""
    return np.int64((np.uint64(key) * np.uint64(multiplier)) >> np.uint64(32))

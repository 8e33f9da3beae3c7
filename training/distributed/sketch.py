"""Count distinct keys by sketches that can be merged: each range of slices makes one, and no process holds all keys.

HyperLogLog (Flajolet, Fusy, Gandouet, Meunier: HyperLogLog: the analysis of a near-optimal cardinality estimation
algorithm, AofA 2007): of the hashes that fall on a register only the longest run of leading zeros is kept.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BITS = 14
"""Of a hash that choose its register: 16,384 of them, 16 kB, for a standard error of 1.04 / sqrt(16,384), or 0.8 %."""

REGISTERS = 1 << BITS
_REST = 64 - BITS


def sketch(keys: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return the registers of (n,) hashes of 64 bits; those of two sets together are the greater ones of both."""
    registers = np.zeros(REGISTERS, np.uint8)
    rest = keys & np.uint64((1 << _REST) - 1)
    _, length = np.frexp(rest.astype(np.float64))  # exact, because a double holds 53 bits
    np.maximum.at(registers, (keys >> np.uint64(_REST)).astype(np.int64), (_REST + 1 - length).astype(np.uint8))
    return registers


def estimate(registers: NDArray[np.uint8]) -> int:
    """Return about how many distinct hashes a sketch has seen."""
    raw = 0.7213 / (1.0 + 1.079 / REGISTERS) * REGISTERS**2 / float((2.0 ** -registers.astype(np.float64)).sum())
    empty = int((registers == 0).sum())
    if raw <= 2.5 * REGISTERS and empty:  # so few that counting empty registers is more exact
        return round(REGISTERS * float(np.log(REGISTERS / empty)))
    return round(raw)

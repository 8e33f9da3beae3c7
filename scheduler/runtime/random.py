"""Random draws of a decision: a hash of seed, decision and draw, so that each can be drawn again."""

from __future__ import annotations

import numpy as np

from scheduler.runtime.hashing import mix
from scheduler.runtime.jit import kernel

MIX_CONSTANT = 0xD6E8FEB86659FD93
"""Any odd word of mixed bits."""

DRAW_NODE, DRAW_FULL = range(2)
"""Draws of a decision: its first node, and whether it is recorded in full. Retrieval takes those from 2**32 up."""

UNIT = 2.0**-53
"""Turns the upper 53 bits of a word into a float64 in [0, 1)."""


@kernel
def uniform(seed: int, decision: int, draw: int) -> float:
    """Return draw number ``draw`` of a decision, in [0, 1): the same for the same seed and decision."""
    # `mix` expects its first word to be well spread; without the first step neighbouring seeds share draws.
    word = mix(np.uint64(seed), np.uint64(MIX_CONSTANT))
    word = mix(mix(word, np.uint64(decision)), np.uint64(draw))
    return np.float64(word >> np.uint64(11)) * UNIT

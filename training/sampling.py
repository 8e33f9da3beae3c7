"""Rows that stand for many."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def evenly_spaced(n: int, most: int) -> NDArray[np.int64]:
    """Return the places of at most ``most`` of ``n`` rows, evenly spread from the first to the last."""
    return np.linspace(0, n - 1, min(n, most)).astype(np.int64)

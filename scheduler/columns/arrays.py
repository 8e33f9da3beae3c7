"""Columns as kernels read them."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

MISSING_KEY: Final = 0
"""The key of a null id or category. No id hashes to it; nothing is stored under it."""


class ColumnArrays(NamedTuple):
    """Columns of requests or nodes as kernels read them; row ``i`` is one request or one node.

    Attributes
    ----------
    values
        (n, width) float64: numbers and vectors side by side, NaN where missing.
    keys
        (n, n_keys) uint64: the id's key, then one per category column; `MISSING_KEY` where null.
    """

    values: NDArray[np.float64]
    keys: NDArray[np.uint64]

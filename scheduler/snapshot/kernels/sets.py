"""Read the sets of categories that nodes hold."""

from __future__ import annotations

import numpy as np

from scheduler.columns.arrays import MISSING_KEY
from scheduler.retrieval.arrays import SET_CLASS, SET_SIZE, IndexArrays
from scheduler.retrieval.kernels.category_sets import capacity_of, key_word
from scheduler.runtime.jit import kernel


@kernel
def read_sets(index: IndexArrays, s: int, slots: np.ndarray, out: np.ndarray) -> None:
    """Write what the nodes in (n,) int32 slots hold in set column ``s``, one after another, as signed keys."""
    n = 0
    for slot in slots:
        if slot >= len(index.sets.heads) or index.sets.heads[slot, s, SET_SIZE] == 0:
            continue
        for at in range(capacity_of(index, s, index.sets.heads[slot, s, SET_CLASS])):
            key = index.words[key_word(index, slot, s, at)]
            if key != MISSING_KEY:
                out[n] = key
                n += 1

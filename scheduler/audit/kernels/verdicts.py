"""Which filter dropped each candidate."""

from __future__ import annotations

import numpy as np

from scheduler.engine.arrays import StateArrays
from scheduler.engine.kernels.filters import admit
from scheduler.policy.arrays import CandidateArrays
from scheduler.runtime.jit import kernel
from scheduler.runtime.packed_arrays import PackedArrays, unpack_arrays


@kernel
def find_verdicts(
    packed: PackedArrays[StateArrays],
    blocklist: np.ndarray,
    slots: np.ndarray,
    demand: float,
    now: float,
    candidates: CandidateArrays,
    dropped: np.ndarray,
    out: np.ndarray,
) -> None:
    """Write for each of ``slots`` 0, or 1 + the code of the filter that drops it.

    Parameters
    ----------
    candidates, dropped
        Scratch: room for one candidate, and (len(DROPS),) int32.
    out
        (n,) uint8.
    """
    state = unpack_arrays(packed)
    for c in range(slots.size):
        dropped[:] = 0
        admit(state.fleet, state.postings, slots[c : c + 1], blocklist, 0, demand, now, candidates, dropped)
        out[c] = 0
        for d in range(dropped.size):
            if dropped[d] > 0:
                out[c] = 1 + d

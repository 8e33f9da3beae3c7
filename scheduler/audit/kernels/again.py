"""Decide among scored candidates once more."""

from __future__ import annotations

import numpy as np

from scheduler.decisions.arrays import DecisionArrays
from scheduler.policy.arrays import CandidateArrays, PolicyArrays
from scheduler.policy.kernels.choice import draw_slate
from scheduler.policy.kernels.uncertainty import estimate_uncertainty
from scheduler.policy.kernels.utility import utilities
from scheduler.runtime.jit import kernel


@kernel
def choose_again(
    policy: PolicyArrays,
    keys: np.ndarray,
    p: int,
    n: int,
    demand: float,
    explores: bool,
    u: float,
    candidates: CandidateArrays,
    out: DecisionArrays,
) -> None:
    """Compute utilities and uncertainties of ``n`` scored candidates under profile ``p`` and draw a slate.

    The other parameters are those of `draw_slate`.
    """
    utilities(policy, p, n, candidates)
    estimate_uncertainty(policy, p, n, candidates)
    draw_slate(policy, keys, n, demand, explores, u, candidates, out, 0)

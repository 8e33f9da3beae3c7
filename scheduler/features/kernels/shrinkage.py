"""Draw a mean of few outcomes towards a coarser one."""

from __future__ import annotations

import numpy as np

from scheduler.runtime.jit import inlined


@inlined
def drawn(weight: float, mean: float, strength: float, coarse: float) -> float:
    """Return a mean of ``weight`` outcomes, drawn towards a coarser one worth ``strength``; NaN is no coarser one."""
    return mean if np.isnan(coarse) else (weight * mean + strength * coarse) / (weight + strength)

"""Nodes as kernels see them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.arrays import ColumnArrays


class FleetArrays(NamedTuple):
    """Nodes by slot.

    Attributes
    ----------
    columns
        The nodes' columns.
    alive_until
        (slots,) float64, when the heartbeat is overdue; -inf for a free slot.
    quarantined_until
        (slots,) float64, when a quarantine ends; -inf without one.
    generation
        (slots,) int32, raised each time a slot loses its node.
    capacity, reserved
        (slots,) float64, uplink in kbit/s and how much of it is promised.
    """

    columns: ColumnArrays
    alive_until: NDArray[np.float64]
    quarantined_until: NDArray[np.float64]
    generation: NDArray[np.int32]
    capacity: NDArray[np.float64]
    reserved: NDArray[np.float64]

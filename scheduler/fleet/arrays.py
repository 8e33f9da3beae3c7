"""Nodes as kernels see them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.arrays import Entity


class FleetArrays(NamedTuple):
    """Nodes by slot.

    Attributes
    ----------
    columns
        The nodes' columns.
    rows
        (slots, node_words) uint64, the forest's row of each node.
    expires
        (slots,) float64, when the heartbeat is overdue; -inf for a free slot.
    released
        (slots,) float64, when a quarantine ends; -inf without one.
    generation
        (slots,) int32, raised each time a slot loses its node.
    capacity, reserved
        (slots,) float64, uplink in kbit/s and how much of it is promised.
    """

    columns: Entity
    rows: NDArray[np.uint64]
    expires: NDArray[np.float64]
    released: NDArray[np.float64]
    generation: NDArray[np.int32]
    capacity: NDArray[np.float64]
    reserved: NDArray[np.float64]

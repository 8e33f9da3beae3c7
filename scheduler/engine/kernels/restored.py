"""Find where the nodes of restored decisions stand."""

from __future__ import annotations

import numpy as np

from scheduler.columns.arrays import MISSING_KEY
from scheduler.decisions.arrays import DecisionLog
from scheduler.fleet.arrays import FleetArrays
from scheduler.fleet.kernels.slot_table import first_slot
from scheduler.runtime.jit import kernel


@kernel
def find_places(fleet: FleetArrays, log: DecisionLog) -> None:
    """Write slot and generation of each node in a log, and reserve what it holds; a node that left holds nothing."""
    places = log.slot.shape[1]
    for r in range(log.id.size):
        for s in range(places):
            key = log.node_keys[r * places + s, 0]
            slot = -1
            if key != np.uint64(MISSING_KEY):
                slot = first_slot(fleet.slot_table, fleet.columns.keys, key)
            log.slot[r, s] = max(slot, 0)
            log.generation[r, s] = fleet.generation[slot] if slot >= 0 else -1
            if slot < 0:
                log.held[r, s] = 0.0
            fleet.reserved[max(slot, 0)] += log.held[r, s]

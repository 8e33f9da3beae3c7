"""Give reserved uplink back, when it expires or when the outcome is known."""

from __future__ import annotations

from scheduler.decisions.arrays import FIRST_NUMBER, N_EXPIRED, NEXT, NEXT_HOLD, DecisionLog
from scheduler.decisions.kernels.numbering import id_of
from scheduler.fleet.arrays import FleetArrays
from scheduler.runtime.jit import kernel


@kernel
def expire(fleet: FleetArrays, log: DecisionLog, hold: float, now: float) -> None:
    """Give back the uplink of reservations that have lasted longer than ``hold`` seconds."""
    size = log.id.size
    while log.counters[NEXT_HOLD] < log.counters[NEXT]:
        row = log.counters[NEXT_HOLD] % size
        # An id that a thread has taken but not yet written must not be passed over. Earlier ids began with a fork or a
        # restart, when no thread was between the two.
        number = log.counters[NEXT_HOLD]
        is_current = number >= log.counters[FIRST_NUMBER]
        if (is_current and log.id[row] != id_of(log, number)) or log.time[row] + hold > now:
            return
        for s in range(log.slot.shape[1]):
            if log.held[row, s] > 0.0:
                give_back(fleet, log, row, s)
                log.counters[N_EXPIRED] += 1
        log.counters[NEXT_HOLD] += 1


@kernel
def give_back(fleet: FleetArrays, log: DecisionLog, row: int, s: int) -> None:
    """End one reservation; a node that has left since took its reservations with it."""
    slot = log.slot[row, s]
    if fleet.generation[slot] == log.generation[row, s]:
        # Sums of floats drift; a reservation total never goes below zero for it.
        fleet.reserved[slot] = max(fleet.reserved[slot] - log.held[row, s], 0.0)
    log.held[row, s] = 0.0

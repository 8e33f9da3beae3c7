"""Write a decision into the decision log and reserve its slate's uplink."""

from __future__ import annotations

from scheduler.columns.arrays import ColumnArrays
from scheduler.decisions.arrays import N_FORGOTTEN, NEXT_HOLD, OPEN, SPARE, DecisionLog
from scheduler.decisions.kernels.numbering import id_of
from scheduler.engine.arrays import StateArrays
from scheduler.engine.kernels.reservations import give_back
from scheduler.fleet.arrays import FleetArrays
from scheduler.policy.arrays import CandidateArrays
from scheduler.runtime.jit import inlined, kernel
from scheduler.runtime.prefetch import copy_row


@kernel
def write_log(
    state: StateArrays,
    request: ColumnArrays,
    i: int,
    length: int,
    n_alternatives: int,
    demand: float,
    number: int,
    now: float,
    candidates: CandidateArrays,
) -> None:
    """Write a decision into the log and reserve its slate's uplink; the decision whose row it takes is forgotten.

    A decision whose row a later one has taken meanwhile is not written, and counts as forgotten.
    """
    fleet, log = state.fleet, state.log
    if number < log.counters[NEXT_HOLD]:
        log.counters[N_FORGOTTEN] += length
        return
    row = number % log.id.size
    for s in range(log.slot.shape[1]):
        if log.held[row, s] > 0.0:
            give_back(fleet, log, row, s)
        if log.state[row, s] == OPEN:
            log.counters[N_FORGOTTEN] += 1
        log.state[row, s] = 0
    if log.counters[NEXT_HOLD] <= number - log.id.size:
        log.counters[NEXT_HOLD] = number - log.id.size + 1
    log.id[row] = id_of(log, number)
    log.time[row] = now
    log.length[row] = length
    copy_row(log.request_keys, row, request.keys, i)
    for a in range(n_alternatives):
        write_node(fleet, log, row, length + a, candidates.slot[candidates.alternatives[a]], SPARE)
    left = demand
    for s in range(length):
        slot = candidates.slot[candidates.slate[s]]
        write_node(fleet, log, row, s, slot, OPEN)
        if demand > 0.0:
            taken = min(left, fleet.capacity[slot] - fleet.reserved[slot])
            log.held[row, s] = taken
            fleet.reserved[slot] += taken
            left -= taken


@inlined
def write_node(fleet: FleetArrays, log: DecisionLog, row: int, s: int, slot: int, state: int) -> None:
    """Write which node stands at place ``s`` of a row of the log."""
    log.slot[row, s] = slot
    log.generation[row, s] = fleet.generation[slot]
    log.state[row, s] = state
    copy_row(log.node_keys, row * log.slot.shape[1] + s, fleet.columns.keys, slot)

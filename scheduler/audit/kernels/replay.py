"""Make recorded decisions again by the kernels that made them."""

from __future__ import annotations

import numpy as np

from scheduler.audit.arrays import RecordedArrays, ReplayedArrays, ReplayWork
from scheduler.decisions.record.arrays import ADMITTED, PADDING, TAKEN
from scheduler.engine.arrays import ArmArrays
from scheduler.engine.kernels.decide import clear
from scheduler.engine.kernels.filters import still_free
from scheduler.fleet.arrays import FleetArrays
from scheduler.forest.kernels import score as forest_kernels
from scheduler.model.kernels.calibrate import calibrate
from scheduler.model.kernels.offsets import add_offsets
from scheduler.policy.arrays import CandidateArrays
from scheduler.policy.kernels.choice import draw_slate
from scheduler.policy.kernels.uncertainty import estimate_uncertainty
from scheduler.policy.kernels.utility import profile, utilities
from scheduler.runtime.jit import inlined, kernel
from scheduler.runtime.packed_arrays import PackedArrays, unpack_arrays
from scheduler.runtime.prefetch import copy_row
from scheduler.runtime.random import DRAW_NODE, uniform


@inlined
def read_candidates(recorded: RecordedArrays, i: int, work: ReplayWork, dropped: np.ndarray) -> int:
    """Write the candidates of decision ``i`` that were scored, return how many, and count the others by reason."""
    candidates, n, first = work.candidates, 0, recorded.starts[i]
    for at in range(first, recorded.starts[i + 1]):
        verdict = recorded.verdict[at]
        if verdict == PADDING:
            continue
        if verdict != ADMITTED and not (verdict == TAKEN and not np.isnan(recorded.utility[at])):
            dropped[verdict - 1] += 1
            continue
        candidates.position[n] = candidates.slot[n] = at - first
        candidates.n_outcomes[n] = recorded.n_outcomes[at]
        candidates.n_own_outcomes[n] = recorded.n_own_outcomes[at]
        candidates.capacity[n] = recorded.capacity[at]
        candidates.load[n] = recorded.load[at]
        candidates.price[n] = recorded.price[at]
        candidates.uncertainty[n] = 0.0
        candidates.is_new[n] = False
        copy_row(work.x_pair, n, recorded.x_pair, at)
        n += 1
    return n


@inlined
def score(arm: ArmArrays, recorded: RecordedArrays, i: int, n: int, work: ReplayWork) -> None:
    """Write raw scores and head values of the first ``n`` candidates from the recorded features."""
    candidates, first = work.candidates, recorded.starts[i]
    forest_kernels.request_row(arm.mask_tables, recorded.x_request[i], work.request_row)
    for c in range(n):
        slot = candidates.slot[c]
        forest_kernels.node_row(arm.mask_tables, recorded.x_node[first + slot], work.node_rows[slot])
    raw, values = candidates.raw[:n], candidates.values[:n]
    forest_kernels.score(
        arm.mask_tables, work.request_row, work.node_rows, candidates.slot[:n], work.x_pair[:n], work.forest, raw
    )
    add_offsets(arm.policy.offsets, recorded.x_request[i], work.x_pair[:n], raw)
    calibrate(arm.policy.calibration, raw, work.x[:n], values)


@inlined
def write_candidates(candidates: CandidateArrays, n: int, first: int, replayed: ReplayedArrays) -> None:
    """Write what was computed of ``n`` candidates to their rows, which begin at ``first``."""
    for c in range(n):
        at = first + candidates.slot[c]
        copy_row(replayed.raw, at, candidates.raw, c)
        copy_row(replayed.values, at, candidates.values, c)
        replayed.utility[at] = candidates.utility[c]
        replayed.uncertainty[at] = candidates.uncertainty[c]
        replayed.is_new[at] = candidates.is_new[c]


@inlined
def fleet_of(recorded: RecordedArrays, i: int, work: ReplayWork) -> FleetArrays:
    """Return the candidates of decision ``i`` as a fleet, with as much uplink as was left, none of it reserved."""
    first, end, empty = recorded.starts[i], recorded.starts[i + 1], work.fleet
    return FleetArrays(
        empty.columns,
        empty.alive_until,
        empty.quarantined_until,
        empty.generation,
        recorded.free[first:end],
        work.zeros[: end - first],
        empty.listed,
        empty.clock,
        empty.slot_table,
    )


@kernel
def replay(
    arm: PackedArrays[ArmArrays],
    recorded: PackedArrays[RecordedArrays],
    packed: PackedArrays[ReplayWork],
    out: PackedArrays[ReplayedArrays],
) -> None:
    """Make decisions again from what was recorded of them.

    Features, counts of outcomes, uplink and whether exploration was allowed are recorded; all else is computed.

    Parameters
    ----------
    arm
        The model and the policy; its node rows are not read.
    out
        Changed in place; what dropped candidates hold stays as it is.
    """
    by, given, work, found = unpack_arrays(arm), unpack_arrays(recorded), unpack_arrays(packed), unpack_arrays(out)
    candidates, decided = work.candidates, found.out
    for i in range(given.id.size):
        first, end, demand = given.starts[i], given.starts[i + 1], given.demand[i]
        clear(decided, i)
        decided.id[i] = given.id[i]
        n = read_candidates(given, i, work, decided.dropped[i])
        p = profile(by.policy, given.request, i)
        found.profile[i] = p
        if n > 0:
            score(by, given, i, n, work)
            utilities(by.policy, p, n, candidates)
            estimate_uncertainty(by.policy, p, n, candidates)
            write_candidates(candidates, n, first, found)
        if demand > 0.0:
            n = still_free(fleet_of(given, i, work), n, candidates, decided.dropped[i])
        u = uniform(given.seed[i], given.id[i], DRAW_NODE)
        found.draw[i] = u
        draw_slate(by.policy, given.node_keys[first:end], n, demand, given.explores[i], u, candidates, decided, i)

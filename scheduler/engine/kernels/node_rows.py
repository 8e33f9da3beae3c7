"""Keep each node's forest row up to date with its columns and its history."""

from __future__ import annotations

import numpy as np

from scheduler.engine.arrays import ArmArrays, StateArrays, Workspace
from scheduler.features.kernels.history_keys import history_key
from scheduler.features.kernels.operations import fill
from scheduler.forest.kernels import score as forest_kernels
from scheduler.history.kernels.hash_table import find, prefetch_bucket
from scheduler.runtime.jit import inlined, kernel
from scheduler.runtime.packed_arrays import PackedArrays, unpack_arrays
from scheduler.runtime.prefetch import AHEAD, prefetch


@kernel
def refresh_node(
    packed: PackedArrays[StateArrays], arm: PackedArrays[ArmArrays], slot: int, workspace: PackedArrays[Workspace]
) -> None:
    """Recompute the forest row of one node from its columns and history.

    Slots are int64 here and in `fill`, also where arrays hold them as int32: numba would compile both for each type.
    """
    state, rows, work = unpack_arrays(packed), unpack_arrays(arm), unpack_arrays(workspace)
    columns, program = state.fleet.columns, rows.program
    # Node features read nothing of the request: the node stands in for it.
    fill(program, program.node, False, columns, slot, columns, slot, state.history, 0.0, work.x_node)
    forest_kernels.node_row(rows.mask_tables, work.x_node, rows.node_rows[slot])
    for k in program.node_keys:
        entry = find(state.history, history_key(program, k, columns, slot, columns, slot))
        if entry >= 0:
            state.history.row_reader[entry] = slot + 1


@inlined
def prefetch_node(state: StateArrays, rows: np.ndarray, slot: int) -> None:
    """Ask for what `refresh_node` reads first."""
    program, columns = state.program, state.fleet.columns
    prefetch(columns.values, slot)
    prefetch(rows, slot)
    for k in program.node_keys:
        prefetch_bucket(state.history, history_key(program, k, columns, slot, columns, slot))


@kernel
def refresh_nodes(
    packed: PackedArrays[StateArrays],
    arm: PackedArrays[ArmArrays],
    slots: np.ndarray,
    workspace: PackedArrays[Workspace],
) -> None:
    """Recompute the forest rows of several nodes."""
    state, rows = unpack_arrays(packed), unpack_arrays(arm).node_rows
    for i in range(slots.size):
        if i + 2 * AHEAD < slots.size:
            prefetch(state.fleet.columns.keys, slots[i + 2 * AHEAD])
        if i + AHEAD < slots.size:
            prefetch_node(state, rows, slots[i + AHEAD])
        refresh_node(packed, arm, np.int64(slots[i]), workspace)

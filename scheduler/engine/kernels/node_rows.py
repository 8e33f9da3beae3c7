"""Keep each node's forest row up to date with its columns and its history."""

from __future__ import annotations

import numpy as np

from scheduler.columns.arrays import ColumnArrays
from scheduler.engine.arrays import State, Workspace
from scheduler.features.kernels.history_keys import history_key
from scheduler.features.kernels.operations import fill
from scheduler.forest.kernels import score as forest_kernels
from scheduler.history.kernels.hash_table import find, prefetch_bucket
from scheduler.runtime.jit import inlined, kernel
from scheduler.runtime.packed_arrays import PackedArrays, unpack_arrays
from scheduler.runtime.prefetch import AHEAD, prefetch


@kernel
def refresh_node(packed: PackedArrays[State], slot: int, workspace: PackedArrays[Workspace]) -> None:
    """Recompute the forest row of one node from its columns and history."""
    state, work = unpack_arrays(packed), unpack_arrays(workspace)
    columns = state.fleet.columns
    # Node features read nothing of the request: the node stands in for it.
    program = state.program
    fill(program, program.node, False, columns, slot, columns, slot, state.history, 0.0, work.x_node)
    forest_kernels.node_row(state.tables, work.x_node, state.fleet.rows[slot])
    for k in program.node_keys:
        entry = find(state.history, history_key(program, k, columns, slot, columns, slot))
        if entry >= 0:
            state.history.row_reader[entry] = slot + 1


@inlined
def prefetch_node(state: State, slot: int) -> None:
    """Ask for what `refresh_node` reads first."""
    program, columns = state.program, state.fleet.columns
    prefetch(columns.values, slot)
    prefetch(state.fleet.rows, slot)
    for k in program.node_keys:
        prefetch_bucket(state.history, history_key(program, k, columns, slot, columns, slot))


@kernel
def refresh_nodes(packed: PackedArrays[State], slots: np.ndarray, workspace: PackedArrays[Workspace]) -> None:
    """Recompute the forest rows of several nodes."""
    state = unpack_arrays(packed)
    for i in range(slots.size):
        if i + 2 * AHEAD < slots.size:
            prefetch(state.fleet.columns.keys, slots[i + 2 * AHEAD])
        if i + AHEAD < slots.size:
            prefetch_node(state, slots[i + AHEAD])
        refresh_node(packed, slots[i], workspace)


@kernel
def refresh_returned(
    packed: PackedArrays[State], node: ColumnArrays, j: int, workspace: PackedArrays[Workspace]
) -> bool:
    """Refresh the row of node ``j`` of the log, which left since, if it came back; False where it is unknown to where.

    When it came back its row was made anew, and whatever entry the row read was marked with its slot.
    """
    state = unpack_arrays(packed)
    for k in state.program.node_keys:
        entry = find(state.history, history_key(state.program, k, node, j, node, j))
        slot = state.history.row_reader[entry] - 1 if entry >= 0 else -1
        if slot < 0:
            return False
        if state.fleet.columns.keys[slot, 0] == node.keys[j, 0]:
            refresh_node(packed, slot, workspace)
    return True

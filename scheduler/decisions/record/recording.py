"""What is recorded of a state: rings that calls append to, and names that go with keys."""

from __future__ import annotations

import time
import weakref
from collections import deque
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.arrays import MISSING_KEY, ColumnArrays
from scheduler.columns.id_table import IdTable
from scheduler.columns.ids import Id, name_of_key, plain_list
from scheduler.decisions.record.arrays import (
    FULL_HEAD,
    FULL_TAIL,
    OUTCOME_DROPPED,
    OUTCOME_HEAD,
    OUTCOME_TAIL,
    POOL_HEAD,
    POOL_TAIL,
    THIN_HEAD,
    THIN_TAIL,
    OutcomeRows,
    RecordArrays,
    Sizes,
    new_outcome_rows,
)
from scheduler.decisions.record.kernels.marks import read_mark
from scheduler.fleet.arrays import FleetArrays
from scheduler.model.model import Model

MOST_NOTED: Final = 1 << 18
"""Names of clients and nodes that are kept until they are written; of further ones the keys alone are recorded."""

MOST_NODE_ROWS: Final = 1 << 20
"""Changes of nodes that wait to be written; further ones are dropped and counted."""


class NodeRows(NamedTuple):
    """A change of (n,) nodes: which, see `scheduler.fleet.hooks.WRITTEN`, when, their slots, columns and capacities.

    ``decision`` is the id of the first decision that sees it.
    """

    kind: int
    time: float
    decision: int
    slots: NDArray[np.int32]
    columns: ColumnArrays
    capacity: NDArray[np.float64]


class Ring:
    """The rings of one thread's decisions by one arm.

    Attributes
    ----------
    records
        The rings.
    model
        What decides, under its policy.
    since
        When the arm was first recorded, in seconds of `time.time`.
    arm
        Its number in the stream, once the recorder gave it one.
    """

    def __init__(self, records: RecordArrays, model: Model, owner: object) -> None:
        self.records, self.model, self.since = records, model, time.time()
        self.arm: int | None = None
        self._owner = weakref.ref(owner)

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody appends to it any more: its thread ended, or its arm was released."""
        return self._owner() is None


class Recording:
    """Told by a state of what happens; a recorder takes it from here.

    Parameters
    ----------
    full_rate
        Share of decisions that are recorded in full.
    sizes
        Of each thread's rings.
    nodes, clients
        Tables of ids.
    n_outcomes
        How many values an outcome has.

    Attributes
    ----------
    outcomes
        Where outcomes are appended to.
    rings
        Those of all threads and arms that have decided.
    nodes_dropped
        Changes of nodes that were dropped for want of room.
    """

    def __init__(self, full_rate: float, sizes: Sizes, nodes: IdTable, clients: IdTable, n_outcomes: int) -> None:
        self.full_rate, self.sizes = full_rate, sizes
        self.outcomes: OutcomeRows = new_outcome_rows(
            clients.schema.n_keys, nodes.schema.n_keys, n_outcomes, sizes.outcomes
        )
        self.rings: list[Ring] = []
        self.node_rows: deque[NodeRows] = deque()
        self.nodes_dropped = self._n_node_rows = 0
        self._nodes, self._clients = nodes, clients
        self._noted: dict[int, Id] = {}
        self._noted_before: dict[int, Id] = {}

    def add(self, records: RecordArrays, model: Model, owner: object) -> None:
        """Take what is appended to rings from now on."""
        self.rings.append(Ring(records, model, owner))

    def note_client(self, key: int, id_: object) -> None:
        """Keep the id of a client that the table does not hold."""
        if len(self._noted) < MOST_NOTED:
            self._noted[key] = id_  # type: ignore[assignment]

    def note_clients(self, keys: NDArray[np.uint64], ids: Any) -> None:  # noqa: ANN401 - as callers pass them
        """Keep the ids of many clients."""
        self.note_names(keys, plain_list(ids, "ids"))

    def note_names(self, keys: NDArray[np.uint64], names: Iterable[Id | None]) -> None:
        """Keep the ids of nodes or clients by key."""
        if len(self._noted) < MOST_NOTED:
            self._noted.update(zip(keys.tolist(), names, strict=True))  # type: ignore[arg-type]

    def keep_clients(self, slots: NDArray[np.int32]) -> None:
        """Keep the ids of clients that are about to be erased."""
        self._keep(self._clients, slots)

    def note_nodes(self, kind: int, slots: NDArray[np.int32], fleet: FleetArrays, now: float, decision: int) -> None:
        """Keep a change of nodes, and the ids of those about to be removed."""
        self._keep(self._nodes, slots)
        if not slots.size:
            return
        if self._n_node_rows + slots.size > MOST_NODE_ROWS:
            self.nodes_dropped += slots.size
            return
        self._n_node_rows += slots.size
        columns = ColumnArrays(fleet.columns.values[slots], fleet.columns.keys[slots])
        self.node_rows.append(NodeRows(kind, now, decision, slots.copy(), columns, fleet.capacity[slots]))

    def forget_node_rows(self) -> None:
        """Forget the oldest change of nodes: it was taken."""
        rows = self.node_rows.popleft()
        self._n_node_rows -= rows.slots.size

    def node_names(self, slots: NDArray[np.int32], keys: NDArray[np.uint64]) -> list[str]:
        """Return the ids of (n,) nodes as texts, by where they stood and their keys; "" without a key."""
        return self._names(self._nodes, slots, keys)

    def client_names(self, slots: NDArray[np.int32], keys: NDArray[np.uint64]) -> list[str]:
        """Return the ids of (n,) clients as texts; see `node_names`."""
        return self._names(self._clients, slots, keys)

    def forget_names(self) -> None:
        """Forget names that were noted before the last call: what was appended with them is written."""
        self._noted_before, self._noted = self._noted, {}

    def fullness(self) -> float:
        """Return how full the fullest ring is, as a share."""
        found = [_fullness(self.outcomes.marks, OUTCOME_HEAD, OUTCOME_TAIL, len(self.outcomes.sequence))]
        for ring in list(self.rings):
            marks, records = ring.records.marks, ring.records
            found.append(_fullness(marks, THIN_HEAD, THIN_TAIL, len(records.thin.id)))
            found.append(_fullness(marks, FULL_HEAD, FULL_TAIL, len(records.full.id)))
            found.append(_fullness(marks, POOL_HEAD, POOL_TAIL, len(records.pool.slot)))
        return max(found)

    @property
    def outcomes_dropped(self) -> int:
        """Outcomes that were dropped because their ring was full."""
        return int(read_mark(self.outcomes.marks, OUTCOME_DROPPED))

    def _keep(self, table: IdTable, slots: NDArray[np.int32]) -> None:
        if len(self._noted) < MOST_NOTED:
            keys = table.columns.keys[slots, 0].tolist()
            names = table.ids_at(slots).tolist()
            self._noted.update((key, name) for key, name in zip(keys, names, strict=True) if name is not None)

    def _names(self, table: IdTable, slots: NDArray[np.int32], keys: NDArray[np.uint64]) -> list[str]:
        # The id is read before the key: whoever erases or enters a row writes the id first.
        held = slots >= 0
        ids = np.full(len(slots), None)
        ids[held] = table.ids_at(slots[held])
        now = np.zeros(len(slots), np.uint64)
        now[held] = table.columns.keys[slots[held], 0]
        found = zip(ids.tolist(), (now == keys).tolist(), keys.tolist(), strict=True)
        return [str(id_) if same and id_ is not None else self._noted_name(key) for id_, same, key in found]

    def _noted_name(self, key: int) -> str:
        if key == MISSING_KEY:
            return ""
        name = self._noted.get(key)
        if name is None:
            name = self._noted_before.get(key)
        return name_of_key(key) if name is None else str(name)


def _fullness(marks: NDArray[np.int64], head: int, tail: int, size: int) -> float:
    return (int(read_mark(marks, head)) - int(read_mark(marks, tail))) / size if size else 0.0

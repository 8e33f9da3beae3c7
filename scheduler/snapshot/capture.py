"""Copies a state out of memory while decisions go on.

What is copied at once is small: whoever waits for the lock waits for a fraction of a millisecond. The decision log
comes first, and history after it, as of one moment: what outcomes changed since the copy began is copied again, and
``answered`` lists them, so that their decisions are known to be answered. So a snapshot holds all that was told before
it began, and all outcomes up to that moment. Nodes and clients that come or go meanwhile are looked for at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from scheduler.columns.arrays import MISSING_KEY, ColumnArrays
from scheduler.columns.id_table import IdTable
from scheduler.columns.ids import Id
from scheduler.decisions.arrays import ANSWERED, CLAIMED, N_LEARNED, N_OUTCOMES
from scheduler.engine.state import State
from scheduler.fleet.arrays import TIME
from scheduler.history.store import CHANGE_POINTS, HISTORY, LATENT_FACTORS
from scheduler.retrieval.arrays import SET_SIZE
from scheduler.runtime.parts import PART, in_parts
from scheduler.snapshot.id_columns import to_columns
from scheduler.snapshot.kernels.entries import copy_held, find_changed
from scheduler.snapshot.kernels.sets import read_sets
from scheduler.snapshot.tables import TableWords, tables_of

HOLD_BYTES = 1 << 19
"""Bytes copied while the lock is held once: some 0.1 ms."""

FEW = 64
"""Outcomes whose entries are copied while the lock is held once: some 0.1 ms."""

ROUNDS = 64
"""Times that what outcomes changed is copied anew. Each round takes a small part of the time of the one before, so the
second or third is the last, unless outcomes come faster than they can be copied."""

LOOK = 1 << 16
"""Slots compared at once for what came or went meanwhile: some 0.1 ms."""


More: TypeAlias = Callable[[NDArray[np.int32]], dict[str, NDArray[Any]]]
"""Returns further columns of the rows in some slots; called with the lock held."""


class Sink(Protocol):
    """Takes the columns of a snapshot, part by part."""

    def append(self, name: str, rows: NDArray[Any], dtype: DTypeLike | None = None) -> None:
        """Append rows to a column."""


def capture(state: State, sink: Sink) -> None:
    """Copy a state into ``sink``, to go on while others decide and change."""
    told = _Told(state)
    state.lock.write(told.begin)
    try:
        _copy_log(state, sink)
        _copy_history(state, told, sink)
    finally:
        state.lock.write(told.end)
    _copy_rows(state, state.clients, "clients", sink, lambda _: {})
    _copy_nodes(state, sink)


def _copy_log(state: State, sink: Sink) -> None:
    steps = np.array([state.clock.steps_back, state.fleet.n_forgotten], np.int64)
    sink.append("life", np.array([state.life]))
    sink.append("log.counters", state.lock.write(state.log.arrays.counters.copy))
    sink.append("log.earlier", state.lock.read(state.log.arrays.earlier.copy))
    sink.append("clock.counters", steps)
    seen = state.lock.read(state.seen.pairs)
    sink.append("seen.id", np.array([id_ for id_, _ in seen], np.int64))
    sink.append("seen.node", np.array([key for _, key in seen], np.uint64))
    # An arm that joins meanwhile may widen the log; decisions with more nodes are later ones than the counters know of.
    size, places = state.log.arrays.slot.shape
    per_row = sum(array.nbytes for array in state.log.arrays) // size
    for at in in_parts(size, max(HOLD_BYTES // max(per_row, 1), 1)):
        for name, rows in state.lock.write(_log_rows, state, at, places).items():
            sink.append(f"log.{name}", rows)


def _log_rows(state: State, at: slice, places: int) -> dict[str, NDArray[Any]]:
    """Return rows of the log with the first ``places`` nodes of each decision; the caller holds the lock."""
    log = state.log.arrays
    node_keys = log.node_keys.reshape(*log.slot.shape, log.node_keys.shape[1])
    slot, generation = log.slot[at, :places], log.generation[at, :places]
    stands = generation == state.fleet.arrays.generation[slot]
    return {
        "id": log.id[at].copy(),
        "time": log.time[at].copy(),
        "length": log.length[at].copy(),
        "request_keys": log.request_keys[at].copy(),
        "node_keys": node_keys[at, :places].copy(),
        "state": log.state[at, :places] % CLAIMED,  # what is claimed is open until it counts
        "held": np.where(stands, log.held[at, :places], 0.0),
    }


def _copy_history(state: State, told: _Told, sink: Sink) -> None:
    """Copy history in parts, then again what outcomes changed meanwhile, the last of it at one moment.

    An entry that was copied twice has two rows of one slot, of which the later one counts.
    """
    for name, table in tables_of(state.history).items():
        copy_table(state, name, table, sink)
    for _ in range(ROUNDS):
        if len(told.outcomes) <= FEW:
            break
        for at in in_parts(len(told.outcomes), FEW):
            _append_columns(state.lock.read(told.copy, at.stop - at.start), sink)
    _append_columns(state.lock.read(told.finish), sink)


def copy_table(state: State, name: str, table: TableWords, sink: Sink) -> None:
    """Copy one table of history in parts, and which slots its entries stand in."""
    parts = {"keys": table.keys[:, None], **table.words}
    size = max(HOLD_BYTES // sum(words[:1].nbytes for words in parts.values()), 1)
    outs = {part: np.empty((size, words.shape[1]), np.uint64) for part, words in parts.items()}
    for at in in_parts(len(table.keys), size):
        slots = state.lock.read(_copy_entries, table.keys, parts, at, outs)
        for part, out in outs.items():
            sink.append(f"{name}.{part}", out[: len(slots)])
        sink.append(f"{name}.slots", slots)


class _Outcome(NamedTuple):
    """The keys of an outcome's request and node, and its decision, -1 for none."""

    request_keys: NDArray[np.uint64]
    node_keys: NDArray[np.uint64]
    decision: int


class _Told:
    """Of which outcomes history learned since the copy began; a listener of the state."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.outcomes: list[_Outcome] = []
        self._answered: list[tuple[int, int]] = []

    def begin(self) -> None:
        self._state.listeners = (*self._state.listeners, self._hear)

    def end(self) -> None:
        self._state.listeners = tuple(one for one in self._state.listeners if one != self._hear)

    def _hear(
        self, request_keys: NDArray[np.uint64], node_keys: NDArray[np.uint64], decisions: NDArray[np.int64]
    ) -> None:
        self.outcomes += map(_Outcome, request_keys.copy(), node_keys.copy(), decisions.tolist())

    def copy(self, n: int) -> dict[str, NDArray[Any]]:
        """Return what the first ``n`` outcomes changed as it stands now, and forget them; the caller holds the lock."""
        some, self.outcomes = self.outcomes[:n], self.outcomes[n:]
        self._answered += [pair for one in some if (pair := _answered(self._state, one)) is not None]
        columns: dict[str, NDArray[Any]] = {}
        for name, slots in _changed(self._state, some).items():
            table = tables_of(self._state.history)[name]
            columns[f"{name}.keys"] = table.keys[slots, None]
            columns |= {f"{name}.{part}": words[slots] for part, words in table.words.items()}
            columns[f"{name}.slots"] = slots
        return columns

    def finish(self) -> dict[str, NDArray[Any]]:
        """Return the rest, and what is kept once; the caller holds the lock."""
        state, columns = self._state, self.copy(len(self.outcomes))
        for name, table in tables_of(state.history).items():
            columns[f"{name}.counters"] = table.counters.copy()
        columns["latent_factors.levels"] = state.history.latent_factors.levels.copy()
        columns["answered.id"] = np.array([id_ for id_, _ in self._answered], np.int64)
        columns["answered.node"] = np.array([key for _, key in self._answered], np.uint64)
        columns["answered.counters"] = state.log.arrays.counters[[N_OUTCOMES, N_LEARNED]]
        columns["clock"] = state.clock.latest.copy()
        return columns


def _answered(state: State, outcome: _Outcome) -> tuple[int, int] | None:
    """Return the decision and the node that an outcome is of, if it was taken in; None for one from elsewhere."""
    log, id_, key = state.log.arrays, outcome.decision, int(outcome.node_keys[0])
    row = state.log.row(id_) if id_ >= 0 else -1
    if row < 0:
        return (id_, key) if (id_, key) in state.seen else None
    places = log.slot.shape[1]
    own = log.node_keys[row * places : (row + 1) * places, 0]
    return (id_, key) if ((own == key) & (log.state[row] == ANSWERED)).any() else None


def _changed(state: State, outcomes: list[_Outcome]) -> dict[str, NDArray[Any]]:
    """Return the slots of each table that outcomes changed."""
    if not outcomes:
        return {}
    program, n = state.features.program, len(outcomes)
    request, node = (ColumnArrays(np.empty((n, 0)), np.stack([pair[side] for pair in outcomes])) for side in range(2))
    of_keys = np.empty((n, program.n_parts.size), np.int64)
    of_factors = np.empty((n, 2 * len(program.models)), np.int64)
    of_points = np.empty((n, len(program.change_points)), np.int64)
    find_changed(program, state.history, request, node, of_keys, of_factors, of_points)
    found = zip((HISTORY, LATENT_FACTORS, CHANGE_POINTS), (of_keys, of_factors, of_points), strict=True)
    return {name: np.unique(slots[slots >= 0]) for name, slots in found}


def _copy_entries(
    keys: NDArray[np.uint64],
    parts: Mapping[str, NDArray[np.uint64]],
    at: slice,
    outs: Mapping[str, NDArray[np.uint64]],
) -> NDArray[np.int64]:
    """Copy what a table holds in some slots, and return which of them."""
    for part, words in parts.items():
        copy_held(keys, words, at.start, at.stop, outs[part])
    return at.start + np.flatnonzero(keys[at] != MISSING_KEY)


def _append_columns(columns: Mapping[str, NDArray[Any]], sink: Sink) -> None:
    for name, rows in columns.items():
        sink.append(name, rows)


def _copy_nodes(state: State, sink: Sink) -> None:
    fleet = state.fleet

    def more(slots: NDArray[np.int32]) -> dict[str, NDArray[Any]]:
        columns: dict[str, NDArray[Any]] = {
            "alive_until": fleet.arrays.alive_until[slots],
            "quarantined_until": fleet.arrays.quarantined_until[slots],
        }
        for name, s in fleet.table.schema.sets.items():
            counts, keys = _sets_of(state, s, slots)
            columns[f"set.{name}.count"], columns[f"set.{name}.keys"] = counts, keys
        return columns

    _copy_rows(state, fleet.table, "nodes", sink, more)
    sink.append("nodes.time", fleet.arrays.clock[TIME : TIME + 1])
    names = fleet.categories()
    _append_ids("categories", list(names.values()), sink)
    sink.append("categories.key", np.fromiter(names, np.uint64, len(names)))


def _sets_of(state: State, s: int, slots: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    heads = state.index.arrays.sets.heads
    counts = np.zeros(len(slots), np.int64)
    entered = slots < len(heads)
    counts[entered] = heads[slots[entered], s, SET_SIZE]
    keys = np.empty(int(counts.sum()), np.int64)
    read_sets(state.index.arrays, s, slots, keys)
    return counts, keys.view(np.uint64)


class _Copied:
    """Which rows of a table were copied: the key that each slot had then, and the number of its row in the snapshot."""

    def __init__(self, table: IdTable) -> None:
        self._table = table
        self._keys, self._numbers = np.zeros(0, np.uint64), np.zeros(0, np.int64)
        self.n = 0
        self.stale: list[NDArray[np.int64]] = []

    def changed(self, at: slice) -> NDArray[np.int64]:
        """Return the slots whose row is another one by now; the caller holds the lock."""
        more = len(self._table.columns.keys) - len(self._keys)
        if more > 0:
            self._keys = np.concatenate([self._keys, np.full(more, MISSING_KEY, np.uint64)])
            self._numbers = np.concatenate([self._numbers, np.zeros(more, np.int64)])
        return at.start + np.flatnonzero(self._table.columns.keys[at, 0] != self._keys[at])

    def add(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Note what slots have now and return those that have a row; the caller holds the lock."""
        keys = self._table.columns.keys[slots, 0]
        self.stale.append(self._numbers[slots[self._keys[slots] != MISSING_KEY]])
        self._keys[slots] = keys
        held = slots[keys != MISSING_KEY]
        self._numbers[held] = self.n + np.arange(len(held))
        self.n += len(held)
        return held


def _copy_rows(state: State, table: IdTable, name: str, sink: Sink, more: More) -> None:
    """Copy the rows of a table, then those that came meanwhile, and note which rows left."""
    copied = _Copied(table)

    def copy(slots: NDArray[np.int64]) -> tuple[list[Id], dict[str, NDArray[Any]]]:
        held = copied.add(slots)
        columns = {"values": table.columns.values[held], "keys": table.columns.keys[held]}
        return table.ids_at(held).tolist(), columns | more(held.astype(np.int32))

    def append(slots: NDArray[np.int64]) -> None:
        ids, columns = state.lock.read(copy, slots)
        _append_ids(name, ids, sink)
        for column, rows in columns.items():
            sink.append(f"{name}.{column}", rows)

    append(np.zeros(0, np.int64))  # names the columns of an empty table too
    before = -1
    while copied.n - before > PART or before < 0:
        before = copied.n
        for at in in_parts(len(table.columns.keys), LOOK):
            slots = state.lock.read(copied.changed, at)
            for some in in_parts(len(slots), PART):
                append(slots[some])
    sink.append(f"{name}.stale", np.concatenate([np.zeros(0, np.int64), *copied.stale]))


def _append_ids(name: str, ids: list[Id], sink: Sink) -> None:
    columns = to_columns(ids)
    for column, rows in columns._asdict().items():
        sink.append(f"{name}.id.{column}", rows)

"""Builds a state from the columns of a snapshot, or of another state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.arrays import ColumnArrays
from scheduler.columns.ids import Id
from scheduler.columns.rows import Rows
from scheduler.columns.schema import Encoded, Schema, Sets
from scheduler.decisions.arrays import FIRST_ID, FIRST_NUMBER, NEXT, NEXT_HOLD
from scheduler.engine.kernels.restored import find_places
from scheduler.engine.state import State
from scheduler.features import definitions
from scheduler.history.store import CHANGE_POINTS, HISTORY, LATENT_FACTORS
from scheduler.runtime.parts import PART
from scheduler.snapshot.carried import columns_of, history_places, numbers_of
from scheduler.snapshot.id_columns import IdColumns, to_ids
from scheduler.snapshot.kernels.entries import place_entries
from scheduler.snapshot.log_columns import with_answers
from scheduler.snapshot.tables import tables_of
from scheduler.spec import Spec

Columns: TypeAlias = Mapping[str, NDArray[Any]]
"""What `scheduler.snapshot.capture.capture` wrote, by name."""


def restore(state: State, columns: Columns, old: Spec, now: float | None) -> None:
    """Fill an empty state, which has no arms yet.

    Parameters
    ----------
    state
        Changed in place.
    columns
        From a state that ``old`` laid out.
    old
        What it defines like the state's own spec is carried over.
    now
        The time of the restart in seconds; by default that of the last call.

    Raises
    ------
    ValueError
        If the columns do not fit each other or the spec.
    """
    columns = with_answers(dict(columns))
    latest = float(columns["clock"][0]) if now is None else now
    state.clock.latest[0], state.clock.steps_back = latest, int(columns["clock.counters"][0])
    state.fleet.n_forgotten = int(columns["clock.counters"][1])
    for told in zip(columns["seen.id"].tolist(), columns["seen.node"].tolist(), strict=True):
        state.seen.add(told)
    _fill_clients(state, columns, Schema(old.request))
    _fill_nodes(state, columns, Schema(old.node), float(columns["nodes.time"][0]) if now is None else now)
    _fill_history(state, columns, old, latest)
    _fill_log(state, columns, old)


def _fill_clients(state: State, columns: Columns, old: Schema) -> None:
    table = state.clients
    for _, names, rows in _parts(columns, "clients", old, table.schema):
        state.lock.write(table.load, names, rows)


def _fill_nodes(state: State, columns: Columns, old: Schema, time: float) -> None:
    fleet, schema = state.fleet, state.fleet.table.schema
    fleet.turn_to(time)
    shared = [name for name in schema.sets if name in old.sets]
    sets = {name: _sets(columns, name) for name in shared}
    alive, quarantined = columns["nodes.alive_until"], columns["nodes.quarantined_until"]
    for at, names, rows in _parts(columns, "nodes", old, schema):
        encoded: dict[str, Encoded] = {name: rows.keys[:, k] for name, k in schema.key_columns.items()}
        for name, offset in schema.offsets.items():
            encoded[name] = rows.values[:, offset : offset + schema.columns[name].size]
        part = Rows(names, rows.keys[:, 0], encoded, {name: _some(sets[name], at) for name in shared})
        fleet.load(part, alive[at], quarantined[at])
    keys = columns["categories.key"].tolist()
    fleet.learn_categories(dict(zip(keys, _ids(columns, "categories"), strict=True)))


def _parts(
    columns: Columns, name: str, old: Schema, new: Schema
) -> Iterator[tuple[NDArray[np.int64], list[Id], ColumnArrays]]:
    """Yield rows of a table: their numbers, ids and columns in the new schema; of an id that came twice the last."""
    ids = _ids(columns, name)
    rows = ColumnArrays(columns[f"{name}.values"], columns[f"{name}.keys"])
    if rows.values.shape != (len(ids), old.width) or rows.keys.shape != (len(ids), old.n_keys):
        message = f"{name}: expected {len(ids)} rows of {old.width} and {old.n_keys} numbers"
        raise ValueError(message)
    stale = set(columns[f"{name}.stale"].tolist())
    last = {id_: i for i, id_ in enumerate(ids) if i not in stale}
    numbers = np.fromiter(last.values(), np.int64, len(last))
    names = list(last)
    for first in range(0, len(names), PART):
        at = numbers[first : first + PART]
        some = columns_of(ColumnArrays(rows.values[at], rows.keys[at]), old, new)
        yield at, names[first : first + PART], some


def _sets(columns: Columns, name: str) -> Sets:
    counts = columns[f"nodes.set.{name}.count"]
    return Sets(np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]), columns[f"nodes.set.{name}.keys"])


def _some(sets: Sets, rows: NDArray[np.int64]) -> Sets:
    """Return some sets, the categories of each sorted."""
    keys = [np.sort(sets.keys[sets.starts[i] : sets.starts[i + 1]].view(np.int64)) for i in rows.tolist()]
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum([len(one) for one in keys])]).astype(np.int64)
    return Sets(starts, np.concatenate([np.zeros(0, np.int64), *keys]).view(np.uint64))


def _fill_history(state: State, columns: Columns, old: Spec, latest: float) -> None:
    new, tables = state.spec, tables_of(state.history)
    places = history_places(old, new)
    for name, table in tables.items():
        latest_rows = _latest_rows(columns, name)
        keys = columns[f"{name}.keys"][latest_rows, 0]
        rows = columns[f"{name}.rows"][latest_rows].view(np.float32)
        if name == HISTORY:
            seen_and_more = np.zeros((len(rows), table.words["rows"].shape[1] * 2), np.float32)
            seen_and_more[:, places.new] = rows[:, places.old]
            rows = seen_and_more
        width = min(rows.shape[1], table.words["rows"].shape[1] * 2)
        # What a wrong time once wrote far ahead would outlive everything else.
        seen = np.minimum(np.ascontiguousarray(rows[:, :2]).view(np.float64)[:, 0], latest)
        slots = np.empty(len(keys), np.int64)
        evicted = int(columns[f"{name}.counters"][1])
        place_entries(table.keys, table.placement, table.seen, table.counters, keys, seen, slots)
        table.counters[1] += evicted
        held = slots >= 0
        table.words["rows"].view(np.float32)[slots[held], 2:width] = rows[held, 2:width]
        if name == CHANGE_POINTS:
            table.words["edges"][slots[held]] = columns[f"{name}.edges"][latest_rows][held]
    levels = state.history.latent_factors.levels
    levels[:] = numbers_of(
        definitions.latent_factors(old), definitions.latent_factors(new), columns[f"{LATENT_FACTORS}.levels"], levels
    )


def _latest_rows(columns: Columns, name: str) -> NDArray[np.int64] | slice:
    """Return the last row of each slot of a table; what stood in a slot before is evicted or was copied again."""
    slots = columns.get(f"{name}.slots")
    if slots is None:  # as snapshots were before they had slots: none is there twice
        return slice(None)
    return len(slots) - 1 - np.unique(slots[::-1], return_index=True)[1]


def _fill_log(state: State, columns: Columns, old: Spec) -> None:
    """Bring back the decisions that still wait, as many as the log has room for, and what is reserved for them."""
    counters = columns["log.counters"]
    ids, size = columns["log.id"], len(state.log.arrays.id)
    state.log.widen(columns["log.state"].shape[1])
    log = state.log.arrays
    last, next_id = counters[NEXT] - 1, counters[FIRST_ID] + counters[NEXT] - counters[FIRST_NUMBER]
    numbers = last - (last - np.arange(len(ids))) % len(ids)
    known = (ids >= 0) & (ids < next_id) & (numbers > last - size)  # later ones were made while it was copied
    rows, at = numbers[known] % size, np.flatnonzero(known)
    places = columns["log.state"].shape[1]
    for name in ("id", "time", "length"):
        getattr(log, name)[rows] = columns[f"log.{name}"][at]
    for name in ("state", "held"):
        getattr(log, name)[rows, :places] = columns[f"log.{name}"][at]
    log.request_keys[rows] = _keys(columns["log.request_keys"][at], Schema(old.request), state.features.request)
    node_keys = columns["log.node_keys"][at]
    flat = _keys(node_keys.reshape(-1, node_keys.shape[2]), Schema(old.node), state.features.node)
    log.node_keys.reshape(size, -1, log.node_keys.shape[1])[rows, :places] = flat.reshape(
        len(at), places, flat.shape[1]
    )
    log.counters[:] = counters
    log.earlier[:] = columns["log.earlier"]
    log.counters[NEXT_HOLD] = max(counters[NEXT_HOLD], counters[NEXT] - size, 0)
    find_places(state.fleet.arrays, log)


def _keys(keys: NDArray[np.uint64], old: Schema, new: Schema) -> NDArray[np.uint64]:
    return columns_of(ColumnArrays(np.full((len(keys), old.width), np.nan), keys), old, new).keys


def _ids(columns: Columns, name: str) -> list[Id]:
    return to_ids(IdColumns(*(columns[f"{name}.id.{part}"] for part in IdColumns._fields)))

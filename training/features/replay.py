"""Telemetry through history in time order: the feature rows a scheduler would have seen.

Rows are decided in time order; before each, the outcomes that had arrived by then enter history through the
same kernels that serve. So a feature of a row can only know what its decision could have known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from scheduler.columns.arrays import MISSING_KEY, ColumnArrays
from scheduler.columns.ids import id_keys
from scheduler.columns.schema import Schema
from scheduler.features.arrays import FeatureProgram
from scheduler.features.kernels.history_keys import history_key
from scheduler.features.kernels.learn import learn
from scheduler.features.kernels.operations import fill_row
from scheduler.features.kernels.trained_means import add
from scheduler.features.program import Features
from scheduler.history.arrays import HistoryArrays
from scheduler.history.kernels.hash_table import prefetch_bucket, prefetch_entry
from scheduler.history.outcomes import outcome_names, tracked_values
from scheduler.runtime.jit import inlined, kernel
from scheduler.spec import Spec
from training.progress import ProgressCallback, silent
from training.telemetry import Categories, Entities, Telemetry

AHEAD = 64
"""Rows for which memory is asked for at once: the table of a large replay lies in main memory, and its
latency of about 100 ns would otherwise be paid by each look-up in turn."""

STRETCH = 500_000
"""Rows between two reports of progress: about half a second."""


class Overlay(NamedTuple):
    """Columns that a telemetry row itself carries, laid over its client's or node's own.

    Attributes
    ----------
    value_at, values
        (m,) int32 places in `ColumnArrays.values`, and (n_rows, m) float64.
    key_at, keys
        (q,) int32 places in `ColumnArrays.keys`, and (n_rows, q) uint64.
    """

    value_at: NDArray[np.int32]
    values: NDArray[np.float64]
    key_at: NDArray[np.int32]
    keys: NDArray[np.uint64]


class Ahead(NamedTuple):
    """Scratch: one request, one node, its tracked values, and the history keys of the rows ahead.

    ``cursor`` counts the outcomes that have arrived and the rows that are decided.
    """

    request: ColumnArrays
    node: ColumnArrays
    values: NDArray[np.float64]
    keys: NDArray[np.uint64]
    cursor: NDArray[np.int64]


class Events(NamedTuple):
    """Telemetry rows in time order, and their outcomes in the order of arrival.

    Attributes
    ----------
    time, arrival
        (n,) float64 seconds.
    kept
        (n_kept,) int64, the rows whose features are wanted, in order.
    order
        (n,) int64, rows by arrival, ties by row.
    client, node
        (n,) int32 rows of the entity tables.
    values
        (n, n_values) float32 tracked values.
    revealed
        (n,) bool, whether history ever sees the outcome.
    """

    time: NDArray[np.float64]
    arrival: NDArray[np.float64]
    kept: NDArray[np.int64]
    order: NDArray[np.int64]
    client: NDArray[np.int32]
    node: NDArray[np.int32]
    values: NDArray[np.float32]
    revealed: NDArray[np.bool_]


class Tables(NamedTuple):
    """Clients and nodes, each with what telemetry rows lay over them."""

    clients: ColumnArrays
    client_over: Overlay
    nodes: ColumnArrays
    node_over: Overlay


def replay(
    telemetry: Telemetry,
    spec: Spec,
    features: Features,
    history: HistoryArrays,
    *,
    keep: NDArray[np.bool_] | None = None,
    revealed: NDArray[np.bool_] | None = None,
    end: float = np.inf,
    means: bool = False,
    progress: ProgressCallback = silent,
) -> NDArray[np.float32]:
    """Push telemetry through history and return the feature rows of its decisions.

    Parameters
    ----------
    telemetry
        Rows in time order.
    history
        Statistics to start from, changed in place.
    keep
        (n,) which rows' features to return; all by default.
    revealed
        (n,) whose outcomes history sees; all by default.
    end
        Outcomes that arrive at this time or later stay unseen.
    means
        Whether the features' means of training learn of all outcomes, revealed or not. A model's own ones never do.
    progress
        Told after each stretch of rows.

    Returns
    -------
    (n_kept, n_features) float32.
    """
    n = telemetry.time.size
    events = events_of(telemetry, spec, keep, revealed)
    out = np.empty((events.kept.size, len(features.names)), np.float32)
    tables = tables_of(telemetry, features)
    ahead = scratch(features, len(spec.history.values))
    for first in range(0, n, STRETCH):
        stop = min(first + STRETCH, n)
        _replay(features.program, history, events, tables, stop, end, means, ahead, out)
        progress("replay", stop, n)
    return out


def events_of(
    telemetry: Telemetry,
    spec: Spec,
    keep: NDArray[np.bool_] | None = None,
    revealed: NDArray[np.bool_] | None = None,
) -> Events:
    """Return telemetry rows with their outcomes; see `replay`."""
    n = telemetry.time.size
    rows = np.column_stack([telemetry.outcomes[name] for name in outcome_names(spec)])
    return Events(
        time=telemetry.time,
        arrival=telemetry.arrival,
        kept=np.arange(n) if keep is None else np.flatnonzero(keep),
        order=np.argsort(telemetry.arrival, kind="stable"),
        client=telemetry.client,
        node=telemetry.node,
        values=tracked_values(spec, spec.history.values, rows),
        revealed=np.ones(n, np.bool_) if revealed is None else revealed,
    )


def tables_of(telemetry: Telemetry, features: Features) -> Tables:
    """Return the clients and nodes that telemetry rows name."""
    n = telemetry.time.size
    return Tables(
        entity(features.request, telemetry.clients),
        overlay(features.request, telemetry.request, n),
        entity(features.node, telemetry.nodes),
        overlay(features.node, telemetry.node_state, n),
    )


def scratch(features: Features, n_values: int) -> Ahead:
    """Return scratch memory for a replay of ``n_values`` tracked values."""
    request, node = (
        ColumnArrays(np.empty((1, schema.width)), np.empty((1, schema.n_keys), np.uint64))
        for schema in (features.request, features.node)
    )
    keys = np.empty((AHEAD, features.program.n_parts.size), np.uint64)
    return Ahead(request, node, np.empty(n_values), keys, np.zeros(2, np.int64))


def entity(schema: Schema, table: Entities) -> ColumnArrays:
    """Return a table's rows as kernels read them; columns the table lacks are missing."""
    n = len(table.ids)
    values = np.full((n, schema.width), np.nan)
    keys = np.zeros((n, schema.n_keys), np.uint64)
    keys[:, 0] = id_keys(table.ids)
    for name, raw in table.columns.items():
        if isinstance(raw, Categories):
            keys[:, schema.key_columns[name]] = _categories(raw)
        else:
            at = schema.offsets[name]
            values[:, at : at + schema.columns[name].size] = raw.reshape(n, -1)
    return ColumnArrays(values, keys)


def overlay(schema: Schema, columns: dict[str, NDArray[np.float64] | Categories], n: int) -> Overlay:
    """Return the columns that telemetry rows carry themselves, ready to be laid over an `ColumnArrays`."""
    numbers = {name: raw for name, raw in columns.items() if not isinstance(raw, Categories)}
    keys = {name: _categories(raw) for name, raw in columns.items() if isinstance(raw, Categories)}
    return Overlay(
        np.array([schema.offsets[name] for name in numbers], np.int32),
        _side_by_side(numbers, n, np.float64),
        np.array([schema.key_columns[name] for name in keys], np.int32),
        _side_by_side(keys, n, np.uint64),
    )


def _side_by_side(columns: Mapping[str, NDArray[Any]], n: int, dtype: DTypeLike) -> NDArray[Any]:
    """Return (n, n_columns) columns side by side."""
    out = np.empty((n, len(columns)), dtype)
    for m, column in enumerate(columns.values()):
        out[:, m] = column
    return out


def _categories(raw: Categories) -> NDArray[np.uint64]:
    """Return the key of each row; a code of -1, the last place of the look-up, is missing."""
    return np.append(id_keys(list(raw.values)), np.uint64(MISSING_KEY))[raw.codes]


@inlined
def lay(tables: Tables, events: Events, i: int, request: ColumnArrays, node: ColumnArrays) -> None:
    """Write the request and node of telemetry row ``i`` to the only rows of ``request`` and ``node``."""
    _lay(tables.clients, events.client[i], tables.client_over, i, request)
    _lay(tables.nodes, events.node[i], tables.node_over, i, node)


@inlined
def _lay(base: ColumnArrays, row: int, over: Overlay, i: int, out: ColumnArrays) -> None:
    for c in range(base.values.shape[1]):
        out.values[0, c] = base.values[row, c]
    for c in range(base.keys.shape[1]):
        out.keys[0, c] = base.keys[row, c]
    for c in range(over.value_at.size):
        out.values[0, over.value_at[c]] = over.values[i, c]
    for c in range(over.key_at.size):
        out.keys[0, over.key_at[c]] = over.keys[i, c]


@kernel
def hint(
    program: FeatureProgram,
    history: HistoryArrays,
    events: Events,
    rows: np.ndarray,
    first: int,
    tables: Tables,
    ahead: Ahead,
) -> None:
    """Ask for the memory that the next rows will read; changes only ``ahead``, which is scratch."""
    request, node, keys = ahead.request, ahead.node, ahead.keys
    n = min(AHEAD, rows.size - first)
    for r in range(n):
        lay(tables, events, rows[first + r], request, node)
        for k in range(program.n_parts.size):
            keys[r, k] = history_key(program, k, request, 0, node, 0)
            prefetch_bucket(history, keys[r, k])
    for r in range(n):
        for k in range(program.n_parts.size):
            prefetch_entry(history, keys[r, k])


@inlined
def add_outcome(program: FeatureProgram, request: ColumnArrays, node: ColumnArrays, values: np.ndarray) -> None:
    """Add an outcome of the only request and node to the program's means of training."""
    for t in range(program.trained_keys.size):
        key = history_key(program, program.trained_keys[t], request, 0, node, 0)
        add(program.trained, key, values, program.trained_values)


@kernel
def _replay(
    program: FeatureProgram,
    history: HistoryArrays,
    events: Events,
    tables: Tables,
    stop: int,
    end: float,
    means: bool,
    ahead: Ahead,
    out: np.ndarray,
) -> None:
    """Continue from the cursor: decide rows before ``stop``, and learn what arrived before the next one.

    After the last row that is what arrived before ``end``.
    """
    request, node, values, cursor = ahead.request, ahead.node, ahead.values, ahead.cursor
    n, n_kept = events.time.size, events.kept.size
    arrived, kept = cursor[0], cursor[1]
    while True:
        i = events.kept[kept] if kept < n_kept and events.kept[kept] < stop else stop
        now = events.time[i] if i < n else end
        while arrived < n and events.arrival[events.order[arrived]] < now:
            if arrived % AHEAD == 0:
                hint(program, history, events, events.order, arrived, tables, ahead)
            row = events.order[arrived]
            if events.revealed[row] or means:
                lay(tables, events, row, request, node)
                for v in range(values.size):
                    values[v] = events.values[row, v]
                if means:
                    add_outcome(program, request, node, values)
                if events.revealed[row]:
                    learn(program, request, 0, node, 0, history, values, events.arrival[row])
            arrived += 1
        if i == stop:
            break
        if kept % AHEAD == 0:
            hint(program, history, events, events.kept, kept, tables, ahead)
        lay(tables, events, i, request, node)
        fill_row(program, request, 0, node, 0, history, now, out[kept])
        kept += 1
    cursor[0], cursor[1] = arrived, kept

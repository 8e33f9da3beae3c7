"""The keys of history that telemetry has: which rows have which, and how many there are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from scheduler.columns.arrays import MISSING_KEY
from scheduler.columns.ids import id_keys
from scheduler.spec import CLIENT, NODE, Spec
from training.telemetry.telemetry import Categories, Telemetry


def part_keys(telemetry: Telemetry, part: str) -> NDArray[np.uint64]:
    """Return the (n,) keys of a part of a history key: ``client``, ``node``, or a category such as ``request.isp``.

    `MISSING_KEY` where it is null.
    """
    if part in (CLIENT, NODE):
        table, rows = (telemetry.clients, telemetry.client) if part == CLIENT else (telemetry.nodes, telemetry.node)
        return id_keys(table.ids)[rows]
    side, _, name = part.partition(".")
    own, table, rows = (
        (telemetry.request, telemetry.clients, telemetry.client)
        if side == "request"
        else (telemetry.node_state, telemetry.nodes, telemetry.node)
    )
    column = own.get(name, table.columns.get(name))
    if not isinstance(column, Categories):  # a key's part is a category, or the spec would not have passed its checks
        raise TypeError(f"{part}: expected a category, found {column}")
    codes = column.codes if name in own else column.codes[rows]
    return np.append(id_keys(list(column.values)), np.uint64(MISSING_KEY))[codes]


def row_keys(
    telemetry: Telemetry, spec: Spec, rows: NDArray[np.bool_] | None = None
) -> Iterator[tuple[str, NDArray[np.uint64]]]:
    """Yield each history key's name and its values in the rows, or some of them, that have one, hashed to 64 bits."""
    for name, parts in spec.history.keys.items():
        key = np.zeros(len(telemetry), np.uint64)
        known = np.ones(len(telemetry), np.bool_) if rows is None else rows.copy()
        for part in parts:
            values = part_keys(telemetry, part)
            known &= values != MISSING_KEY
            key = id_keys(key * np.uint64(31) + values)  # mixed after each part, so that their order matters
        yield name, key[known]


def count_keys(telemetry: Telemetry, spec: Spec, rows: NDArray[np.bool_] | None = None) -> dict[str, int]:
    """Return how many distinct values each history key has in telemetry, or in some of its rows."""
    return {name: pl.Series(keys).n_unique() for name, keys in row_keys(telemetry, spec, rows)}

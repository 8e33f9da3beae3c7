"""Categories by frequency."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.ids import Id
from scheduler.spec import Spec
from training.telemetry import Categories, Telemetry

MAX_CATEGORIES = 1024
"""Codes a category column may have; rarer values are unknown to the model. A bound, because each code is a rank
with a row of masks in the forest."""


def find_vocabulary(
    telemetry: Telemetry, spec: Spec, rows: NDArray[np.bool_] | None = None
) -> dict[str, tuple[Id, ...]]:
    """Return the categories that the features of a spec need codes for, most frequent first, ties by value.

    A telemetry column is counted by row, a table's column by client or node.

    Parameters
    ----------
    rows
        (n,) which rows are counted, and with them the clients and nodes that they name; all by default.
    """
    found: dict[str, tuple[Id, ...]] = {}
    for side, columns, own, table, of_rows in (
        ("request", spec.request, telemetry.request, telemetry.clients, telemetry.client),
        ("node", spec.node, telemetry.node_state, telemetry.nodes, telemetry.node),
    ):
        named = None if rows is None else occurring(of_rows[rows], len(table))
        for name, column in columns.items():
            raw = own.get(name, table.columns.get(name))
            if column.type == "category" and isinstance(raw, Categories):
                counts = category_counts(raw, rows if name in own else named)
                found[f"{side}.{name}"] = by_frequency(raw.values, counts)
    return found


def occurring(places: NDArray[np.integer], n: int) -> NDArray[np.bool_]:
    """Return for each of ``n`` entities whether a row names it."""
    return np.bincount(places, minlength=n) > 0


def category_counts(raw: Categories, rows: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """Return how many rows, or how many of some, have each value."""
    codes = raw.codes if rows is None else raw.codes[rows]
    return np.bincount(codes[codes >= 0], minlength=len(raw.values))


def by_frequency(values: Sequence[Id], counts: NDArray[np.int64]) -> tuple[Id, ...]:
    """Return the values that occur, most frequent first, at most `MAX_CATEGORIES`."""
    ranked = sorted(range(len(values)), key=lambda i: (-counts[i], str(values[i])))
    return tuple(values[i] for i in ranked[:MAX_CATEGORIES] if counts[i])

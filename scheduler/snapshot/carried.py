"""What two specs define alike, so that the state of one can serve a model of the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.arrays import MISSING_KEY, ColumnArrays
from scheduler.columns.schema import Schema
from scheduler.features import definitions
from scheduler.history.arrays import STATISTICS, TIME_FLOATS
from scheduler.history.row_layout import last_value_place, row_floats, statistics_place
from scheduler.spec import Column, Spec

Definitions = Callable[[Spec], Mapping[str, str]]

KINDS: dict[str, Definitions] = {
    "request": lambda spec: _columns(spec.request),
    "node": lambda spec: _columns(spec.node),
    "history.keys": lambda spec: dict(zip(spec.history.keys, definitions.history_keys(spec), strict=True)),
    "history.values": lambda spec: dict(zip(spec.history.values, definitions.values(spec), strict=True)),
    "history.half_lives": lambda spec: {half_life: half_life for half_life in spec.history.half_lives},
    "latent_factors": lambda spec: dict(zip(spec.latent_factors, definitions.latent_factors(spec), strict=True)),
    "change_points": lambda spec: dict(zip(spec.change_points, definitions.change_points(spec), strict=True)),
}
"""What a state is laid out by: for each kind the definitions by name."""


class Carried(NamedTuple):
    """What was carried over from one spec's state to another's.

    Attributes
    ----------
    kept, new
        Names in the new spec by kind, such as ``history.keys``: those that the old spec defines alike, whatever it
        calls them, and those that start empty.
    """

    kept: dict[str, tuple[str, ...]]
    new: dict[str, tuple[str, ...]]

    @property
    def share_new(self) -> float:
        """Share of what the new spec defines that starts empty, 0 to 1."""
        n_kept, n_new = (sum(map(len, part.values())) for part in (self.kept, self.new))
        return n_new / max(n_kept + n_new, 1)


def compare(old: Spec, new: Spec) -> Carried:
    """Return what two specs define alike."""
    pairs = {kind: (set(of(old).values()), of(new)) for kind, of in KINDS.items()}
    return Carried(
        {kind: tuple(n for n, what in after.items() if what in before) for kind, (before, after) in pairs.items()},
        {kind: tuple(n for n, what in after.items() if what not in before) for kind, (before, after) in pairs.items()},
    )


class History(NamedTuple):
    """Where the statistics of one spec's rows stand in another's: (n,) places of float32, and which come from where."""

    old: NDArray[np.int64]
    new: NDArray[np.int64]
    width: int


def history_places(old: Spec, new: Spec) -> History:
    """Return where each number of a history row that both specs define alike stands in either."""
    places = [(p, p) for p in range(TIME_FLOATS)]
    values = _pairs(definitions.values(old), definitions.values(new))
    half_lives = _pairs(old.history.half_lives, new.history.half_lives)
    for v, w in values:
        places.append((last_value_place(v), last_value_place(w)))
        for h, i in half_lives:
            first, second = statistics_place(old, v, h), statistics_place(new, w, i)
            places += [(first + s, second + s) for s in range(STATISTICS)]
    pairs = np.array(places, np.int64)
    return History(pairs[:, 0], pairs[:, 1], row_floats(new))


def columns_of(rows: ColumnArrays, old: Schema, new: Schema) -> ColumnArrays:
    """Return rows of one schema as another's; what it does not have is missing."""
    n = len(rows.keys)
    values, keys = np.full((n, new.width), np.nan), np.full((n, new.n_keys), MISSING_KEY, np.uint64)
    keys[:, 0] = rows.keys[:, 0]
    for name, column in new.columns.items():
        before = old.columns.get(name)
        if before is None or _definition(name, before) != _definition(name, column):
            continue
        if name in new.key_columns:
            keys[:, new.key_columns[name]] = rows.keys[:, old.key_columns[name]]
        else:
            at, to = old.offsets[name], new.offsets[name]
            values[:, to : to + column.size] = rows.values[:, at : at + column.size]
    return ColumnArrays(values, keys)


def numbers_of(old: list[str], new: list[str], rows: NDArray[Any], empty: NDArray[Any]) -> NDArray[Any]:
    """Return rows by number of definition in the order of ``new``; those of ``empty`` where there is none."""
    out = empty.copy()
    for before, after in _pairs(old, new):
        out[after] = rows[before]
    return out


def _pairs(old: tuple[str, ...] | list[str], new: tuple[str, ...] | list[str]) -> list[tuple[int, int]]:
    """Return the numbers of what stands in both."""
    at = {text: i for i, text in enumerate(old)}
    return [(at[text], i) for i, text in enumerate(new) if text in at]


def _columns(columns: Mapping[str, Column]) -> dict[str, str]:
    return {name: _definition(name, column) for name, column in columns.items()}


def _definition(name: str, column: Column) -> str:
    return f"{name} {column.type} {column.size}"

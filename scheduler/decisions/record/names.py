"""What keys of categories stand for, written once a segment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from scheduler.columns.arrays import MISSING_KEY
from scheduler.columns.ids import Id, id_key, value_of
from scheduler.decisions.record.columns import Columns, Ragged
from scheduler.decisions.record.hashing import IdHasher
from scheduler.decisions.record.segment import Segment

MOST_NAMES: Final = 65_536
"""Keys that a segment is asked for: of further ones the keys alone are recorded."""


class CategoryKeys:
    """Finds the names of categories in rows.

    A name is known from a model's vocabulary, from what nodes were told with, and from what requests carried one by
    one. Keys of ids are left out: ids are written where they occur.

    Parameters
    ----------
    nodes
        Returns the names of node categories by key.
    hasher
        Says which key columns hold ids.
    """

    def __init__(self, nodes: Callable[[], dict[int, Id]], hasher: IdHasher) -> None:
        self._nodes, self._hasher = nodes, hasher
        self._vocabulary: dict[int, Id] = {}
        self._segment: Segment | None = None
        self._asked: set[int] = set()

    def learn(self, vocabulary: Mapping[str, Sequence[Id]]) -> None:
        """Take the categories that a model knows."""
        self._vocabulary |= {id_key(value): value for values in vocabulary.values() for value in values}

    def of(self, table: str, columns: Columns, segment: Segment) -> Columns | None:
        """Return the names of categories in rows of a table that the segment does not have; None for none.

        Until `wrote` is told of them they are returned again.
        """
        if table not in {"decisions", "full", "nodes"}:
            return None
        if segment is not self._segment:
            self._segment, self._asked = segment, set()
        new = self._keys(columns) - self._asked
        if not new or len(self._asked) + len(new) > MOST_NAMES:
            return None
        nodes = self._nodes()
        named = {key: self._name(key, nodes) for key in sorted(new)}
        known = {key: str(name) for key, name in named.items() if name is not None}
        self._asked |= new - known.keys()
        return {"key": np.array([*known], np.uint64), "value": [*known.values()]} if known else None

    def wrote(self, names: Columns) -> None:
        """Learn that the segment has some names."""
        keys: Any = names["key"]
        self._asked.update(keys.tolist())

    def _name(self, key: int, nodes: Mapping[int, Id]) -> Id | None:
        for known in (self._vocabulary, nodes):
            if key in known:
                return known[key]
        return value_of(key)

    def _keys(self, columns: Columns) -> set[int]:
        nodes: Any = columns["node_keys"]
        requests: Any = columns.get("request_keys", np.zeros(0, np.uint64))
        flat: Any = nodes.values if isinstance(nodes, Ragged) else nodes
        parts = self._hasher.categories(requests, flat)
        return {key for part in parts for key in np.unique(part).tolist()} - {MISSING_KEY}

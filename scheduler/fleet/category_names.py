"""What categories were called when they were told: kernels keep keys alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from scheduler.columns.arrays import MISSING_KEY
from scheduler.columns.ids import FEW, Id, name_of_key
from scheduler.columns.rows import Rows, Skipped

MOST_NAMED = 65_536
"""Categories whose values are kept, some 8 MB; of further ones only the keys are known."""


class CategoryNames:
    """The values of categories by key, as far as there is room."""

    def __init__(self) -> None:
        self._names: dict[int, Id] = {}

    def learn(self, rows: Rows, columns: Mapping[str, object], skipped: Sequence[Skipped]) -> None:
        """Keep the values of the categories in rows, read from raw columns without those skipped."""
        for name, keys in rows.columns.items():
            raw = columns[name]
            if (
                keys.dtype != np.uint64
                or len(self._names) >= MOST_NAMED
                or not isinstance(raw, list | tuple | np.ndarray)
            ):
                continue
            of = np.delete(np.arange(len(raw)), [skip.row for skip in skipped])
            first = np.arange(len(keys)) if len(keys) <= FEW else np.unique(keys, return_index=True)[1]
            for i in first.tolist():
                self._learn_one(int(keys[i]), raw[of[i]])

    def name_of(self, key: int, own: tuple[int, Id]) -> Id | None:
        """Return the category of a key, None for a missing one; ``own`` is the node's key and id."""
        if key == MISSING_KEY:
            return None
        return own[1] if key == own[0] else self._names.get(key, name_of_key(key))

    def known(self) -> dict[int, Id]:
        """Return a copy of all values by key."""
        return self._names.copy()

    def add(self, names: Mapping[int, Id]) -> None:
        """Keep values by key."""
        self._names.update(names)

    def _learn_one(self, key: int, value: Id | np.generic) -> None:
        if key not in self._names and key != MISSING_KEY and len(self._names) < MOST_NAMED:
            self._names[key] = value.item() if isinstance(value, np.generic) else value

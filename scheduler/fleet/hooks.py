"""Who is told of the fleet's changes, and who keeps the sets of nodes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.schema import Sets


class SetColumns(Protocol):
    """Keeps the sets of categories that nodes hold, by number of column; `scheduler.retrieval.index.Index` is one."""

    def replace(self, column: int, slots: NDArray[np.int32], sets: Sets) -> None:
        """Give nodes other sets, (n,) distinct slots and as many sets."""

    def add(self, column: int, slots: NDArray[np.int32], keys: NDArray[np.uint64]) -> None:
        """Add categories to sets, (n,) slots and keys."""

    def discard(self, column: int, slots: NDArray[np.int32], keys: NDArray[np.uint64]) -> None:
        """Take categories out of sets, (n,) slots and keys."""

    def holds(self, column: int, slots: NDArray[np.int32], keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return which sets have the categories, (n,) slots and keys."""
        ...

    def entries(self, slots: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return in how many lists nodes stand for what they hold, (n,) slots; 0 for a slot below 0."""
        ...


Hook: TypeAlias = Callable[[NDArray[np.int32]], None]
"""Told the slots of nodes, with the fleet's lock held."""


(WRITTEN, REMOVED, QUARANTINED) = range(3)
"""Notes on nodes: columns were written, the node is about to be removed, its quarantine was set."""


class Hooks(NamedTuple):
    """Called after nodes were added or changed, after nodes were removed, and after `FleetArrays.listed` changed.

    Of known nodes `changed` is told only if one of the columns was set that it `reads`, by default any. Who is told of
    by `changed` is not told of by `listed` as well. `ahead` is told how many nodes there may soon be, without the lock.
    `noted` is told of every node that was written or set aside, and before one is removed, with one of the notes
    from `WRITTEN` on.
    """

    changed: Hook = lambda _: None
    removed: Hook = lambda _: None
    listed: Hook = lambda _: None
    ahead: Callable[[int], None] = lambda _: None
    reads: Collection[str] | None = None
    noted: Callable[[int, NDArray[np.int32]], None] = lambda _note, _slots: None


NO_HOOKS = Hooks()
"""Nobody is told."""

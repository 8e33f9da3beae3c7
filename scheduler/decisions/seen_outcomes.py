"""Outcomes of decisions made elsewhere, remembered so that none counts twice."""

from __future__ import annotations

from collections import OrderedDict


class SeenOutcomes:
    """Which outcomes of decisions made elsewhere were taken in, the last ones.

    Parameters
    ----------
    size
        How many to remember.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._seen: OrderedDict[tuple[int, int], None] = OrderedDict()

    def __contains__(self, outcome: tuple[int, int]) -> bool:
        return outcome in self._seen

    def pairs(self) -> list[tuple[int, int]]:
        """Return all that are remembered, the oldest first; others may add meanwhile."""
        return list(self._seen.copy())

    def add(self, outcome: tuple[int, int]) -> None:
        """Remember a decision's id and the key of its node, and forget the oldest where there are too many."""
        self._seen[outcome] = None
        if len(self._seen) > self._size:
            self._seen.popitem(last=False)

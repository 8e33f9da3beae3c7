"""Retrieval: which nodes may serve a request, from an index by tier, never by a scan of the fleet."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scheduler.columns import Schema
from scheduler.kernels import candidates as kernels
from scheduler.layout import (
    FIRST_ROOM,
    FREE_LIST,
    LIST_CLASS,
    LISTS_END,
    NO_BARS,
    ROOM_CLASSES,
    IndexArrays,
    RetrievalWork,
)
from scheduler.spec import Candidates

FIRST_LISTS = 64
"""Posting lists there is room for at first; the number doubles when used up."""

FIRST_ARENA = 1024
"""Slots that the posting lists have room for at first."""


class Index:
    """Posting lists of one fleet for each tier of a spec.

    A node costs 8 bytes a tier and its share of posting lists, 4 to 16 bytes a tier while they are full or filling.

    Parameters
    ----------
    spec
        Tiers in order, and the bound on candidates.
    request, node
        Where the matched categories stand.

    Attributes
    ----------
    arrays
        What the kernels read; others after a `put` that needed more room.

    Notes
    -----
    Room grows by copying: all lists move, packed, to an arena of at least twice what they take, so that blocks given
    back do not add up.
    """

    def __init__(self, spec: Candidates, request: Schema, node: Schema) -> None:
        bounds = [spec.limit if tier.limit is None else tier.limit for tier in spec.tiers]
        self.arrays = IndexArrays(
            request=_columns([[request.key_columns[c] for c in tier.match] for tier in spec.tiers]),
            node=_columns([[node.key_columns[c] for c in tier.match.values()] for tier in spec.tiers]),
            limits=np.array(bounds, np.int32),
            limit=spec.limit,
            table=np.full(2 * FIRST_LISTS, -1, np.int32),
            lists=np.empty((FIRST_LISTS, 4), np.int64),
            arena=np.empty(FIRST_ARENA, np.int32),
            held=np.full((0, len(spec.tiers), 2), -1, np.int32),
            free=np.full(ROOM_CLASSES, -1, np.int64),
            marks=np.array([0, 0, -1], np.int64),
        )
        self._work = self.new_work()

    def put(self, slots: NDArray[np.int32], keys: NDArray[np.uint64]) -> None:
        """Enter nodes, or move them where their categories have changed.

        Parameters
        ----------
        slots
            (n,) where they stand.
        keys
            (slots, n_keys) the fleet's keys, by slot.
        """
        if len(keys) > len(self.arrays.held):
            more = np.full((len(keys) - len(self.arrays.held), *self.arrays.held.shape[1:]), -1, np.int32)
            self.arrays = self.arrays._replace(held=np.concatenate([self.arrays.held, more]))
        done = kernels.put(self.arrays, slots, keys, 0)
        while done < len(slots):
            self._grow()
            done = kernels.put(self.arrays, slots, keys, done)

    def drop(self, slots: NDArray[np.int32]) -> None:
        """Take nodes out, (n,) slots; those that never entered are left alone."""
        kernels.drop(self.arrays, slots[slots < len(self.arrays.held)])

    def retrieve(
        self, keys: NDArray[np.uint64], seed: int, first: int, bars: NDArray[np.uint64] = NO_BARS
    ) -> NDArray[np.int32]:
        """Return the slots of requests' candidates, tier by tier, none twice, at most the spec's limit.

        Parameters
        ----------
        keys
            (n, n_keys) the requests' keys.
        seed, first
            Fix the samples: request ``i`` becomes decision ``first`` + i.
        bars
            What the requests do not want; see `scheduler.layout.BAR_COLUMN`.

        Returns
        -------
        (n, limit) int32, -1 past the end.
        """
        out = np.empty((len(keys), self.arrays.limit), np.int32)
        kernels.retrieve_batch(self.arrays, keys, bars, seed, first, self._work, out)
        return out

    def new_work(self) -> RetrievalWork:
        """Return scratch arrays for the `retrieve` kernel; each thread needs its own."""
        limit = self.arrays.limit
        # A quarter full at most, so that a look-up mostly reads one place.
        places = 1 << (4 * limit - 1).bit_length()
        return RetrievalWork(seen=np.empty(places, np.int32), drawn=np.empty(kernels.WHOLE * limit, np.int32))

    def _grow(self) -> None:
        """Make room where `put` found none."""
        old = self.arrays
        if old.marks[FREE_LIST] < 0 and old.marks[LISTS_END] == len(old.lists):
            n = 2 * len(old.lists)
            lists = np.concatenate([old.lists, np.empty_like(old.lists)])
            self.arrays = old._replace(lists=lists, table=np.full(2 * n, -1, np.int32))
            kernels.rehash(self.arrays)
        else:
            sizes = old.lists[: old.marks[LISTS_END], LIST_CLASS]
            rooms = FIRST_ROOM << sizes[sizes >= 0]
            # A list that doubles needs its new room beside the old.
            room = 2 * int(rooms.sum()) + 2 * int(rooms.max(initial=0))
            arena = np.empty(max(room, FIRST_ARENA), np.int32)
            kernels.repack(old, arena)
            self.arrays = old._replace(arena=arena)


def _columns(tiers: list[list[int]]) -> NDArray[np.int32]:
    """Return key columns by tier, padded with -1."""
    table = np.full((len(tiers), max(map(len, tiers), default=0) + 1), -1, np.int32)
    for row, columns in zip(table, tiers, strict=True):
        row[: len(columns)] = columns
    return table

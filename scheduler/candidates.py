"""Retrieval: which nodes may serve a request, from an index by tier, never by a scan of the fleet."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scheduler.columns import Schema
from scheduler.kernels import candidates as kernels
from scheduler.layout import (
    ARENA_END,
    FIRST_PLACES,
    FREE_LIST,
    LISTED,
    LISTS_END,
    NO_BARS,
    ROOM_CLASSES,
    IndexArrays,
    RetrievalWork,
)
from scheduler.room import MOST_ROWS, Room, next_size
from scheduler.spec import Candidates

FIRST_LISTS = 64
"""Posting lists there is room for at first."""

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
    Room is added without moving what is there, so that no call takes long. Only where blocks given back have added up
    to three times what the lists take do all move, packed, to another arena.
    """

    def __init__(self, spec: Candidates, request: Schema, node: Schema) -> None:
        self._table, self._lists = Room((), np.int32, -1), Room((5,), np.int64)
        self._arena, self._held = new_arena(len(spec.tiers)), Room((len(spec.tiers), 2), np.int32, -1)
        bounds = [spec.limit if tier.limit is None else tier.limit for tier in spec.tiers]
        self.arrays = IndexArrays(
            request=_columns([[request.key_columns[c] for c in tier.match] for tier in spec.tiers]),
            node=_columns([[node.key_columns[c] for c in tier.match.values()] for tier in spec.tiers]),
            limits=np.array(bounds, np.int32),
            limit=spec.limit,
            table=self._table.grow(FIRST_PLACES + FIRST_LISTS),
            lists=self._lists.grow(FIRST_LISTS),
            arena=self._arena.grow(FIRST_ARENA),
            held=self._held.grow(0),
            free=np.full(ROOM_CLASSES, -1, np.int64),
            marks=np.array([0, 0, -1, 0, FIRST_PLACES, FIRST_PLACES - 1], np.int64),
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
            self.arrays = self.arrays._replace(held=self._held.grow(len(keys)))
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
            n = next_size(len(old.lists))
            self.arrays = old._replace(lists=self._lists.grow(n), table=self._table.grow(FIRST_PLACES + n))
        elif old.marks[ARENA_END] <= 4 * old.marks[LISTED] + FIRST_ARENA:
            self.arrays = old._replace(arena=self._arena.grow(2 * len(old.arena)))
        else:
            self._arena = new_arena(old.limits.size)
            arena = self._arena.grow(len(old.arena))
            kernels.repack(old, arena)
            self.arrays = old._replace(arena=arena)


def new_arena(n_tiers: int) -> Room:
    """Return room for posting lists: a list's block may be twice what it holds, and as much may wait to be used."""
    return Room((), np.int32, rows=4 * max(n_tiers, 1) * MOST_ROWS)


def _columns(tiers: list[list[int]]) -> NDArray[np.int32]:
    """Return key columns by tier, padded with -1."""
    table = np.full((len(tiers), max(map(len, tiers), default=0) + 1), -1, np.int32)
    for row, columns in zip(table, tiers, strict=True):
        row[: len(columns)] = columns
    return table

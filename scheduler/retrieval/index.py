"""Retrieval: which nodes may serve a request, from an index by tier, never by a scan of the fleet."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.schema import Schema, Sets
from scheduler.retrieval.arrays import (
    ARENA_END,
    FIRST_CATEGORIES,
    FIRST_PLACES,
    FIRST_ROOM,
    FIRST_SET,
    FREE_LIST,
    KEY_WORDS,
    LISTS_END,
    NO_BLOCKLIST,
    NO_TIMES,
    ROOM_CLASSES,
    SET_SIZE,
    IndexArrays,
    NodeTimes,
    RetrievalWork,
    SetArrays,
)
from scheduler.retrieval.kernels import category_sets as set_kernels
from scheduler.retrieval.kernels import membership
from scheduler.retrieval.kernels import retrieve as kernels
from scheduler.runtime.growable_array import MOST_ROWS, GrowableArray, next_size
from scheduler.runtime.hashing import PUBLIC_MULTIPLIER
from scheduler.runtime.parts import PART
from scheduler.spec import Candidates, Tier

FIRST_LISTS = 64
"""Posting lists there is room for at first."""

FIRST_ARENA = 1024
"""Words that posting lists and sets have room for at first; a power of two times `FIRST_ROOM`."""

TOUCHED_AHEAD = 1 << 19
"""Words of the arena that are asked of the system ahead of need: a large page."""

MOST_WORDS = 1 << 32
"""Words that address space is set aside for where nodes have sets: 16 GB, for half a billion pairs of node and
category."""


class Index:
    """Posting lists of one fleet for each tier of a spec, and the sets of categories that nodes hold.

    A node costs 8 bytes a tier, 16 where there are set columns, and its share of posting lists, 4 to 16 bytes a tier
    while they are full or filling.

    Parameters
    ----------
    spec
        Tiers in order, and the bound on candidates.
    request, node
        Where the matched categories stand.
    most
        How many nodes there may be; address space is set aside for so many.
    multiplier
        Says which posting lists share a place of their table; see `scheduler.runtime.hashing.secret_multiplier`.

    Attributes
    ----------
    arrays
        What the kernels read; others after a `put` that needed more room.

    Notes
    -----
    Room is added without moving what is there, so that no call takes long.
    """

    def __init__(
        self,
        spec: Candidates,
        request: Schema,
        node: Schema,
        most: int = MOST_ROWS,
        multiplier: np.uint64 = PUBLIC_MULTIPLIER,
    ) -> None:
        self.most = most
        n_tiers, n_sets = len(spec.tiers), len(node.sets)
        rows = 4 * max(n_tiers, 1) * most if n_sets == 0 else MOST_WORDS
        self._table, self._lists = GrowableArray((), np.int32, -1), GrowableArray((5,), np.int64)
        self._arena, self._tags = (
            GrowableArray((), np.int32, rows=rows),
            GrowableArray((), np.int8, rows=rows // FIRST_ROOM),
        )
        self._held = GrowableArray((n_tiers, 2), np.int32, -1, rows=most)
        self._bases = GrowableArray((n_tiers,), np.uint64, rows=most)
        self._heads = GrowableArray((n_sets, 3), np.int32, (-1, -1, 0), rows=most)
        bounds = [spec.limit if tier.limit is None else tier.limit for tier in spec.tiers]
        arena, matched = self._arena.grow(FIRST_ARENA), [_matched(tier, node) for tier in spec.tiers]
        self.arrays = IndexArrays(
            request=_columns([[request.key_columns[left] for left, _ in pairs] for pairs in matched]),
            node=_columns([[node.key_columns[c] for _, c in pairs if c not in node.sets] for pairs in matched]),
            tier_columns=_columns([[node.blockable[c] for _, c in pairs] for pairs in matched]),
            limits=np.array(bounds, np.int32),
            limit=spec.limit,
            sets=_set_arrays(spec, node, self._heads.grow(0), self._bases.grow(0)),
            table=self._table.grow(FIRST_PLACES + FIRST_LISTS),
            lists=self._lists.grow(FIRST_LISTS),
            arena=arena,
            words=arena.view(np.int64),
            tags=self._tags.grow(FIRST_ARENA // FIRST_ROOM),
            held=self._held.grow(0),
            free=np.full(ROOM_CLASSES, -1, np.int64),
            marks=np.array([0, 0, -1, 0, FIRST_PLACES, FIRST_PLACES - 1, multiplier.view(np.int64)], np.int64),
        )
        self._work = self.new_work()

    def put(self, slots: NDArray[np.int32], keys: NDArray[np.uint64], listed: NDArray[np.bool_] | None = None) -> None:
        """Enter nodes, move them where their categories have changed, or take them out until they are listed again.

        Parameters
        ----------
        slots
            (n,) where they stand.
        keys
            (slots, n_keys) the fleet's keys, by slot.
        listed
            (slots,) whether requests may find the node; by default all may be found. The sets of others are kept.
        """
        n, arrays = len(keys), self.arrays
        if n > len(arrays.held):
            sets = arrays.sets._replace(heads=self._heads.grow(n), bases=self._bases.grow(n))
            self.arrays = arrays._replace(held=self._held.grow(n), sets=sets)
        shown = np.ones(n, np.bool_) if listed is None else listed
        self._fully(len(slots), lambda done: membership.put(self.arrays, slots, keys, shown, done))

    def replace(self, column: int, slots: NDArray[np.int32], sets: Sets) -> None:
        """Give nodes that were entered other sets of a column, (n,) distinct slots and as many sets."""
        set_kernels.retain_only(self.arrays, column, slots, sets.starts, sets.keys.view(np.int64))
        self.add(column, np.repeat(slots, np.diff(sets.starts)), sets.keys)

    def add(self, column: int, slots: NDArray[np.int32], keys: NDArray[np.uint64]) -> None:
        """Add categories to sets of a column: (n,) slots of nodes that were entered, and keys."""
        signed = keys.view(np.int64)
        self._fully(len(slots), lambda done: set_kernels.add(self.arrays, column, slots, signed, done))

    def discard(self, column: int, slots: NDArray[np.int32], keys: NDArray[np.uint64]) -> None:
        """Take categories out of sets of a column, as `add`."""
        set_kernels.discard(self.arrays, column, slots, keys.view(np.int64))

    def holds(self, column: int, slots: NDArray[np.int32], keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return which sets of a column have the categories, as `add`."""
        out = np.empty(len(slots), np.bool_)
        set_kernels.holds(self.arrays, column, slots, keys.view(np.int64), out)
        return out

    def touch(self, n: int) -> None:
        """Ask the system for the memory of ``n`` slots, and of what their posting lists will take; needs no lock."""
        for array in (self._held, self._bases, self._heads):
            array.touch(n)
        words, lists = self.arrays.marks[ARENA_END] + TOUCHED_AHEAD, self.arrays.marks[LISTS_END] + PART
        self._arena.touch(int(words))
        self._tags.touch(int(words) // FIRST_ROOM)
        self._lists.touch(int(lists))
        self._table.touch(FIRST_PLACES + int(lists))

    def entries(self, slots: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return in how many posting lists nodes stand for what their sets hold, (n,) slots; 0 for a slot below 0."""
        sets = self.arrays.sets
        entered = (slots >= 0) & (slots < len(sets.heads))
        held = (
            sets.heads[np.where(entered, slots, 0), :, SET_SIZE]
            if len(sets.heads)
            else np.zeros((len(slots), len(sets.width)), np.int32)
        )
        return np.where(entered, held @ (sets.width - KEY_WORDS + 1), 0).astype(np.int64)

    def drop(self, slots: NDArray[np.int32]) -> None:
        """Take nodes out, (n,) slots; those that never entered are left alone."""
        membership.drop(self.arrays, slots[slots < len(self.arrays.held)])

    def retrieve(
        self,
        keys: NDArray[np.uint64],
        seed: int,
        first: int,
        blocklist: NDArray[np.uint64] = NO_BLOCKLIST,
        times: NodeTimes = NO_TIMES,
    ) -> NDArray[np.int32]:
        """Return the slots of requests' candidates, tier by tier, none twice, at most the spec's limit.

        Parameters
        ----------
        keys
            (n, n_keys) the requests' keys.
        seed, first
            Fix the samples: request ``i`` becomes decision ``first`` + i.
        blocklist
            What the requests do not want; see `scheduler.retrieval.arrays.BLOCKED_COLUMN`.
        times
            How long nodes live.

        Returns
        -------
        (n, limit) int32, -1 past the end.
        """
        out = np.empty((len(keys), self.arrays.limit), np.int32)
        kernels.retrieve_batch(self.arrays, keys, blocklist, times, seed, first, self._work, out)
        return out

    def new_work(self) -> RetrievalWork:
        """Return scratch arrays for the `retrieve` kernel; each thread needs its own."""
        limit = self.arrays.limit
        # A quarter full at most, so that a look-up mostly reads one place.
        places = 1 << (4 * limit - 1).bit_length()
        return RetrievalWork(seen=np.empty(places, np.int32), drawn=np.empty(kernels.FULL_SCAN_RATIO * limit, np.int32))

    def _fully(self, n: int, go_on: Callable[[int], int]) -> None:
        """Call a kernel, told how many are done, until all ``n`` are, with more room wherever it found none."""
        done = go_on(0)
        while done < n:
            self._grow()
            done = go_on(done)

    def _grow(self) -> None:
        """Make room where a kernel found none."""
        old = self.arrays
        if old.marks[FREE_LIST] < 0 and old.marks[LISTS_END] == len(old.lists):
            n = next_size(len(old.lists))
            self.arrays = old._replace(lists=self._lists.grow(n), table=self._table.grow(FIRST_PLACES + n))
        else:
            arena, tags = self._arena.grow(2 * len(old.arena)), self._tags.grow(2 * len(old.tags))
            self.arrays = old._replace(arena=arena, words=arena.view(np.int64), tags=tags)


def _matched(tier: Tier, node: Schema) -> list[tuple[str, str]]:
    """Return a tier's columns of requests and nodes, a set column last."""
    return sorted(tier.match.items(), key=lambda pair: pair[1] in node.sets)


def _set_arrays(spec: Candidates, node: Schema, heads: NDArray[np.int32], bases: NDArray[np.uint64]) -> SetArrays:
    """Return which tiers ask for which set columns; see `SetArrays`."""
    asked = [next((node.sets[c] for c in tier.match.values() if c in node.sets), -1) for tier in spec.tiers]
    tiers = [[t for t, s in enumerate(asked) if s == of] for of in node.sets.values()]
    return SetArrays(
        column=np.array(asked, np.int32),
        tiers=_columns(tiers),
        width=np.array([KEY_WORDS + len(of) for of in tiers], np.int32),
        first_class=np.array([_first_class(KEY_WORDS + len(of)) for of in tiers], np.int32),
        heads=heads,
        bases=bases,
    )


def _first_class(width: int) -> int:
    """Return the size class of a set's first block where a category takes ``width`` words."""
    size = FIRST_SET
    while (FIRST_ROOM << size) // width < FIRST_CATEGORIES:
        size += 1
    return size


def _columns(tiers: list[list[int]]) -> NDArray[np.int32]:
    """Return key columns by tier, padded with -1."""
    table = np.full((len(tiers), max(map(len, tiers), default=0) + 1), -1, np.int32)
    for row, columns in zip(table, tiers, strict=True):
        row[: len(columns)] = columns
    return table

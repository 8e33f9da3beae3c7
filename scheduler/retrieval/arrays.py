"""How posting lists and the sets of nodes lie in memory: constants and a NamedTuple of arrays."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

FIRST_ROOM: Final = 4
"""Words of the smallest block of the arena; others are a power of two larger. A new posting list begins with one."""

ROOM_CLASSES: Final = 32
"""Sizes of blocks: class ``c`` has ``FIRST_ROOM << c`` words, far more than an int32 can name."""

NEXT_BLOCK, BLOCK_BEFORE = range(2)
"""Words of a free block: the next and the one before among the free blocks of its class, counted in `FIRST_ROOM`, -1
for none."""

(LIST_KEY, LIST_START, LIST_SIZE, LIST_CLASS, LIST_NEXT) = range(5)
"""Columns of a posting list: its key, where it starts in the arena, slots held, size class of its room, and the next
list at its place of the table, -1 for none. Of a list not in use the start is the next one not in use, -1 for none, and
the class is -1."""

(ARENA_END, LISTS_END, FREE_LIST, HALF_MOVED, PLACES, PLACE_MASK, PLACE_MULTIPLIER) = range(7)
"""Marks of an index: where the arena and the lists were never used; the first list that is free again, -1 for none;
whether there was no room while a node's sets moved to other lists; places of the table, the power of two above them
less one, and the bits of the odd number that keys are multiplied by."""

FIRST_PLACES: Final = 64
"""Places of the table at first; each new list brings one more."""

(SET_BLOCK, SET_CLASS, SET_SIZE) = range(3)
"""Head of a node's set: where its block starts, counted in `FIRST_ROOM`, the size class of that, -1 for none, and how
many categories it holds."""

FIRST_SET: Final = 2
"""Least size class of a set's first block: room for five categories that one tier asks for, where a class less has it
for two."""

FIRST_CATEGORIES: Final = 2
"""Categories that a set's first block has room for at least, however many tiers ask for them: one place of a table is
always empty, where a look-up ends."""

KEY_WORDS: Final = 2
"""Words of a category's key in a set."""


class SetArrays(NamedTuple):
    """Sets of categories of nodes, each a hash table with linear probing in a block of the arena.

    A block of n words has room for ``n // width`` categories: first their keys, `MISSING_KEY` where there is none, then
    for each the places at which the node stands in the posting lists of the column's tiers, -1 for none.

    Attributes
    ----------
    column
        (n_tiers,) int32, the set column that a tier asks for, -1 for none.
    tiers
        (n_sets, n) int32, the tiers that ask for each set column; -1 past the last.
    width
        (n_sets,) int32, words a category takes: its key and a place for each tier.
    first_class
        (n_sets,) int32, size class of a set's first block.
    heads
        (slots, n_sets, 3) int32, see `SET_BLOCK`.
    bases
        (slots, n_tiers) uint64, the key of a node's other categories in a tier, as they were when it was entered;
        `MISSING_KEY` where one is null. Mixed with a category's key it is the key of a posting list.
    """

    column: NDArray[np.int32]
    tiers: NDArray[np.int32]
    width: NDArray[np.int32]
    first_class: NDArray[np.int32]
    heads: NDArray[np.int32]
    bases: NDArray[np.uint64]


class IndexArrays(NamedTuple):
    """Posting lists: for each tier and each combination of categories the slots of the nodes that have it.

    Attributes
    ----------
    request, node
        (n_tiers, n) int32, key columns that make a tier's key, of requests and of nodes; -1 past the last. A set column
        is the request's last, and no key column of nodes.
    tier_columns
        (n_tiers, n) int32, the node's column for each of the request's, numbered as `BLOCKED_COLUMN`; -1 past the last.
    limits
        (n_tiers,) int32, candidates of each tier at most.
    limit
        Candidates of a request at most.
    sets
        What nodes hold.
    table
        (places,) int32, the first posting list of each place, -1 for none; the others follow by `LIST_NEXT`. Places are
        added one by one and take over half of another's lists: linear hashing (Litwin, VLDB 1980).
    lists
        (n_lists, 5) int64, see `LIST_KEY`; a key's bits stand in it as a signed integer.
    arena
        (room,) int32; each list has a block of it for slots, and each set one.
    words
        The same memory as int64, for the keys in sets.
    tags
        (room / FIRST_ROOM,) int8, 1 + the size class of the free block that starts there, 0 for none.
    held
        (slots, n_tiers, 2) int32, in which list a node stands and at which place of it; list -1 for none, and for tiers
        that ask for a set column.
    free
        (ROOM_CLASSES,) int64, first free block by size class, counted in `FIRST_ROOM`, -1 for none; see `NEXT_BLOCK`.
    marks
        (7,) int64, see `ARENA_END`.
    """

    request: NDArray[np.int32]
    node: NDArray[np.int32]
    tier_columns: NDArray[np.int32]
    limits: NDArray[np.int32]
    limit: int
    sets: SetArrays
    table: NDArray[np.int32]
    lists: NDArray[np.int64]
    arena: NDArray[np.int32]
    words: NDArray[np.int64]
    tags: NDArray[np.int8]
    held: NDArray[np.int32]
    free: NDArray[np.int64]
    marks: NDArray[np.int64]


BLOCKED_COLUMN, BLOCKED_KEY = range(2)
"""What a request does not want, in (n, n_blocks, 2) uint64: a key column of nodes (0 is their id) and the key in it.
The key `MISSING_KEY` is padding. Numbers past the key columns are set columns, in which one with the key is enough."""

NO_BLOCKLIST: Final = np.empty((0, 0, 2), np.uint64)
"""For requests that want any node."""


class RetrievalWork(NamedTuple):
    """Scratch arrays of one retrieval, sized by the bound on candidates, not by the fleet; overwritten by each.

    Attributes
    ----------
    seen
        (places,) int32, a hash set of the slots found; a power of two, at least four times the bound.
    drawn
        (n,) int32, the rest of a list that is read as a whole.
    """

    seen: NDArray[np.int32]
    drawn: NDArray[np.int32]


class NodeTimes(NamedTuple):
    """How long nodes may be found.

    Attributes
    ----------
    alive_until, quarantined_until
        (slots,) float64: until when a node lives, and until when it is set aside.
    now
        The time of the request in seconds.
    matter
        Whether the index may list nodes that do not live or are set aside at that time.
    """

    alive_until: NDArray[np.float64]
    quarantined_until: NDArray[np.float64]
    now: float
    matter: bool


NO_TIMES: Final = NodeTimes(np.zeros((2, 4))[:, 0], np.zeros((2, 4))[:, 0], 0.0, matter=False)
"""For an index all of whose nodes live; strided as the fleet's own, so that kernels are compiled once."""

"""Posting lists in an arena: blocks taken and given back, lists opened, lengthened, shortened and closed.

A list has a block of the arena with room for a power of two times `FIRST_ROOM` slots. When full it moves to a block of
twice the room; when three quarters are empty it gives back its upper half. Blocks are dealt by the buddy method: the
smallest free one that fits is halved until it fits best, and one given back joins the other half of what it was halved
from if that is free too (Knowlton, CACM 1965). So each change costs the same, however many nodes there are, and lists
that come and go leave no room behind that others cannot use.
"""

from __future__ import annotations

import numpy as np

from scheduler.retrieval.arrays import (
    FIRST_ROOM,
    FREE_LIST,
    LIST_CLASS,
    LIST_KEY,
    LIST_NEXT,
    LIST_SIZE,
    LIST_START,
    LISTS_END,
    PLACE_MASK,
    PLACE_MULTIPLIER,
    PLACES,
    IndexArrays,
)
from scheduler.retrieval.kernels.block_allocator import give_block, take_block
from scheduler.runtime.hashing import place_bits
from scheduler.runtime.jit import inlined, kernel


@inlined
def place_of(index: IndexArrays, key: int) -> int:
    """Return a key's place in the table."""
    at = place_bits(key, index.marks[PLACE_MULTIPLIER]) & index.marks[PLACE_MASK]
    return at if at < index.marks[PLACES] else at & (index.marks[PLACE_MASK] >> 1)


@inlined
def find_list(index: IndexArrays, key: int) -> int:
    """Return the posting list of a key, -1 for none."""
    posting = index.table[place_of(index, key)]
    while posting >= 0 and index.lists[posting, LIST_KEY] != key:
        posting = np.int32(index.lists[posting, LIST_NEXT])
    return posting


@inlined
def link(index: IndexArrays, posting: int) -> None:
    """Enter a list into the table."""
    at = place_of(index, index.lists[posting, LIST_KEY])
    index.lists[posting, LIST_NEXT] = index.table[at]
    index.table[at] = posting


@kernel
def unlink(index: IndexArrays, posting: int) -> None:
    """Take a list out of the table."""
    at = place_of(index, index.lists[posting, LIST_KEY])
    before, one = -1, np.int64(index.table[at])
    while one != posting:
        before, one = one, index.lists[one, LIST_NEXT]
    if before < 0:
        index.table[at] = index.lists[posting, LIST_NEXT]
    else:
        index.lists[before, LIST_NEXT] = index.lists[posting, LIST_NEXT]


@kernel
def add_place(index: IndexArrays) -> None:
    """Add a place to the table; it takes over its lists from the one that had them until now."""
    new = index.marks[PLACES]
    if new > index.marks[PLACE_MASK]:
        index.marks[PLACE_MASK] = 2 * index.marks[PLACE_MASK] + 1
    old = new & (index.marks[PLACE_MASK] >> 1)
    posting = np.int64(index.table[old])
    index.table[old] = index.table[new] = -1
    index.marks[PLACES] = new + 1
    while posting >= 0:
        following = index.lists[posting, LIST_NEXT]
        link(index, posting)
        posting = following


@kernel
def open_list(index: IndexArrays, key: int) -> int:
    """Begin an empty list of a key that has none and return it, -1 where there is no room."""
    free = index.marks[FREE_LIST]
    if free < 0 and index.marks[LISTS_END] == index.lists.shape[0]:
        return -1
    start = take_block(index, 0)
    if start < 0:
        return -1
    if free >= 0:
        index.marks[FREE_LIST] = index.lists[free, LIST_START]
    else:
        free = index.marks[LISTS_END]
        index.marks[LISTS_END] = free + 1
        add_place(index)
    index.lists[free, LIST_KEY] = key
    index.lists[free, LIST_START] = start
    index.lists[free, LIST_SIZE] = 0
    index.lists[free, LIST_CLASS] = 0
    link(index, free)
    return free


@kernel
def close_list(index: IndexArrays, posting: int) -> None:
    """Forget an empty list."""
    unlink(index, posting)
    give_block(index, index.lists[posting, LIST_START], index.lists[posting, LIST_CLASS])
    index.lists[posting, LIST_START] = index.marks[FREE_LIST]
    index.lists[posting, LIST_CLASS] = -1
    index.marks[FREE_LIST] = posting


@kernel
def enlarge(index: IndexArrays, posting: int) -> bool:
    """Move a full list to a block of twice its room; False, and nothing changed, where the arena has none."""
    size, start = index.lists[posting, LIST_CLASS], index.lists[posting, LIST_START]
    to = take_block(index, size + 1)
    if to < 0:
        return False
    for c in range(index.lists[posting, LIST_SIZE]):
        index.arena[to + c] = index.arena[start + c]
    give_block(index, start, size)
    index.lists[posting, LIST_START] = to
    index.lists[posting, LIST_CLASS] = size + 1
    return True


@inlined
def append(index: IndexArrays, key: int, slot: int) -> int:
    """Enter a slot at the end of a key's list and return the list; -1, and nothing changed, where there is no room."""
    posting = find_list(index, key)
    if posting < 0:
        posting = open_list(index, key)
        if posting < 0:
            return -1
    n = index.lists[posting, LIST_SIZE]
    if n == FIRST_ROOM << index.lists[posting, LIST_CLASS] and not enlarge(index, posting):
        return -1
    index.arena[index.lists[posting, LIST_START] + n] = slot
    index.lists[posting, LIST_SIZE] = n + 1
    return posting


@inlined
def take_out(index: IndexArrays, posting: int, place: int) -> int:
    """Take the slot at a place out of a list: the last one takes its place, and is returned."""
    n = index.lists[posting, LIST_SIZE] - 1
    start, size = index.lists[posting, LIST_START], index.lists[posting, LIST_CLASS]
    last = index.arena[start + n]
    index.arena[start + place] = last
    index.lists[posting, LIST_SIZE] = n
    if n == 0:
        close_list(index, posting)
    elif size > 0 and 4 * n <= FIRST_ROOM << size:
        index.lists[posting, LIST_CLASS] = size - 1
        give_block(index, start + (FIRST_ROOM << (size - 1)), size - 1)
    return last

"""Sets of categories of nodes, such as the contents they hold: add, discard, and keep posting lists of holders.

A set is a hash table of its own, with linear probing, that doubles when three quarters full and halves when a sixth is
left. With each category stand the places at which its node is in posting lists; where one moves to another place, its
node's table is told. So a change costs the same whatever the sizes of fleet, sets and lists.
"""

from __future__ import annotations

import numpy as np

from scheduler.columns.arrays import MISSING_KEY
from scheduler.retrieval.arrays import (
    FIRST_ROOM,
    HALF_MOVED,
    KEY_WORDS,
    LIST_SIZE,
    SET_BLOCK,
    SET_CLASS,
    SET_SIZE,
    IndexArrays,
)
from scheduler.retrieval.kernels.block_allocator import give_block, take_block
from scheduler.retrieval.kernels.posting_lists import append, find_list, place_of, take_out
from scheduler.runtime.hashing import mix
from scheduler.runtime.jit import inlined, kernel
from scheduler.runtime.prefetch import prefetch

AHEAD = 8
"""Categories by which each step of a look-up is asked for before the next."""


@inlined
def member_key(base: int, key: int) -> int:
    """Return the key of the posting list of a category among nodes of the same other categories."""
    mixed = mix(np.uint64(base), np.uint64(key))
    return np.int64(mixed) if mixed != np.uint64(MISSING_KEY) else np.int64(1)


@inlined
def capacity_of(index: IndexArrays, s: int, size: int) -> int:
    """Return how many categories a block of a size class has room for."""
    return np.int64(FIRST_ROOM << size) // np.int64(index.sets.width[s])


@inlined
def first_slot(key: int, capacity: int) -> int:
    """Return the place at which the search for a category begins."""
    return np.int64(((np.uint64(key) >> np.uint64(32)) * np.uint64(capacity)) >> np.uint64(32))


@inlined
def first_word(index: IndexArrays, slot: int, s: int) -> int:
    """Return where the block of a node's set starts, in words of the arena."""
    return np.int64(index.sets.heads[slot, s, SET_BLOCK]) * FIRST_ROOM


@inlined
def key_word(index: IndexArrays, slot: int, s: int, at: int) -> int:
    """Return the word of `IndexArrays.words` that has the category at a place of a node's table."""
    return first_word(index, slot, s) // KEY_WORDS + at


@inlined
def list_key(index: IndexArrays, slot: int, s: int, j: int, key: int) -> int:
    """Return the key of the list of the set's tier ``j`` where a node stands for a category."""
    return member_key(index.sets.bases[slot, index.sets.tiers[s, j]], key)


@inlined
def probe(index: IndexArrays, slot: int, s: int, key: int) -> int:
    """Return the place of a category in a node's table, or the empty place where it would stand."""
    first = first_word(index, slot, s) // KEY_WORDS
    capacity = capacity_of(index, s, index.sets.heads[slot, s, SET_CLASS])
    at = first_slot(key, capacity)
    while index.words[first + at] != key and index.words[first + at] != MISSING_KEY:
        at = at + 1 if at + 1 < capacity else 0
    return at


@inlined
def place_word(index: IndexArrays, slot: int, s: int, at: int, j: int) -> int:
    """Return the word of the arena that says where the list of the set's tier ``j`` has the node."""
    capacity = capacity_of(index, s, index.sets.heads[slot, s, SET_CLASS])
    return first_word(index, slot, s) + KEY_WORDS * capacity + at * (index.sets.width[s] - KEY_WORDS) + j


@inlined
def is_held(index: IndexArrays, slot: int, s: int, key: int) -> bool:
    """Whether a node's set has a category."""
    if index.sets.heads[slot, s, SET_SIZE] == 0:
        return False
    return index.words[key_word(index, slot, s, probe(index, slot, s, key))] == key


@kernel
def resize(index: IndexArrays, slot: int, s: int, size: int) -> bool:
    """Move a node's set to a block of another size class; False, and nothing changed, where the arena has none."""
    to = take_block(index, size)
    if to < 0:
        return False
    old, old_size, n_places = first_word(index, slot, s), index.sets.heads[slot, s, SET_CLASS], index.sets.width[s]
    n_places -= KEY_WORDS
    index.sets.heads[slot, s, SET_BLOCK] = to // FIRST_ROOM
    index.sets.heads[slot, s, SET_CLASS] = size
    for e in range(capacity_of(index, s, size)):
        index.words[to // KEY_WORDS + e] = MISSING_KEY
    if old_size < 0:
        return True
    capacity = capacity_of(index, s, old_size)
    for e in range(capacity):
        key = index.words[old // KEY_WORDS + e]
        if key != MISSING_KEY:
            at = probe(index, slot, s, key)
            index.words[to // KEY_WORDS + at] = key
            for j in range(n_places):
                place = index.arena[old + KEY_WORDS * capacity + e * n_places + j]
                index.arena[place_word(index, slot, s, at, j)] = place
    give_block(index, old, old_size)
    return True


@kernel
def add_to_lists(index: IndexArrays, slot: int, s: int, at: int) -> bool:
    """Enter a node into the lists of one of its categories where it is in none yet; False where there is no room."""
    key = index.words[key_word(index, slot, s, at)]
    for j in range(index.sets.width[s] - KEY_WORDS):
        word, base = place_word(index, slot, s, at, j), index.sets.bases[slot, index.sets.tiers[s, j]]
        if index.arena[word] < 0 and base != np.uint64(MISSING_KEY):
            posting = append(index, member_key(base, key), slot)
            if posting < 0:
                return False
            index.arena[word] = index.lists[posting, LIST_SIZE] - 1
    return True


@kernel
def remove_from_lists(index: IndexArrays, slot: int, s: int, at: int, j: int) -> None:
    """Take a node out of the list of one of its categories in the set's tier ``j``, if it is in any."""
    word = place_word(index, slot, s, at, j)
    place = index.arena[word]
    if place < 0:
        return
    key = index.words[key_word(index, slot, s, at)]
    last = take_out(index, find_list(index, list_key(index, slot, s, j, key)), place)
    index.arena[place_word(index, last, s, probe(index, last, s, key), j)] = place
    index.arena[word] = -1


@inlined
def insert(index: IndexArrays, slot: int, s: int, key: int) -> int:
    """Return the place of a category in a node's table, which takes it in; -1 where there is no room."""
    sets = index.sets
    if sets.heads[slot, s, SET_CLASS] < 0 and not resize(index, slot, s, sets.first_class[s]):
        return -1
    at = probe(index, slot, s, key)
    if index.words[key_word(index, slot, s, at)] == key:
        return at
    n, size = sets.heads[slot, s, SET_SIZE] + 1, sets.heads[slot, s, SET_CLASS]
    if 4 * n > 3 * capacity_of(index, s, size):
        if not resize(index, slot, s, size + 1):
            return -1
        at = probe(index, slot, s, key)
    index.words[key_word(index, slot, s, at)] = key
    for j in range(sets.width[s] - KEY_WORDS):
        index.arena[place_word(index, slot, s, at, j)] = -1
    sets.heads[slot, s, SET_SIZE] = n
    return at


@kernel
def erase(index: IndexArrays, slot: int, s: int, at: int) -> None:
    """Empty a place of a node's table; those after it that would no longer be found move back."""
    first = first_word(index, slot, s) // KEY_WORDS
    capacity = capacity_of(index, s, index.sets.heads[slot, s, SET_CLASS])
    hole, e = at, at
    while True:
        e = e + 1 if e + 1 < capacity else 0
        key = index.words[first + e]
        if key == MISSING_KEY:
            break
        start = first_slot(key, capacity)
        if (e - start if e >= start else e - start + capacity) >= (e - hole if e >= hole else e - hole + capacity):
            index.words[first + hole] = key
            for j in range(index.sets.width[s] - KEY_WORDS):
                index.arena[place_word(index, slot, s, hole, j)] = index.arena[place_word(index, slot, s, e, j)]
            hole = e
    index.words[first + hole] = MISSING_KEY
    index.sets.heads[slot, s, SET_SIZE] -= 1


@kernel
def remove_at(index: IndexArrays, slot: int, s: int, at: int) -> None:
    """Take the category at a place out of a node's set and the node out of its lists."""
    for j in range(index.sets.width[s] - KEY_WORDS):
        remove_from_lists(index, slot, s, at, j)
    erase(index, slot, s, at)


@kernel
def shrink(index: IndexArrays, slot: int, s: int) -> None:
    """Give back what a node's set no longer needs of its block; it keeps it where the arena has no smaller one."""
    sets = index.sets
    n, size = sets.heads[slot, s, SET_SIZE], sets.heads[slot, s, SET_CLASS]
    if n == 0 and size >= 0:
        give_block(index, first_word(index, slot, s), size)
        sets.heads[slot, s, SET_CLASS] = -1
        return
    while size > sets.first_class[s] and 6 * n < capacity_of(index, s, size) and resize(index, slot, s, size - 1):
        size -= 1


@inlined
def ask_ahead(index: IndexArrays, s: int, slots: np.ndarray, keys: np.ndarray, i: int) -> None:
    """Ask for what the next changes will read: the heads of sets, then where the search begins, then posting lists."""
    if i + 3 * AHEAD < slots.size:
        prefetch(index.sets.heads, slots[i + 3 * AHEAD])
        prefetch(index.sets.bases, slots[i + 3 * AHEAD])
    if i + 2 * AHEAD < slots.size:
        slot, key = slots[i + 2 * AHEAD], keys[i + 2 * AHEAD]
        size = index.sets.heads[slot, s, SET_CLASS]
        if size >= 0:
            prefetch(index.words, key_word(index, slot, s, first_slot(key, capacity_of(index, s, size))))
        for j in range(index.sets.width[s] - KEY_WORDS):
            prefetch(index.table, place_of(index, list_key(index, slot, s, j, key)))
    if i + AHEAD < slots.size:
        slot, key = slots[i + AHEAD], keys[i + AHEAD]
        for j in range(index.sets.width[s] - KEY_WORDS):
            posting = index.table[place_of(index, list_key(index, slot, s, j, key))]
            if posting >= 0:
                prefetch(index.lists, posting)


@kernel
def add(index: IndexArrays, s: int, slots: np.ndarray, keys: np.ndarray, first: int) -> int:
    """Add categories to sets; those held already are left alone.

    Parameters
    ----------
    s
        The set column's number.
    slots, keys
        (n,) int32 and int64, a node and a category it holds from now on; those before ``first`` are done already.

    Returns
    -------
    How many are done: n, or fewer where lists or arena have no room left. Call again from there with more room.
    """
    for i in range(first, slots.size):
        ask_ahead(index, s, slots, keys, i)
        at = insert(index, slots[i], s, keys[i])
        if at < 0 or not add_to_lists(index, slots[i], s, at):
            return i
    return slots.size


@kernel
def discard(index: IndexArrays, s: int, slots: np.ndarray, keys: np.ndarray) -> None:
    """Take categories out of sets, (n,) int32 and int64; those not held are left alone."""
    for i in range(slots.size):
        ask_ahead(index, s, slots, keys, i)
        if is_held(index, slots[i], s, keys[i]):
            remove_at(index, slots[i], s, probe(index, slots[i], s, keys[i]))
            shrink(index, slots[i], s)


@kernel
def retain_only(index: IndexArrays, s: int, slots: np.ndarray, starts: np.ndarray, keys: np.ndarray) -> None:
    """Take all but some categories out of sets.

    Parameters
    ----------
    slots
        (n,) int32, the nodes.
    starts, keys
        (n + 1,) int64, where each node's categories start, and (n_categories,) int64, sorted for each node.
    """
    for i in range(slots.size):
        slot, kept = slots[i], keys[starts[i] : starts[i + 1]]
        at = 0
        while index.sets.heads[slot, s, SET_SIZE] > 0 and at < capacity_of(
            index, s, index.sets.heads[slot, s, SET_CLASS]
        ):
            key = index.words[key_word(index, slot, s, at)]
            found = np.searchsorted(kept, key)
            if key == MISSING_KEY or (found < kept.size and kept[found] == key):
                at += 1
            else:
                remove_at(index, slot, s, at)  # which may bring another here
        shrink(index, slot, s)


@kernel
def drop_sets(index: IndexArrays, slot: int) -> None:
    """Empty a node's sets."""
    for s in range(index.sets.width.size):
        for at in range(capacity_of(index, s, max(index.sets.heads[slot, s, SET_CLASS], 0))):
            if index.sets.heads[slot, s, SET_SIZE] > 0:
                for j in range(index.sets.width[s] - KEY_WORDS):
                    if index.words[key_word(index, slot, s, at)] != MISSING_KEY:
                        remove_from_lists(index, slot, s, at, j)
        index.sets.heads[slot, s, SET_SIZE] = 0
        shrink(index, slot, s)
    for t in range(index.sets.bases.shape[1]):
        if index.sets.column[t] >= 0:
            index.sets.bases[slot, t] = MISSING_KEY


@kernel
def put_set(index: IndexArrays, t: int, slot: int, base: int) -> bool:
    """Move what a node holds to other lists of tier ``t`` where its other categories have changed.

    False where there is no room: then ``HALF_MOVED`` names the tier, and the next call goes on.
    """
    sets, s = index.sets, index.sets.column[t]
    if sets.bases[slot, t] == np.uint64(base) and index.marks[HALF_MOVED] != t + 1:
        return True
    capacity = capacity_of(index, s, sets.heads[slot, s, SET_CLASS]) if sets.heads[slot, s, SET_SIZE] > 0 else 0
    first = first_word(index, slot, s) // KEY_WORDS
    if sets.bases[slot, t] != np.uint64(base):
        j = 0
        while sets.tiers[s, j] != t:
            j += 1
        for at in range(capacity):
            if index.words[first + at] != MISSING_KEY:
                remove_from_lists(index, slot, s, at, j)
        sets.bases[slot, t] = np.uint64(base)
    for at in range(capacity):
        if index.words[first + at] != MISSING_KEY and not add_to_lists(index, slot, s, at):
            index.marks[HALF_MOVED] = t + 1
            return False
    index.marks[HALF_MOVED] = 0
    return True


@kernel
def holds(index: IndexArrays, s: int, slots: np.ndarray, keys: np.ndarray, out: np.ndarray) -> None:
    """Write whether nodes hold categories, (n,) int32, int64 and bool."""
    for i in range(slots.size):
        out[i] = is_held(index, slots[i], s, keys[i])

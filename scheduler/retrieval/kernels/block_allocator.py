"""Blocks of the index's memory, in sizes that are powers of two."""

from __future__ import annotations

from scheduler.retrieval.arrays import ARENA_END, BLOCK_BEFORE, FIRST_ROOM, NEXT_BLOCK, ROOM_CLASSES, IndexArrays
from scheduler.runtime.jit import inlined, kernel


@inlined
def push_block(index: IndexArrays, block: int, size: int) -> None:
    """Enter a block into the free ones of its class."""
    after = index.free[size]
    index.arena[block * FIRST_ROOM + NEXT_BLOCK] = after
    index.arena[block * FIRST_ROOM + BLOCK_BEFORE] = -1
    if after >= 0:
        index.arena[after * FIRST_ROOM + BLOCK_BEFORE] = block
    index.free[size] = block
    index.tags[block] = 1 + size


@inlined
def pull_block(index: IndexArrays, block: int, size: int) -> None:
    """Take a block out of the free ones of its class."""
    after = index.arena[block * FIRST_ROOM + NEXT_BLOCK]
    before = index.arena[block * FIRST_ROOM + BLOCK_BEFORE]
    if before >= 0:
        index.arena[before * FIRST_ROOM + NEXT_BLOCK] = after
    else:
        index.free[size] = after
    if after >= 0:
        index.arena[after * FIRST_ROOM + BLOCK_BEFORE] = before
    index.tags[block] = 0


@kernel
def give_block(index: IndexArrays, start: int, size: int) -> None:
    """Give back a block of a size class; it joins its free buddies."""
    block = start // FIRST_ROOM
    while size < ROOM_CLASSES - 1:
        buddy = block ^ (1 << size)
        if buddy >= index.tags.size or index.tags[buddy] != 1 + size:
            break
        pull_block(index, buddy, size)
        block = min(block, buddy)
        size += 1
    push_block(index, block, size)


@kernel
def take_block(index: IndexArrays, size: int) -> int:
    """Return the start of a block of a size class, -1 where the arena has none left."""
    found = size
    while found < ROOM_CLASSES and index.free[found] < 0:
        found += 1
    if found == ROOM_CLASSES:
        return lengthen(index, size)
    block = index.free[found]
    pull_block(index, block, found)
    while found > size:
        found -= 1
        push_block(index, block + (1 << found), found)
    return block * FIRST_ROOM


@kernel
def lengthen(index: IndexArrays, size: int) -> int:
    """Return the start of a block past all that was ever used; what is left out to align it is free."""
    end = index.marks[ARENA_END] // FIRST_ROOM
    block = -(-end >> size) << size
    if (block + (1 << size)) * FIRST_ROOM > index.arena.size:
        return -1
    index.marks[ARENA_END] = (block + (1 << size)) * FIRST_ROOM
    while end < block:
        part = 0
        while end & (1 << part) == 0:
            part += 1
        give_block(index, end * FIRST_ROOM, part)
        end += 1 << part
    return block * FIRST_ROOM

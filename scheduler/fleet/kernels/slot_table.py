"""The table of slots by key: enter nodes, take them out, and go through those of one key."""

from __future__ import annotations

import numpy as np

from scheduler.fleet.arrays import PLACE_MASK, PLACE_MULTIPLIER, PLACES, SlotTable
from scheduler.runtime.hashing import place_bits
from scheduler.runtime.jit import inlined, kernel
from scheduler.runtime.prefetch import AHEAD, prefetch


@inlined
def place_of(table: SlotTable, key: int) -> int:
    """Return a key's place."""
    at = place_bits(key, table.marks[PLACE_MULTIPLIER]) & table.marks[PLACE_MASK]
    return at if at < table.marks[PLACES] else at & (table.marks[PLACE_MASK] >> 1)


@inlined
def first_slot(table: SlotTable, keys: np.ndarray, key: int) -> int:
    """Return the slot of a node with a key, -1 where there is none; ``keys`` are the fleet's."""
    slot = table.first[place_of(table, key)]
    while slot >= 0 and keys[slot, 0] != key:
        slot = table.after[slot]
    return slot


@inlined
def next_slot(table: SlotTable, keys: np.ndarray, slot: int) -> int:
    """Return another slot with the key of ``slot``, -1 after the last: two ids may have one key."""
    key = keys[slot, 0]
    slot = table.after[slot]
    while slot >= 0 and keys[slot, 0] != key:
        slot = table.after[slot]
    return slot


@inlined
def holds(table: SlotTable, keys: np.ndarray, slot: int) -> bool:
    """Return whether a slot was entered under its key."""
    found = table.first[place_of(table, keys[slot, 0])]
    while found >= 0 and found != slot:
        found = table.after[found]
    return found == slot


@inlined
def link(table: SlotTable, keys: np.ndarray, slot: int) -> None:
    """Enter a slot at its place."""
    at = place_of(table, keys[slot, 0])
    table.after[slot] = table.first[at]
    table.first[at] = slot


@inlined
def add_place(table: SlotTable, keys: np.ndarray) -> None:
    """Add a place; it takes over its nodes from the one that had them until now."""
    new = table.marks[PLACES]
    if new > table.marks[PLACE_MASK]:
        table.marks[PLACE_MASK] = 2 * table.marks[PLACE_MASK] + 1
    old = new & (table.marks[PLACE_MASK] >> 1)
    slot = table.first[old]
    table.first[old] = table.first[new] = -1
    table.marks[PLACES] = new + 1
    while slot >= 0:
        following = table.after[slot]
        link(table, keys, slot)
        slot = following


@kernel
def enter(table: SlotTable, keys: np.ndarray, slots: np.ndarray) -> None:
    """Enter nodes, (n,) int32 slots; each brings a place with it while the table has room for one.

    Nodes that were entered already are left alone.
    """
    for i in range(slots.size):
        if i + AHEAD < slots.size:
            prefetch(table.first, place_of(table, keys[slots[i + AHEAD], 0]))
        if holds(table, keys, slots[i]):
            continue
        link(table, keys, slots[i])
        if table.marks[PLACES] < table.first.size:
            add_place(table, keys)


@kernel
def leave(table: SlotTable, keys: np.ndarray, slots: np.ndarray) -> None:
    """Take nodes out, (n,) int32 slots that still have their keys; those that were not entered are left alone."""
    for i in range(slots.size):
        if i + AHEAD < slots.size:
            prefetch(table.first, place_of(table, keys[slots[i + AHEAD], 0]))
        at = place_of(table, keys[slots[i], 0])
        before, slot = -1, table.first[at]
        while slot >= 0 and slot != slots[i]:
            before, slot = slot, table.after[slot]
        if slot < 0:
            continue
        if before < 0:
            table.first[at] = table.after[slot]
        else:
            table.after[before] = table.after[slot]

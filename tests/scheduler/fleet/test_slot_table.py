"""The table of slots by key against a dict."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from scheduler.fleet.arrays import FIRST_PLACES, PLACES, SlotTable
from scheduler.fleet.kernels.slot_table import enter, first_slot, leave, next_slot
from scheduler.runtime.hashing import PUBLIC_MULTIPLIER
from scheduler.runtime.jit import kernel

ROOM = 400


@kernel
def slots_of(table, keys, key, out):
    n, slot = 0, first_slot(table, keys, key)
    while slot >= 0:
        out[n] = slot
        n += 1
        slot = next_slot(table, keys, slot)
    return n


def new():
    marks = np.array([FIRST_PLACES, FIRST_PLACES - 1, PUBLIC_MULTIPLIER.view(np.int64)], np.int64)
    return SlotTable(np.full(FIRST_PLACES + ROOM, -1, np.int32), np.full(ROOM, -1, np.int32), marks)


def found(table, keys, key):
    out = np.empty(ROOM, np.int32)
    return sorted(out[: slots_of(table, keys, np.uint64(key), out)].tolist())


some_keys = st.integers(1, 40) | st.sampled_from([2**63, 2**64 - 1, 64, 128, 192, 256])
calls = st.lists(st.tuples(st.booleans(), st.lists(st.tuples(st.integers(0, ROOM - 1), some_keys), max_size=60)))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(calls)
def test_it_finds_the_slots_of_a_key_whatever_came_and_went(changes):
    table, keys, held = new(), np.zeros((ROOM, 2), np.uint64), {}
    for comes, batch in changes:
        if comes:
            fresh = {slot: key for slot, key in batch if slot not in held}
            for slot, key in fresh.items():
                keys[slot, 0] = key
            enter(table, keys, np.array(list(fresh), np.int32))
            held |= fresh
        else:
            gone = sorted({slot for slot, _ in batch if slot in held})
            leave(table, keys, np.array(gone, np.int32))
            for slot in gone:
                del held[slot]
        for key in {*held.values(), 1, 2**64 - 1}:
            assert found(table, keys, key) == sorted(slot for slot, k in held.items() if k == key)


def test_it_grows_by_one_place_with_each_node():
    """And chains stay short: no call makes all of it anew."""
    table, keys = new(), np.zeros((ROOM, 1), np.uint64)
    keys[:, 0] = np.random.default_rng(0).integers(1, 2**63, ROOM)
    for slot in range(ROOM):
        enter(table, keys, np.array([slot], np.int32))
        assert table.marks[PLACES] == FIRST_PLACES + slot + 1
    assert max(chain_length(table, first) for first in table.first.tolist()) <= 8


def chain_length(table, slot):
    length = 0
    while slot >= 0:
        length, slot = length + 1, int(table.after[slot])
    return length

"""Arrays that grow without moving, and what happens where they have to."""

import mmap

import numpy as np
import pytest

from scheduler.columns.id_table import FIRST_SLOTS, IdTable
from scheduler.columns.schema import Schema
from scheduler.runtime import growable_array
from scheduler.runtime.growable_array import LARGE_PAGE, LIMITED_SHARE, STEP, GrowableArray, next_size
from tests import models


def address(array):
    return array.__array_interface__["data"][0]


def test_rows_stay_where_they_are():
    rows = GrowableArray((3,), np.float64)
    first = rows.grow(10)
    first[:] = 7
    later = rows.grow(1_000_000)
    assert address(first) == address(later)
    assert (later[:10] == 7).all()
    assert not later[10:].any()
    first[0, 0] = 5
    assert later[0, 0] == 5


def test_new_rows_hold_what_they_are_filled_with():
    rows = GrowableArray((2,), np.float64, (np.nan, 4.0))
    rows.grow(2)[:] = 1
    np.testing.assert_array_equal(rows.grow(4), [[1, 1], [1, 1], [np.nan, 4], [np.nan, 4]])


def test_more_rows_than_were_set_aside_for_move_and_keep_what_they_hold():
    rows = GrowableArray((), np.int32, -1, rows=4)
    old = rows.grow(4)
    old[:] = [1, 2, 3, 4]
    assert rows.grow(9).tolist() == [1, 2, 3, 4, -1, -1, -1, -1, -1]
    assert old.tolist() == [1, 2, 3, 4]  # whoever still reads them


@pytest.mark.parametrize("width", [(0,), (), (2, 3)])
def test_any_shape_of_row(width):
    assert GrowableArray(width, np.uint64).grow(5).shape == (5, *width)


def test_where_address_space_is_short_less_is_set_aside(monkeypatch):
    real = mmap.mmap

    def short(handle, size, **options):
        if size > 3_000_000:
            raise OSError(12, "Cannot allocate memory")
        return real(handle, size, **options)

    monkeypatch.setattr(growable_array.mmap, "mmap", short)
    rows = GrowableArray((), np.float64)
    rows.grow(100_000)[:] = 3
    with pytest.raises(MemoryError):
        rows.grow(400_000)
    assert rows.grow(100_000).tolist() == [3] * 100_000


def test_where_address_space_is_limited_an_array_leaves_most_of_it_to_others(monkeypatch):
    asked, real = [], mmap.mmap
    monkeypatch.setattr(growable_array.mmap, "mmap", lambda h, size, **o: asked.append(size) or real(h, size, **o))
    monkeypatch.setattr(growable_array.resource, "getrlimit", lambda _: (8 << 30, 8 << 30))
    rows = GrowableArray((150,), np.float64)
    assert max(asked) <= (8 << 30) // LIMITED_SHARE + LARGE_PAGE
    rows.grow(10)[:] = 7
    later = rows.grow(1_000_000)  # more than was set aside for: it moves
    assert later.shape == (1_000_000, 150)
    assert (later[:10] == 7).all()


def test_growth_goes_in_steps():
    sizes = [FIRST_SLOTS]
    while sizes[-1] < 10 * STEP:
        sizes.append(next_size(sizes[-1]))
    assert max(np.diff(sizes)) == STEP
    assert len(sizes) < 20


def test_a_table_of_many_rows_has_not_moved():
    table = IdTable(Schema(models.spec().node), "node ids")
    first = table.columns
    table.upsert(range(3 * STEP), {})
    assert address(first.values) == address(table.columns.values)
    assert address(first.keys) == address(table.columns.keys)
    assert table.ids_at(table.slots([0, STEP, 3 * STEP - 1])).tolist() == [0, STEP, 3 * STEP - 1]


@pytest.mark.parametrize(("width", "dtype"), [((), np.int8), ((3,), np.float64), ((0,), np.int32), ((7,), np.int32)])
def test_memory_touched_ahead_is_the_same_memory_and_unchanged(width, dtype):
    array = GrowableArray(width, dtype, rows=10_000)
    array.grow(100)[:] = 1
    for n in (50, 200, 5_000, 20_000):
        array.touch(n)
    assert (array.used == 1).all()
    assert (array.grow(9_000)[100:] == 0).all()
    array.grow(30_000)  # moves
    array.touch(40_000)
    assert (array.used[:100] == 1).all()

"""Rows under ids: added, changed, removed, and untouched by wrong input."""

import copy
import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from scheduler import InputError, UnknownNodeError
from scheduler.columns.arrays import MISSING_KEY
from scheduler.columns.id_table import FIRST_SLOTS, IdTable
from scheduler.columns.ids import id_key
from scheduler.columns.schema import Schema
from tests import models

SCHEMA = Schema(models.spec().node)


def new():
    return IdTable(SCHEMA, "node ids")


def all_ids(table):
    return table.ids_at(np.arange(len(table.columns.keys)))


def state(table):
    return copy.deepcopy(
        (table.columns, all_ids(table), dict.fromkeys(table), [table.slot(i) for i in table], len(table))
    )


def same(a, b):
    return all(np.array_equal(x, y, equal_nan=True) for x, y in zip(a[0], b[0], strict=True)) and (
        a[1].tolist(),
        *a[2:],
    ) == (b[1].tolist(), *b[2:])


def test_columns_are_read_back_where_slots_say():
    table = new()
    table.upsert([3, "3", -1], {"isp": [7, "x", None], "load": [0.5, None, 1]})
    slots = table.slots([3, "3", -1])
    assert table.slots([[3, -1], ["3", 3]]).tolist() == [[slots[0], slots[2]], [slots[1], slots[0]]]
    np.testing.assert_array_equal(table.columns.values[slots, SCHEMA.offsets["load"]], [0.5, math.nan, 1])
    assert table.columns.keys[slots].tolist() == [
        [id_key(3), id_key(7)],
        [id_key("3"), id_key("x")],
        [id_key(-1), MISSING_KEY],
    ]
    assert table.ids_at(slots).tolist() == [3, "3", -1]
    assert [table.id_at(slot) for slot in slots] == [3, "3", -1]


def test_columns_not_named_stay_as_they_are():
    table = new()
    table.upsert([1, 2], {"load": [0.25, 0.5], "isp": [7, 8]})
    table.upsert([2, 3], {"isp": ["mobile", 7]})
    slots = table.slots([1, 2, 3])
    np.testing.assert_array_equal(table.columns.values[slots, SCHEMA.offsets["load"]], [0.25, 0.5, math.nan])
    keys = table.columns.keys[slots, SCHEMA.key_columns["isp"]]
    assert keys.tolist() == [id_key(7), id_key("mobile"), id_key(7)]


def test_an_array_and_a_list_of_numpy_integers_are_the_same_ids():
    table = new()
    table.upsert(np.arange(3), {})
    table.upsert(list(np.arange(3)), {})
    assert list(table) == [0, 1, 2]
    assert [type(i) for i in table] == [int] * 3
    assert table.slots(list(np.arange(3))).tolist() == table.slots(np.arange(3)).tolist()


def test_it_grows_and_keeps_what_it_holds():
    table = new()
    n = 5 * FIRST_SLOTS
    table.upsert(range(n), {"load": np.arange(n) / n})
    slots = table.slots(np.arange(n))
    assert sorted(slots.tolist()) == list(range(n))
    np.testing.assert_array_equal(table.columns.values[slots, SCHEMA.offsets["load"]], np.arange(n) / n)


def test_a_removed_row_leaves_nothing_behind_for_the_next_in_its_slot():
    table = new()
    table.upsert(["a"], {"isp": [7], "load": [1]})
    (slot,) = table.slots(["a"])
    table.remove(["a"])
    assert "a" not in table
    assert len(table) == 0
    table.upsert(["b"], {})
    assert table.slots(["b"]).tolist() == [slot]
    assert np.isnan(table.columns.values[slot]).all()
    assert table.columns.keys[slot].tolist() == [id_key("b"), MISSING_KEY]


WRONG = {
    "twice": ([1, 2, 1], {}, "expected distinct ids, found 1 twice"),
    "missing id": ([4, None], {}, "row 1, id None: .* found a missing one"),
    "nan id": ([math.nan], {}, "row 0, id nan: .* found a missing one"),
    "float id": ([1.5], {}, "found 1.5"),
    "true id": ([True], {}, "found True"),
    "list id": ([[1]], {}, r"found \[1\]"),
    "text of ids": ("ab", {}, "expected a list"),
    "no list": (5, {}, "expected a list"),
    "no ids": (None, {}, "expected a list"),
    "unknown column": ([1, 9], {"asn": [1, 2]}, "found 'asn'"),
    "short column": ([1, 9], {"load": [1]}, "expected 2 values, found 1"),
    "long column": ([9], {"load": [1, 1]}, "expected 1 values, found 2"),
    "text": ([1, 9], {"isp": [1, 2], "load": ["a", "b"]}, "expected a number, found 'a' .str."),
    "infinite": ([1, 9], {"load": [0.5, math.inf]}, "found inf"),
    "out of range": ([1, 9], {"load": [0.5, 1.5]}, "found 1.5"),
    "last column wrong": ([1, 9], {"load": [0, 0], "isp": [7, 7], "uplink": [1, -1]}, "'uplink'"),
}


@pytest.mark.parametrize(("ids", "columns", "message"), WRONG.values(), ids=WRONG)
def test_wrong_input_changes_nothing(ids, columns, message):
    table = new()
    table.upsert([1, 2], {"load": [0.25, 0.5]})
    before = state(table)
    with pytest.raises(InputError, match=message):
        table.upsert(ids, columns)
    assert same(before, state(table))


@pytest.mark.parametrize("ids", [[1, 3], [3], [1, "2"], np.array([1, 3]), np.array(["1"]), [2, (1,)], [2, 2]])
def test_removing_what_is_not_held_changes_nothing(ids):
    table = new()
    table.upsert([1, 2], {"load": [0.25, 0.5]})
    before = state(table)
    with pytest.raises(InputError):
        table.remove(ids)
    assert same(before, state(table))


@pytest.mark.parametrize("ids", [[1, 3], [3], ["1"], [[1], [3]], [1, [2]]])
def test_slots_of_unknown_ids_are_refused(ids):
    table = new()
    table.upsert([1, 2], {})
    with pytest.raises(UnknownNodeError, match="node ids: expected some of the 2 known, found"):
        table.slots(np.array(ids, dtype=object))


def test_nothing_at_all_is_fine():
    table = new()
    assert table.upsert([], {"load": []}) == []
    assert table.slots([]).tolist() == []
    table.remove([])


class AgainstDict(RuleBasedStateMachine):
    """Any run of calls leaves what a dict of rows would hold."""

    def __init__(self):
        super().__init__()
        self.table = new()
        self.model = {}

    ids = st.lists(st.integers(0, 80) | st.sampled_from(["a", "b", "0"]), max_size=70)

    @rule(ids=ids, load=st.floats(0, 1) | st.none())
    def upsert(self, ids, load):
        load = math.nan if load is None else load
        if len(set(ids)) < len(ids):
            with pytest.raises(InputError):
                self.table.upsert(ids, {"load": [load] * len(ids)})
            return
        self.table.upsert(ids, {"load": [load] * len(ids)})
        self.model.update(dict.fromkeys(ids, load))

    @rule(ids=ids)
    def remove(self, ids):
        if len(set(ids)) < len(ids) or any(i not in self.model for i in ids):
            with pytest.raises(InputError):
                self.table.remove(ids)
            return
        self.table.remove(ids)
        for i in ids:
            del self.model[i]

    @invariant()
    def holds_the_same(self):
        assert set(self.table) == set(self.model)
        assert len(self.table) == len(self.model)
        slots = self.table.slots(list(self.model))
        assert len(set(slots.tolist())) == len(self.model)
        loads = self.table.columns.values[slots, SCHEMA.offsets["load"]]
        np.testing.assert_array_equal(loads, list(self.model.values()))
        assert self.table.ids_at(slots).tolist() == list(self.model)
        free = np.delete(np.arange(len(self.table.columns.keys)), slots)
        assert not self.table.columns.keys[free].any()


TestAgainstDict = AgainstDict.TestCase
TestAgainstDict.settings = settings(max_examples=40, stateful_step_count=15, deadline=None)

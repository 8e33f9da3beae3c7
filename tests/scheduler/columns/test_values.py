"""One value and many follow the same rule: they are accepted alike, or refused in the same words."""

import enum
import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler import InputError
from scheduler.columns.values import NumberRule, as_mapping, as_number, is_single, items_of
from scheduler.spec import Column, Outcome


class Level(enum.IntEnum):
    LOW = 1


NAN = math.nan
F32_MAX = float(np.finfo(np.float32).max)
ODD = [
    None, True, "3", b"3", NAN, math.inf, -math.inf, 10**400, -(10**400), 1j, [1], [1.0, 2], {}, Decimal(1), Level.LOW,
    np.float64(2), np.float32(0.1), np.int64(2), np.uint8(200), np.True_, np.longdouble("1e4000"), np.str_("3"),
    np.datetime64("2020-01-01"), np.array(2.5), np.array([2.5]), np.array("x"),
]  # fmt: skip
NUMBERS = st.floats() | st.integers(-(2**70), 2**70) | st.floats(-100, 100) | st.sampled_from(ODD)
RULES = [
    NumberRule("column 'a'", Column()),
    NumberRule("column 'a'", Column(min=-90, max=90)),
    NumberRule("outcome 'a'", Outcome(min=0.1, max=60), np.float32),
    NumberRule("outcome 'a'", Outcome(), np.float32),
]


def answer(call):
    """What a call returns, or the words in which it refuses."""
    try:
        return call()
    except InputError as error:
        return str(error)


def first_refusal(found):
    return next((one for one in found if isinstance(one, str)), None)


@given(st.sampled_from(RULES), st.lists(NUMBERS, max_size=5))
def test_many_numbers_are_what_each_is_alone(rule, values):
    alone = [answer(lambda v=value: rule.one(v)) for value in values]
    together = answer(lambda: rule.many(values, len(values)))
    if refused := first_refusal(alone):
        assert together == refused
    else:
        np.testing.assert_array_equal(together, np.array(alone, float), strict=True)


@given(st.sampled_from(RULES), st.lists(st.lists(NUMBERS, min_size=2, max_size=3) | NUMBERS, max_size=4))
def test_many_vectors_are_what_each_is_alone(rule, vectors):
    alone = [answer(lambda v=vector: rule.vector(v, 2)) for vector in vectors]
    together = answer(lambda: rule.vectors(vectors, len(vectors), 2))
    if refused := first_refusal(alone):
        assert together == refused
    else:
        np.testing.assert_array_equal(together, np.array(alone, float).reshape(-1, 2), strict=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.uint64, np.bool_, ">f8", object, "U4", "M8[s]"])
def test_an_array_is_read_as_the_list_of_its_values(dtype):
    array = np.array([1, 0, 1], np.int64).astype(dtype)
    rule = RULES[1]
    assert str(answer(lambda: rule.many(array, 3))) == str(answer(lambda: rule.many(list(array), 3)))


@given(st.lists(st.floats() | st.integers(-(2**70), 2**70) | st.booleans() | st.none()))
def test_numbers_stay_what_they_are(values):
    assert [str(as_number(value, "x")) for value in values] == [
        str(NAN if value is None else float(value)) for value in values
    ]


def test_a_number_at_a_bound_may_come_in_the_precision_it_is_stored_in():
    rule = RULES[2]
    assert rule.one(0.1) == 0.1
    assert rule.one(np.float32(0.1)) == float(np.float32(0.1))
    assert rule.many(np.full(3, 0.1, np.float32), 3).tolist() == [float(np.float32(0.1))] * 3
    with pytest.raises(InputError, match=r"expected a finite 32-bit number from 0\.1 to 60, found 60\.001"):
        rule.one(60.001)


def test_what_overflows_the_stored_precision_is_refused():
    assert RULES[3].one(F32_MAX) == F32_MAX
    for value in (1e39, -1e39, math.inf, 10**400):
        with pytest.raises(InputError, match="outcome 'a': expected a finite 32-bit number, found"):
            RULES[3].one(value)


@pytest.mark.parametrize("value", [3, "abc", b"abc", None, {"a": 1}, np.array(3), np.float64(3)])
def test_single_values_hold_no_items(value):
    assert is_single(value)
    with pytest.raises(InputError, match="x: expected a list or an array of 3 values"):
        items_of(value, 3, "x")


def test_items_are_counted():
    assert items_of((1, 2), 2, "x") == [1, 2]
    assert items_of(np.arange(2), 2, "x") == [0, 1]
    with pytest.raises(InputError, match="x: expected 3 values, found 2"):
        items_of([1, 2], 3, "x")


def test_values_by_name_come_in_a_mapping():
    assert as_mapping({"a": 1}, "x") == {"a": 1}
    with pytest.raises(InputError, match=r"x: expected values by name, found \[1\]"):
        as_mapping([1], "x")

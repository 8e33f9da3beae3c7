"""Raw values become numbers and keys, or are refused."""

import hashlib
import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from scheduler import InputError
from scheduler.columns.arrays import MISSING_KEY
from scheduler.columns.ids import id_key, id_keys, remembered_key
from scheduler.columns.schema import Schema
from tests import models

NAN = math.nan
SCHEMA = Schema(models.spec().request)

integers = st.integers(-(2**63), 2**64 - 1)
ids = integers | st.text()


def blake2s(n: int) -> int:
    """The hash as published, by the standard library."""
    digest = hashlib.blake2s(n.to_bytes(9, "little", signed=True), digest_size=8, person=b"integer").digest()
    return int.from_bytes(digest, "little") or 1


@given(integers)
def test_the_key_of_an_integer_is_its_blake2s(n):
    assert id_key(n) == blake2s(n)


@given(st.lists(integers, min_size=9))
def test_the_keys_of_many_integers_are_their_blake2s(values):
    expected = [blake2s(n) for n in values]
    assert id_keys(values).tolist() == expected
    for dtype in (np.int8, np.int32, np.int64, np.uint16, np.uint64):
        some = [n for n in values if np.iinfo(dtype).min <= n <= np.iinfo(dtype).max]
        assert id_keys(np.array(some, dtype)).tolist() == [blake2s(n) for n in some]
        assert id_keys(np.array(some + some, dtype)[::2]).tolist() == [blake2s(n) for n in (some + some)[::2]]


@given(st.lists(ids))
def test_keys_of_a_list_are_the_keys_of_its_ids(values):
    assert id_keys(values).tolist() == [id_key(value) for value in values]


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_an_array_has_the_keys_of_its_list(values):
    assert id_keys(np.array(values, np.int64)).tolist() == id_keys(values).tolist()


@given(st.lists(ids, unique_by=repr))
def test_different_ids_have_different_keys_and_none_is_missing(values):
    values = [v for v in values if not isinstance(v, int) or v < 2**63]  # above, keys are those of v - 2**64
    keys = id_keys(values).tolist()
    assert len(set(keys)) == len(keys)
    assert MISSING_KEY not in keys


@pytest.mark.parametrize("value", [None, NAN, np.float64("nan"), np.float32("nan")])
def test_missing_ids_have_the_missing_key(value):
    assert id_key(value) == MISSING_KEY
    assert id_keys(["a", value, 3])[1] == MISSING_KEY


@pytest.mark.parametrize("value", [1.0, True, b"a", 2**64, -(2**63) - 1, [1], np.array([1, 2]), {}, math.inf, np.True_])
def test_other_values_are_no_ids(value):
    with pytest.raises(InputError, match="expected an integer of 64 bits or a string"):
        id_key(value)


@pytest.mark.parametrize("values", ["abc", b"abc", 5, None, np.int64(5), np.array(5), np.array([[1, 2]])])
def test_other_things_than_lists_hold_no_ids(values):
    with pytest.raises(InputError, match="expected a list or a one-dimensional array"):
        id_keys(values)


def test_numpy_scalars_count_as_their_values():
    assert id_keys([np.int32(3), np.str_("a")]).tolist() == id_keys([3, "a"]).tolist()


def test_a_category_has_the_key_of_its_value():
    keys = SCHEMA.encode("isp", [8, 7, "7", "8", None], 5)
    assert keys.tolist() == [id_key(8), id_key(7), id_key("7"), id_key("8"), MISSING_KEY]


def test_numbers_and_vectors_keep_their_values():
    np.testing.assert_array_equal(SCHEMA.encode("kbps", [1, None, 2.5], 3), [[1], [NAN], [2.5]])
    taste = SCHEMA.encode("taste", [[1, 2, 3], [NAN, None, 6]], 2)
    np.testing.assert_array_equal(taste, [[1, 2, 3], [NAN, NAN, 6]])


@given(st.lists(ids | st.booleans() | st.none(), max_size=20))
def test_a_key_that_is_remembered_is_that_of_the_value_and_of_no_equal_one(values):
    for value in values:
        if type(value) is int or type(value) is str:
            assert remembered_key(value) == id_key(value)
        elif value is not None:  # True equals 1, whose key may be remembered
            with pytest.raises(InputError):
                remembered_key(value)


WRONG = {
    "unknown column": ("speed", [1], "expected one of kind, kbps, isp, lat, lon, taste, found 'speed'"),
    "too many": ("kbps", [1, 2], "'kbps': expected 1 values, found 2"),
    "too many categories": ("isp", [1, 2], "'isp': expected 1 values, found 2"),
    "a scalar": ("kbps", 5, r"'kbps': expected a list or an array of 1 values, found 5 \(int\)"),
    "text for a number": ("kbps", ["5"], r"'kbps': expected a number, found '5' \(str\)"),
    "texts in an array": ("kbps", np.array(["5"]), r"'kbps': expected a number, found '5' \(str\)"),
    "bytes for a number": ("kbps", [b"5"], "'kbps': expected a number, found b'5'"),
    "text among numbers": ("lat", ["x"], "'lat': expected a number, found 'x'"),
    "huge": ("kbps", [10**400], "'kbps': expected a finite number from 0 to inf, found 1000"),
    "complex": ("kbps", [1j], "'kbps': expected a number, found 1j"),
    "dates": ("kbps", np.array(["2020-01-01"], "datetime64[s]"), "'kbps': expected a number"),
    "a vector for a number": ("kbps", [[1, 2]], r"'kbps': expected a number, found \[1, 2\] \(list\)"),
    "rows for numbers": ("kbps", np.ones((1, 1)), "'kbps': expected a number, found array"),
    "wrong width": ("taste", [[1, 2]], "'taste': expected 3 values, found 2"),
    "a number for a vector": ("taste", [1.0], r"'taste': expected a list or an array of 3 values, found 1.0 \(float\)"),
    "text in a vector": ("taste", [[1, "x", 3]], r"'taste': expected a number, found 'x' \(str\)"),
    "infinite in a vector": ("taste", [[1, math.inf, 3]], "'taste': expected a finite number, found inf"),
    "infinite": ("kbps", [math.inf], "'kbps': expected a finite number from 0 to inf, found inf"),
    "below the range": ("lat", [-90.5], "'lat': expected a finite number from -90 to 90, found -90.5"),
    "above the range": ("lat", [91], "'lat': expected a finite number from -90 to 90, found 91"),
    "number as category": ("isp", [1.5], "found 1.5"),
    "one text as categories": ("isp", "a", "expected a list"),
    "list as category": ("isp", [[1]], "expected an integer"),
}


@pytest.mark.parametrize(("name", "raw", "message"), WRONG.values(), ids=WRONG)
def test_wrong_values_are_refused(name, raw, message):
    with pytest.raises(InputError, match=message):
        SCHEMA.encode(name, raw, 1)


UNSIGNED = [2**63, 2**63 + 1, 2**64 - 2, 2**64 - 1]


@pytest.mark.parametrize("value", UNSIGNED)
def test_an_integer_beyond_the_signed_ones_has_another_key_than_the_one_of_its_bits(value):
    assert id_key(value) != id_key(value - 2**64)
    alone = [id_key(one) for one in (value, 1, value - 2**63)]
    assert id_keys(np.array([value, 1, value - 2**63], np.uint64)).tolist() == alone
    assert id_keys([value, 1, value - 2**63]).tolist() == alone


def test_many_integers_have_keys_of_their_own():
    signed = np.concatenate([np.arange(-50_000, 50_000), np.arange(2**62, 2**62 + 50_000)])
    keys = np.concatenate([id_keys(signed), id_keys(np.arange(2**63, 2**63 + 50_000, dtype=np.uint64))])
    assert len(np.unique(keys)) == len(keys)

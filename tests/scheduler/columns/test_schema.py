"""Raw values become numbers and keys, or are refused."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from scheduler import InputError
from scheduler.columns.arrays import MISSING_KEY
from scheduler.columns.ids import as_numbers, id_key, id_keys
from scheduler.columns.schema import Schema
from tests import models

NAN = math.nan
SCHEMA = Schema(models.spec().request, {"kind": ["live", "bulk"], "isp": [7, "7", 8]})

integers = st.integers(-(2**63), 2**64 - 1)
ids = integers | st.text()


def splitmix(n: int) -> int:
    """The finaliser as published, on Python's integers."""
    word = 2**64 - 1
    z = (n + 0x9E3779B97F4A7C15) & word
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & word
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & word
    return (z ^ (z >> 31)) or 1


@given(integers)
def test_the_key_of_an_integer_is_splitmix(n):
    assert id_key(n) == splitmix(n & (2**64 - 1))


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


def test_a_category_has_its_place_in_the_vocabulary():
    column = SCHEMA.encode("isp", [8, 7, "7", "8", None], 5)
    np.testing.assert_array_equal(column.values[:, 0], [2, 0, 1, NAN, NAN])
    assert column.keys.tolist() == [id_key(8), id_key(7), id_key("7"), id_key("8"), MISSING_KEY]


def test_a_column_without_vocabulary_has_keys_and_no_codes():
    column = Schema(models.spec().request, {}).encode("isp", [7, "a"], 2)
    assert np.isnan(column.values).all()
    assert column.keys.tolist() == [id_key(7), id_key("a")]


def test_numbers_and_vectors_keep_their_values():
    np.testing.assert_array_equal(SCHEMA.encode("kbps", [1, None, 2.5], 3).values, [[1], [NAN], [2.5]])
    taste = SCHEMA.encode("taste", [[1, 2, 3], [NAN, 5, 6]], 2)
    np.testing.assert_array_equal(taste.values, [[1, 2, 3], [NAN, 5, 6]])


WRONG = {
    "unknown column": ("speed", [1], "expected one of kind, kbps, isp, lat, lon, taste, found 'speed'"),
    "too many": ("kbps", [1, 2], r"'kbps': expected values of shape \(1, 1\), found \(2, 1\)"),
    "a scalar": ("kbps", 5, "'kbps'"),
    "text for a number": ("kbps", ["5"], "'kbps': expected numbers"),
    "bytes for a number": ("kbps", [b"5"], "'kbps': expected numbers"),
    "text among numbers": ("lat", [1, "x"], "'lat': expected numbers"),
    "huge": ("kbps", [10**400], "'kbps': expected numbers"),
    "complex": ("kbps", [1j], "'kbps': expected numbers"),
    "dates": ("kbps", np.array(["2020-01-01"], "datetime64[s]"), "'kbps': expected numbers"),
    "ragged": ("taste", [[1, 2, 3], [1, 2]], "'taste': expected numbers"),
    "wrong width": ("taste", [[1, 2]], r"'taste': expected values of shape \(1, 3\)"),
    "infinite": ("kbps", [math.inf], "'kbps': expected finite numbers from 0 to inf, found inf"),
    "below the range": ("lat", [-90.5], "'lat': expected finite numbers from -90 to 90, found -90.5"),
    "above the range": ("lat", [91], "'lat': expected finite numbers from -90 to 90, found 91"),
    "number as category": ("isp", [1.5], "found 1.5"),
    "one text as categories": ("isp", "a", "expected a list"),
    "list as category": ("isp", [[1]], "expected an integer"),
}


@pytest.mark.parametrize(("name", "raw", "message"), WRONG.values(), ids=WRONG)
def test_wrong_values_are_refused(name, raw, message):
    with pytest.raises(InputError, match=message):
        SCHEMA.encode(name, raw, 1)


@given(st.lists(st.floats() | st.integers(-(2**70), 2**70) | st.booleans() | st.none(), min_size=1))
def test_numbers_stay_what_they_are(values):
    expected = [NAN if value is None else float(value) for value in values]
    np.testing.assert_array_equal(as_numbers(values, "x"), expected)

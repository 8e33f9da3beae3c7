"""Slices of recorded decisions: numbered from the first decision, an origin that is given, or that of the spec."""

import numpy as np
import pytest

from scheduler.errors import InputError
from scheduler.spec import Slice
from training.telemetry.records.slices import record_slices

DECISIONS = {"time": np.array([1_030.0, 1_000.0, 1_140.0])}


def test_the_first_decision_is_in_slice_0_where_a_column_numbers_slices():
    assert record_slices(DECISIONS, Slice(column="slice", seconds=60.0)).tolist() == [1, 0, 3]
    assert record_slices(DECISIONS, Slice(column="slice", seconds=60.0), origin=900.0).tolist() == [2, 1, 4]


def test_slices_that_follow_from_times_begin_where_the_spec_says():
    assert record_slices(DECISIONS, Slice(seconds=60.0, origin=400.0)).tolist() == [10, 10, 12]
    with pytest.raises(InputError, match=r"origin: expected none, as the spec has telemetry.slice.origin, found 0.0"):
        record_slices(DECISIONS, Slice(seconds=60.0, origin=400.0), origin=0.0)


@pytest.mark.parametrize("origin", [np.nan, np.inf, -np.inf, -9e99, 1_001.0])
def test_an_origin_is_a_time_before_the_decisions(origin):
    with pytest.raises(InputError, match=r"origin: expected seconds up to the first decision, at 1000, found"):
        record_slices(DECISIONS, Slice(column="slice", seconds=60.0), origin=origin)

"""Arrays at the start of a cache line."""

import numpy as np
import pytest

from scheduler.runtime.aligned_arrays import aligned_copy, aligned_zeros
from scheduler.runtime.prefetch import LINE


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint64, np.int8])
@pytest.mark.parametrize("shape", [(), (5,), (0, 3), (4, 0), (3, 2, 7)])
def test_they_start_at_a_line_and_hold_zeros(shape, dtype):
    array = aligned_zeros(shape, dtype)
    assert array.size == 0 or array.ctypes.data % LINE == 0
    assert array.shape == shape
    assert array.dtype == dtype
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert not array.any()


def test_a_copy_is_contiguous_and_its_own():
    array = np.arange(12.0).reshape(3, 4).T
    copy = aligned_copy(array)
    np.testing.assert_array_equal(copy, array)
    assert copy.ctypes.data % LINE == 0
    assert copy.flags.c_contiguous
    copy[0] = -1
    assert array.min() == 0

"""How many distinct keys there are, by sketches of some of them."""

import numpy as np
import pytest

from scheduler.columns.ids import id_keys
from training.distributed.sketch import REGISTERS, estimate, sketch


@pytest.mark.parametrize("n", [0, 1, 100, REGISTERS, 3 * REGISTERS, 1_000_000])
def test_an_estimate_is_off_by_a_few_percent_at_most(n):
    found = estimate(sketch(id_keys(np.arange(n))))
    assert found == pytest.approx(n, rel=5 * 1.04 / np.sqrt(REGISTERS))


def test_sketches_of_parts_make_that_of_the_whole():
    keys = id_keys(np.arange(100_000))
    parts = [sketch(keys[:70_000]), sketch(keys[40_000:]), sketch(keys[:0])]
    np.testing.assert_array_equal(np.maximum.reduce(parts), sketch(keys))

"""Places of rows that stand for many."""

import numpy as np
import pytest

from training.sampling import evenly_spaced


@pytest.mark.parametrize(("n", "most"), [(0, 5), (1, 5), (5, 5), (6, 5), (1_000_003, 1_000), (7, 1)])
def test_places_are_distinct_in_order_from_the_first_and_as_many_as_asked(n, most):
    places = evenly_spaced(n, most)
    assert places.size == min(n, most)
    assert places.dtype == np.int64
    assert (np.diff(places) > 0).all()
    assert set(places.tolist()) <= set(range(n))
    if most > 1 and n:
        assert (places[0], places[-1]) == (0, n - 1)

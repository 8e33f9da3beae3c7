"""Numbers of pairs: like a dict's, and no larger than what was seen."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from training.policies.pair_numbers import FIRST, PairNumbers

N_NODES = 2**31 - 1
places = st.integers(0, 3) | st.integers(0, N_NODES - 1)
pairs = st.lists(st.tuples(places, places), max_size=60)


def columns(rows):
    client, node = np.array(rows, np.int32).reshape(-1, 2).T
    return client, node


@pytest.mark.slow
@given(st.lists(pairs, max_size=4), pairs)
def test_pairs_are_numbered_in_the_order_in_which_they_came(parts, asked):
    numbers, expected = PairNumbers(N_NODES), {}
    for part in parts:
        found = numbers.add(*columns(part))
        assert found.tolist() == [expected.setdefault(pair, len(expected)) for pair in part]
    assert len(numbers) == len(expected)
    assert numbers.find(*columns(asked)).tolist() == [expected.get(pair, -1) for pair in asked]


def test_numbers_stay_when_the_table_grows():
    numbers = PairNumbers(1_000)
    rng = np.random.default_rng(0)
    client, node = rng.integers(0, 10**6, 40 * FIRST), rng.integers(0, 1_000, 40 * FIRST)
    before = [numbers.add(client[at : at + 999], node[at : at + 999]) for at in range(0, client.size, 999)]
    np.testing.assert_array_equal(numbers.find(client, node), np.concatenate(before))
    assert len(numbers) == len(set(zip(client.tolist(), node.tolist(), strict=True)))


def test_clients_and_nodes_are_taken_together_as_arrays_are():
    numbers = PairNumbers(10)
    numbers.add(np.array([0, 1]), np.array([2, 3]))
    found = numbers.find(np.array([[0], [1]]), np.array([[2, 3], [2, 3]]))
    assert found.tolist() == [[0, -1], [-1, 1]]

"""What tables of masks take is known from the trees, before any is built."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler import ForestError
from scheduler.forest import table_size
from scheduler.forest.forest import Forest
from scheduler.forest.table_size import check_table_bytes, table_bytes
from scheduler.forest.trees import MAX_TREES, Trees, check_trees
from tests.scheduler.forest.models import single_splits, staircases


def built_bytes(heads: list[Trees]) -> int:
    """Return the bytes of the tables, all features of which belong to the node."""
    forest = Forest.build(heads, node=range(int(heads[0].n_features)))
    return sum(part.nbytes for part in (*forest.mask_tables, *forest.names) if isinstance(part, np.ndarray))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    n_trees=st.integers(0, 60),
    n_leaves=st.integers(2, 64),
    n_features=st.integers(1, 12),
    n_values=st.integers(1, 300),
    categorical=st.booleans(),
    n_heads=st.integers(1, 3),
)
def test_tables_never_take_more_than_was_computed(n_trees, n_leaves, n_features, n_values, categorical, n_heads):
    heads = [
        staircases(n_trees, n_leaves, n_features, n_values, seed=seed, categorical=categorical)
        for seed in range(n_heads)
    ]
    # Search trees of bounds and offsets come to less than 1,000 bytes a feature of so few values.
    assert built_bytes(heads) <= table_bytes(heads) + 16_000 * n_features


@pytest.mark.parametrize(
    ("n_heads", "n_trees", "n_leaves", "n_features", "n_values"),
    [
        (4, 200, 31, 29, 255),
        (3, 300, 31, 61, 255),
        (4, 400, 15, 29, 255),
        (3, 1_000, 64, 26, 255),
        (2, 1_000, 8, 26, 255),
    ],
)
def test_models_as_trained_stay_far_below_the_bound(n_heads, n_trees, n_leaves, n_features, n_values):
    heads = [staircases(n_trees, n_leaves, n_features, n_values, seed=seed) for seed in range(n_heads)]
    check_table_bytes(heads)
    allowed = table_size.FREE_BYTES + table_size.BYTES_PER_TREE_BYTE * sum(a.nbytes for t in heads for a in t)
    assert table_bytes(heads) < 0.6 * allowed


def test_trees_whose_tables_grow_with_their_square_are_refused_before_any_is_built(monkeypatch):
    monkeypatch.setattr("scheduler.forest.forest.build_tables", lambda *_, **__: pytest.fail("built"))
    with pytest.raises(
        ForestError, match=r"heads: expected trees whose tables take at most 181,\d{3},\d{3} bytes .*, found \d{3},"
    ):
        Forest.build(single_splits(8_000), node=[0])


def test_categories_that_many_splits_share_are_counted_for_each():
    shared = single_splits(5_000, n_words=30_000)
    assert shared.cat_bits.nbytes == 120_000
    assert table_bytes([shared]) > 2**30
    with pytest.raises(ForestError, match="expected trees whose tables take at most"):
        Forest.build(shared, node=[0])


def test_empty_words_of_a_set_are_counted():
    trees = single_splits(5_000, n_words=30_000)
    assert table_bytes([trees._replace(cat_bits=np.zeros_like(trees.cat_bits))]) > 2**30


def test_more_trees_than_a_head_may_have_are_refused():
    trees = single_splits(MAX_TREES + 1, n_values=1)
    with pytest.raises(ForestError, match=f"expected at most {MAX_TREES} trees, found {MAX_TREES + 1}"):
        check_trees(trees)


def test_a_huge_number_of_features_costs_nothing():
    trees = single_splits(10)
    far = trees._replace(n_features=np.array(2**31 - 1, np.int32), feature=np.full(10, 2**31 - 2, np.int32))
    assert table_bytes([far]) < 2**20

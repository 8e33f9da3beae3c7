"""Rows kept per node, built per request and scored per candidate give what whole feature rows give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import config
from numba.core.errors import TypingError

from scheduler.errors import InputError
from scheduler.forest.forest import Forest
from scheduler.forest.kernels import score as kernels
from tests.scheduler.forest import twin
from tests.scheduler.forest.models import (
    booster_of,
    random_model,
    random_owners,
    random_rows,
    scores_and_variances,
    trained,
)
from training.heads.lightgbm_trees import forest_from_lightgbm, trees_from_lightgbm

pytestmark = pytest.mark.usefixtures("cost_of_masks")


def in_order(texts, x, owners, split_features=()):
    """float32 sums of leaf values in the order that `build_tables` states.

    Trees with a node feature first, and of both kinds those with fewer splits by pair features that have any.
    """
    node, by_split = set(owners["node"]), set(split_features)
    totals = np.zeros((len(x), len(texts)), np.float32)
    for head, text in enumerate(texts):
        trees = twin.read_text(text)
        trees.sort(key=lambda tree: (not node & set(tree["feature"]), sum(f in by_split for f in tree["feature"])))
        for tree in trees:
            totals[:, head] += np.array([tree["value"][twin.leaf(tree, row)] for row in x], np.float32)
    return totals


def split_columns(forest):
    """Columns of the pair features that are looked up by their splits."""
    return forest.mask_tables.columns[forest.mask_tables.split_features[:, 1]].tolist()


def candidates(rng, x, owners, n):
    """Rows of `n` candidates of one request: their request features equal, node features those of a node."""
    indices = rng.integers(len(x), size=n)
    full = x[indices].copy()
    full[:, owners["request"]] = x[0, owners["request"]]
    full[:, owners["pair"]] = rng.permutation(x[rng.integers(len(x), size=n)][:, owners["pair"]])
    return indices, full


@pytest.mark.slow
@given(st.integers(0, 2**32), st.integers(1, 64), st.integers(1, 10), st.integers(1, 3), st.integers(0, 150))
@settings(max_examples=40, deadline=None)
def test_scores_are_float32_sums_in_a_fixed_order(seed, max_leaves, n_features, n_heads, n):
    rng = np.random.default_rng(seed)
    texts = [random_model(rng, int(rng.integers(1, 40)), max_leaves, n_features) for _ in range(n_heads)]
    owners = random_owners(rng, n_features)
    forest = forest_from_lightgbm([booster_of(text) for text in texts], **owners)
    x = random_rows(rng, 30, n_features, "".join(texts))
    indices, full = candidates(rng, x, owners, n)
    rows = forest.node_rows(x[:, owners["node"]])
    request = forest.request_row(x[0, owners["request"]])
    got = forest.score(request, rows, indices, full[:, owners["pair"]])
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, in_order(texts, full, owners, split_columns(forest)))


def test_splits_are_looked_at_where_that_is_cheaper_and_values_are_in_order(cost_of_masks):
    booster, _ = trained(n_trees=50)
    owners = {"request": [2, 0], "node": [8, 1, 3], "pair": [4, 7, 5, 6]}
    forest = forest_from_lightgbm(booster, **owners)
    categorical = {4, 7, 5, 6} & {int(column) for column in categorical_columns(booster)}
    expected = {4, 7, 5, 6} - categorical if cost_of_masks else set()
    assert set(split_columns(forest)) == expected


def categorical_columns(booster):
    """Columns with a split by categories."""
    trees = trees_from_lightgbm(booster)
    return np.unique(trees.feature[trees.decision & 1 == 1])


@pytest.mark.slow
@given(st.integers(0, 2**32), st.integers(1, 64), st.integers(1, 3), st.integers(0, 150))
@settings(max_examples=30, deadline=None)
def test_variances_are_sums_over_trees_of_the_leaf_that_lightgbm_names(seed, max_leaves, n_heads, n):
    rng = np.random.default_rng(seed)
    boosters = [booster_of(random_model(rng, int(rng.integers(1, 40)), max_leaves, 6)) for _ in range(n_heads)]
    owners = random_owners(rng, 6)
    heads = [with_variances(rng, trees_from_lightgbm(booster)) for booster in boosters]
    forest = Forest.build(heads, **owners)
    x = random_rows(rng, 30, 6, "".join(booster.model_to_string() for booster in boosters))
    indices, full = candidates(rng, x, owners, n)
    call = forest.request_row(x[0, owners["request"]]), forest.node_rows(x[:, owners["node"]]), indices
    scores, variances = scores_and_variances(forest, *call, full[:, owners["pair"]])
    np.testing.assert_array_equal(scores, forest.score(*call, full[:, owners["pair"]]))
    expected = np.zeros((n, n_heads))
    for h, (booster, trees) in enumerate(zip(boosters, heads, strict=True)):
        named = booster.predict(full, pred_leaf=True).reshape(n, trees.n_trees) if n else np.empty((0, trees.n_trees))
        expected[:, h] = trees.leaf_variance[trees.leaf_start[:-1] + named.astype(int)].sum(axis=1)
    np.testing.assert_allclose(variances, expected, rtol=1e-5)
    np.testing.assert_allclose(forest.variance(full), expected, rtol=1e-12)


def with_variances(rng, trees):
    """The trees with a variance for each leaf, some of them none or huge."""
    n = len(trees.leaf_value)
    return trees._replace(leaf_variance=rng.choice([0.0, 1e-30, 1.0, 1e30], n) * rng.random(n))


@pytest.fixture(scope="module")
def scene(cost_of_masks):  # noqa: ARG001 - another forest for each
    """A forest, nodes, a request and 200 candidates."""
    booster, x = trained(n_trees=50)
    owners = {"request": [2, 0], "node": [8, 1, 3], "pair": [4, 7, 5, 6]}
    forest = forest_from_lightgbm([booster, booster], **owners)
    indices, full = candidates(np.random.default_rng(0), x, owners, 200)
    rows = forest.node_rows(x[:, owners["node"]])
    return forest, booster, full, (forest.request_row(x[0, owners["request"]]), rows, indices, full[:, owners["pair"]])


def test_scores_are_lightgbms_within_float_tolerance(scene):
    forest, booster, full, call = scene
    expected = booster.predict(full, raw_score=True)
    np.testing.assert_allclose(forest.score(*call), np.column_stack([expected, expected]), rtol=1e-5, atol=1e-4)


def test_a_score_does_not_depend_on_the_other_candidates(scene):
    forest, _, _, (request, rows, indices, pair) = scene
    together = forest.score(request, rows, indices, pair)
    for c in (0, 1, 15, 16, 63, 64, 65, 199):
        np.testing.assert_array_equal(forest.score(request, rows, indices[[c]], pair[[c]])[0], together[c])
    shuffled = np.random.default_rng(0).permutation(200)
    np.testing.assert_array_equal(forest.score(request, rows, indices[shuffled], pair[shuffled]), together[shuffled])


def test_float32_features_are_compared_as_doubles(scene):
    forest, _, _, (request, rows, indices, pair) = scene
    with np.errstate(over="ignore"):
        narrow = pair.astype(np.float32)
    np.testing.assert_array_equal(
        forest.score(request, rows, indices, narrow), forest.score(request, rows, indices, narrow.astype(np.float64))
    )


def test_the_kernels_for_other_kernels_give_the_same(scene):
    forest, _, _, (request, rows, indices, pair) = scene
    out = np.empty((len(indices), 2), np.float32)
    pair = np.ascontiguousarray(pair)
    kernels.score(forest.mask_tables, request, rows, indices.astype(np.int32), pair, forest.work(), out)
    np.testing.assert_array_equal(out, forest.score(request, rows, indices, pair))
    x = np.random.default_rng(0).normal(size=(5, 3))
    one = np.empty(forest.node_words, np.uint64)
    for i, row in enumerate(forest.node_rows(x)):
        kernels.node_row(forest.mask_tables, x[i], one)
        np.testing.assert_array_equal(one, row)


@pytest.mark.skipif(config.DISABLE_JIT, reason="plain twins read any layout")
def test_a_kernel_refuses_features_that_are_not_contiguous(scene):
    forest, _, _, (request, rows, indices, pair) = scene
    with pytest.raises(TypingError, match="expected contiguous arrays"):
        kernels.score(
            forest.mask_tables, request, rows, indices, np.asfortranarray(pair), forest.work(), np.empty((200, 2))
        )


def test_no_candidates_no_scores(scene):
    forest, _, _, (request, rows, _, _) = scene
    assert forest.score(request, rows, np.empty(0, np.int64), np.empty((0, 4))).shape == (0, 2)


@pytest.mark.slow
def test_two_heads_of_100_trees_take_under_1_5_kilobytes_a_node():
    booster, _ = trained(n=2000, n_trees=100)
    forest = forest_from_lightgbm([booster, booster], request=[0, 1], node=[2, 3, 4, 5], pair=[6, 7, 8])
    assert 8 * forest.node_words <= 1500
    assert forest.empty_rows(3).ctypes.data % 64 == 0


def test_trees_without_node_features_take_no_room_in_a_nodes_row():
    booster, _ = trained(n_trees=40)
    assert forest_from_lightgbm(booster, request=list(range(9))).node_words == 0


@pytest.mark.parametrize(
    ("position", "value", "found"),
    [
        (0, np.zeros(3, np.uint64), "request_row: .* found uint64 of shape \\(3,\\)"),
        (0, [1, 2], "request_row: .* found list"),
        (1, np.zeros((2, 3), np.uint64), "rows: "),
        (1, np.zeros((2, 8)), "rows: .* found float64"),
        (2, np.zeros(200), "indices: expected integers"),
        (2, np.zeros(3, np.int64), "indices: .* shape \\(200,\\)"),
        (2, np.full(200, -1), "indices: .* found -1"),
        (2, np.full(200, 10**6), "indices: .* found 1000000"),
        (3, np.zeros((200, 3)), "X_pair: expected shape \\(n, 4\\), found \\(200, 3\\)"),
        (3, np.full((200, 4), "x"), "X_pair: expected numbers"),
    ],
)
def test_a_wrong_argument_is_named(scene, position, value, found):
    forest, _, _, call = scene
    call = [*call[:position], value, *call[position + 1 :]]
    with pytest.raises(InputError, match=found):
        forest.score(*call)


def test_wrong_shapes_of_rows_are_named(scene):
    forest = scene[0]
    with pytest.raises(InputError, match=r"x_request: expected shape \(2,\), found \(3,\)"):
        forest.request_row([1, 2, 3])
    with pytest.raises(InputError, match=r"X_node: expected shape \(n, 3\), found \(2,\)"):
        forest.node_rows([1, 2])
    with pytest.raises(InputError, match=r"X: expected shape \(n, 9\)"):
        forest.leaves(np.zeros((2, 8)))
    with pytest.raises(InputError, match=r"X: expected numbers, found object"):
        forest.predict(np.full((2, 9), None))


@pytest.mark.parametrize(
    ("owners", "found"),
    [
        ({"request": [0, 0], "node": list(range(1, 9))}, "request: expected each column once, found 0"),
        ({"request": [0], "node": list(range(9))}, "node: expected each column once, found 0 also in request"),
        ({"node": list(range(10))}, "node: expected columns 0 to 8, found 9"),
        ({"node": [0, 1]}, "expected an owner for each feature of a tree, found none for"),
    ],
)
def test_owners_must_share_out_the_features(owners, found):
    booster, _ = trained(n=500, n_trees=3)
    with pytest.raises(InputError, match=found):
        forest_from_lightgbm(booster, **owners)


def test_heads_must_agree_on_the_features():
    one, two = (trained(n=500, n_features=k, n_trees=2)[0] for k in (4, 5))
    with pytest.raises(InputError, match=r"same number of features, found \[4, 5\]"):
        forest_from_lightgbm([one, two], node=[0, 1, 2, 3])
    with pytest.raises(InputError, match="heads: expected one or more"):
        forest_from_lightgbm([])

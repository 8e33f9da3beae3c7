"""What can be exported, stored and loaded again, and what is refused."""

from __future__ import annotations

import io

import lightgbm as lgb
import numpy as np
import pytest

from scheduler.errors import ArtifactError, ForestError
from scheduler.forest.trees import load_trees, save_trees
from tests.scheduler.forest.models import random_model, text_of, trained
from training.heads.lightgbm_trees import forest_from_lightgbm, trees_from_lightgbm, trees_from_text


@pytest.fixture(scope="module")
def trees():
    """Trees with every kind of split."""
    return trees_from_text(random_model(np.random.default_rng(0), 12, 40, 6))


def stored(trees, **changes):
    """An npz archive of `trees` with some arrays changed, or left out for None."""
    arrays = {"format": np.int32(2)} | trees._asdict() | changes
    file = io.BytesIO()
    np.savez(file, **{key: value for key, value in arrays.items() if value is not None})
    file.seek(0)
    return file


def test_stored_trees_come_back_equal(trees, tmp_path):
    path = tmp_path / "forest.npz"
    save_trees(trees, path)
    for key, array in load_trees(path)._asdict().items():
        np.testing.assert_array_equal(array, getattr(trees, key))
        assert array.dtype == getattr(trees, key).dtype


def test_trees_stored_before_leaves_had_variances_read_as_knowing_none(trees):
    old = load_trees(stored(trees, format=np.int32(1), leaf_variance=None))
    np.testing.assert_array_equal(old.leaf_variance, np.zeros(len(trees.leaf_value)))
    np.testing.assert_array_equal(old.leaf_value, trees.leaf_value)


def test_equal_trees_give_equal_files(trees, tmp_path):
    for name in ("a", "b"):
        save_trees(trees, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def swapped(array, i, value):
    """A copy with one value changed."""
    out = array.copy()
    out[i] = value
    return out


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda _: {"format": None}, "expected trees of format 1 or 2, found none"),
        (lambda _: {"format": np.int32(3)}, "expected trees of format 1 or 2, found 3"),
        (lambda _: {"format": np.int32(1)}, "expected the arrays"),
        (lambda _: {"leaf_variance": None}, "expected the arrays"),
        (lambda t: {"leaf_variance": t.leaf_variance[:-1]}, "values of leaf_variance, found"),
        (lambda t: {"leaf_variance": t.leaf_variance - 1}, "expected leaf variances from 0 to"),
        (lambda t: {"leaf_variance": t.leaf_variance * np.nan}, "expected leaf variances from 0 to .* found nan"),
        (lambda t: {"leaf_variance": t.leaf_variance + np.inf}, "expected leaf variances from 0 to .* found inf"),
        (lambda _: {"feature": None}, "expected the arrays"),
        (lambda _: {"extra": np.zeros(1)}, "expected the arrays"),
        (lambda t: {"leaf_value": t.leaf_value.astype(np.float32)}, "expected leaf_value as float64"),
        (lambda t: {"left": t.left[:, None]}, "of 1 dimensions, found int32 of 2"),
        (lambda t: {"left": t.left[:-1]}, "values of left"),
        (lambda t: {"left": swapped(t.left, 0, 1000)}, "tree 1: expected each of"),
        (lambda t: {"right": swapped(t.right, -1, 0)}, "expected each of"),
        (lambda t: {"feature": swapped(t.feature, 0, 6)}, "expected features 0 to 5, found 0 to 6"),
        (lambda t: {"feature": swapped(t.feature, 0, -1)}, "expected features 0 to 5"),
        (lambda t: {"threshold": swapped(t.threshold, np.flatnonzero(t.decision & 1)[0], 99.5)}, "category sets"),
        (lambda t: {"threshold": swapped(t.threshold, 0, np.nan)}, "found NaN"),
        (lambda t: {"decision": swapped(t.decision, 0, 12)}, "expected decision types 0 to 11, found 12"),
        (lambda t: {"leaf_value": swapped(t.leaf_value, 0, np.inf)}, "expected finite leaf values"),
        (lambda t: {"leaf_value": t.leaf_value[:-1]}, "expected leaf_start to rise"),
        (lambda t: {"node_start": swapped(t.node_start, 1, -1)}, "expected node_start to rise"),
        (lambda t: {"leaf_start": swapped(t.leaf_start, 1, t.leaf_start[1] + 1)}, "one leaf more than splits"),
        (lambda t: {"cat_start": t.cat_start[:-1]}, "expected cat_start to rise|category sets"),
        (lambda t: {"n_features": np.int32(0) * t.n_features}, "at least one feature"),
        (lambda t: {"threshold": np.array([None] * len(t.threshold))}, "cannot be read"),
    ],
)
def test_a_damaged_archive_is_refused(trees, change, found):
    with pytest.raises(ArtifactError, match=found):
        load_trees(stored(trees, **change(trees)))


def test_a_cycle_is_refused():
    text = random_model(np.random.default_rng(1), 1, 5, 2)
    trees = trees_from_text(text)
    while len(trees.left) < 4:
        trees = trees_from_text(random_model(np.random.default_rng(len(trees.left) + 7), 1, 9, 2))
    n = len(trees.left)
    left, right = trees.left.copy(), trees.right.copy()
    left[:], right[:] = ~np.arange(n), ~np.arange(1, n + 1)
    left[0], right[0] = ~0, ~n
    left[1:], right[1:] = ~np.arange(1, n), [*range(2, n), 1]
    with pytest.raises(ArtifactError, match="form a cycle"):
        load_trees(stored(trees, left=left, right=right))


def test_every_flipped_byte_is_noticed_or_harmless(trees, tmp_path):
    path = tmp_path / "forest.npz"
    save_trees(trees, path)
    good = path.read_bytes()
    for place in np.random.default_rng(0).integers(len(good), size=200):
        bad = bytearray(good)
        bad[place] ^= 0xFF
        path.write_bytes(bytes(bad))
        try:
            load_trees(path)
        except ArtifactError as error:
            assert str(path) in str(error)  # noqa: PT017


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04"])
def test_a_file_that_is_no_archive_is_refused(tmp_path, content):
    path = tmp_path / "forest.npz"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="cannot be read"):
        load_trees(path)
    with pytest.raises(ArtifactError, match="cannot be read"):
        load_trees(tmp_path / "absent.npz")


def train(params, n=3000):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 3))
    y = x @ [1.0, 2.0, 3.0] + rng.normal(size=n)
    if params.get("objective") == "multiclass":
        y = np.digitize(y, [-1, 1])
    return lgb.train({"verbose": -1, "num_threads": 1, "min_data_in_leaf": 1} | params, lgb.Dataset(x, y), 2)


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({"num_leaves": 65}, "at most 64 leaves a tree, found 65"),
        ({"objective": "multiclass", "num_class": 3}, "one score .* found 3"),
        ({"linear_tree": True}, "found linear leaves"),
        ({"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}, "found averaged output"),
    ],
)
def test_what_a_forest_cannot_hold_is_refused_at_export(params, found):
    with pytest.raises(ForestError, match=found):
        trees_from_lightgbm(train(params))


@pytest.mark.parametrize("text", ["", "tree\n", "tree\nnum_class=1\nmax_feature_idx=x\n", text_of([{}], 1)])
def test_a_text_that_is_no_model_is_refused(text):
    with pytest.raises(ForestError, match="cannot be read"):
        trees_from_text(text)


def test_infinite_leaves_are_refused():
    text = random_model(np.random.default_rng(0), 1, 8, 2).replace("leaf_value=", "leaf_value=inf ", 1)
    with pytest.raises(ForestError, match="leaf"):
        trees_from_text(text)


def test_trees_up_to_the_best_iteration_are_taken():
    booster, x = trained(n=500, n_trees=10)
    booster.best_iteration = 4
    forest = forest_from_lightgbm(booster, node=list(range(9)))
    assert forest.leaves(x).shape[1] == 4
    np.testing.assert_array_equal(forest.predict(x)[:, 0], booster.predict(x, raw_score=True))

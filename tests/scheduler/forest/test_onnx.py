"""ONNX Runtime gives LightGBM's scores, and where rows were rounded to float32 each other way is explained."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from scheduler.errors import ForestError
from tests.scheduler.forest import twin
from tests.scheduler.forest.models import SPECIAL, booster_of, random_model, random_rows, trained
from training.artifacts.onnx_export import to_onnx
from training.heads.lightgbm_trees import forest_from_lightgbm, trees_from_lightgbm


def run(booster, x):
    """Raw scores by ONNX Runtime, shape (n,)."""
    session = onnxruntime.InferenceSession(to_onnx(trees_from_lightgbm(booster)), providers=["CPUExecutionProvider"])
    return session.run(["raw_score"], {"features": narrow(x).astype(np.float32)})[0][:, 0]


def narrow(x):
    """Rows rounded to float32, as doubles."""
    with np.errstate(over="ignore"):
        return x.astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("params", [{}, {"use_missing": False}, {"zero_as_missing": True}, {"num_leaves": 64}], ids=str)
def test_float32_rows_get_lightgbms_scores(params):
    booster, x = trained(n_trees=30, **params)
    rng = np.random.default_rng(0)
    x = narrow(np.vstack([x, random_rows(rng, 2000, 9, booster.model_to_string())]))
    # Fractions and negative values of categories too.
    x[::3, :2] = narrow(rng.choice(SPECIAL, x[::3, :2].shape))
    np.testing.assert_allclose(run(booster, x), booster.predict(x, raw_score=True), rtol=1e-5, atol=1e-4)


def test_one_leaf_trees_and_special_values():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        text = random_model(rng, 8, 12, 1)
        booster = booster_of(text)
        x = narrow(SPECIAL[:, None])
        try:
            got = run(booster, x)
        except ForestError as error:
            assert "one kind on feature 0" in str(error)  # noqa: PT017
            continue
        np.testing.assert_allclose(got, booster.predict(x, raw_score=True), rtol=1e-5, atol=1e-4)


def test_what_onnx_cannot_say_is_refused_by_name():
    booster = booster_of(random_model(np.random.default_rng(0), 8, 12, 1))
    with pytest.raises(ForestError, match="ONNX: expected splits of one kind on feature 0"):
        to_onnx(trees_from_lightgbm(booster))


@pytest.mark.slow
def test_of_100_000_double_rows_only_those_on_a_threshold_go_another_way():
    booster, x = trained(6, n=20_000, n_features=12, n_trees=100)
    rng = np.random.default_rng(0)
    x = np.vstack([rng.choice(x, 90_000), random_rows(rng, 10_000, 12, booster.model_to_string())])
    x[:90_000, 2:] += rng.normal(size=(90_000, 10))
    expected = booster.predict(x, raw_score=True)
    other = np.flatnonzero(~np.isclose(run(booster, x), expected, rtol=1e-5, atol=1e-4))
    forest = forest_from_lightgbm(booster, node=list(range(12)))
    # Every float32 row agrees, so a row goes another way only because rounding moved a value across a threshold.
    np.testing.assert_allclose(run(booster, x), booster.predict(narrow(x), raw_score=True), rtol=1e-5, atol=1e-4)
    trees = twin.read_text(booster.model_to_string())
    before, after = forest.leaves(x[other]), forest.leaves(narrow(x[other]))
    for row, one, two in zip(x[other], before, after, strict=True):
        moved = np.flatnonzero(one != two)
        assert len(moved)
        assert all(is_on_threshold(trees[tree], row) for tree in moved)
    print(f"{len(other)} of {len(x)} double rows lie on a threshold and go another way in float32")  # noqa: T201


def is_on_threshold(tree, row):
    """Whether a value of `row` rounds across a threshold of the tree, or across a whole number of a category."""
    for feature, threshold, decision in zip(tree["feature"], tree["threshold"], tree["decision"], strict=True):
        value = row[feature]
        with np.errstate(over="ignore"):
            rounded = float(np.float32(value))
        if decision & 1:
            if np.isfinite(value) and np.trunc(value) != np.trunc(rounded):
                return True
        elif (value <= threshold) != (rounded <= threshold) or (abs(value) <= twin.ZERO) != (abs(rounded) <= twin.ZERO):
            return True
    return False

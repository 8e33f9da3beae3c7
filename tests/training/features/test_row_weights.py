"""Rows are weighed by inverse propensities, up to a bound, wherever a training uses them."""

import dataclasses

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import evaluation_world as world
from training.features.dataset import build_dataset, joined, without_slices
from training.features.targets import row_weights
from training.heads.calibration import calibrate
from training.heads.fit import fit_heads

CHANCES = st.one_of(st.floats(1e-6, 1.0), st.just(float("nan")))


def weighing(most, **training):
    """Return the spec of the tiny world with propensities and some largest weight."""
    return msgspec.structs.replace(
        world.SPEC,
        telemetry=msgspec.structs.replace(world.SPEC.telemetry, propensity="drawn"),
        training=msgspec.structs.replace(world.SPEC.training, propensity_weights=most, **training),
    )


def logged(n=3_000):
    """Return rows whose propensity follows from their node."""
    rows = world.telemetry(n)
    return dataclasses.replace(rows, propensity=np.array([0.5, 0.2, 0.1, 0.1, 0.05, 0.01])[rows.node])


@pytest.mark.slow
@given(st.lists(CHANCES, min_size=1, max_size=30), st.floats(1.0, 1e3))
def test_weights_are_inverse_propensities_up_to_the_bound_with_mean_1(chances, most):
    plain = [min(1.0 / (1.0 if np.isnan(p) else p), most) for p in chances]
    found = row_weights(np.array(chances), weighing(most))
    assert found == pytest.approx(np.array(plain) / np.mean(plain), rel=1e-5)
    assert found.mean() == pytest.approx(1.0, rel=1e-5)


def test_without_a_bound_or_propensities_rows_count_alike():
    assert row_weights(np.array([0.5]), weighing(0.0)) is None
    assert row_weights(None, weighing(20.0)) is None
    assert build_dataset(logged(), weighing(0.0), seed=0).weight is None


def test_a_dataset_carries_the_weights_of_its_rows():
    spec = weighing(20.0)
    rows = logged()
    # So that a row of the dataset can be told: the load is the node's number.
    rows = dataclasses.replace(rows, node_state={**rows.node_state, "load": rows.node.astype(np.float64)})
    made = build_dataset(rows, spec, seed=0)
    node = made.x[:, made.features.names.index("load")].astype(int)
    expected = np.array([2.0, 5.0, 10.0, 10.0, 20.0, 20.0])[node]
    assert made.weight / made.weight[0] == pytest.approx(expected / expected[0], rel=1e-5)
    part = without_slices(made, np.unique(made.slices)[:5])
    assert part.weight.tolist() == made.weight[np.isin(made.slices, np.unique(made.slices)[:5], invert=True)].tolist()
    both = joined(made, made._replace(weight=None))
    order = np.argsort(both.slices, kind="stable")
    assert both.weight[order].size == 2 * made.weight.size
    assert both.weight.sum() == pytest.approx(made.weight.sum() + made.weight.size, rel=1e-5)


def test_a_head_that_cannot_tell_rows_apart_predicts_their_weighted_mean():
    spec = weighing(20.0, rounds=200, patience=200, lightgbm={"num_leaves": 2, "min_data_in_leaf": 5_000})
    heads = {"failure": msgspec.structs.replace(spec.heads["failure"], offset="none")}
    spec = msgspec.structs.replace(spec, heads=heads)
    rows = logged(6_000)
    outcomes = {**rows.outcomes, "failed": (rows.node == 0).astype(np.float32)}
    made = build_dataset(dataclasses.replace(rows, ok=rows.node > 0, outcomes=outcomes), spec, seed=0)
    failed = made.targets["failure"][: made.split]
    weighed, plain = (
        fit_heads(one, spec, seed=0, threads=1)["failure"].calibration.raw[0]
        for one in (made, made._replace(weight=None))
    )
    assert 1.0 / (1.0 + np.exp(-weighed)) == pytest.approx(
        np.average(failed, weights=made.weight[: made.split]), abs=0.005
    )
    assert 1.0 / (1.0 + np.exp(-plain)) == pytest.approx(failed.mean(), abs=0.005)
    assert weighed < plain - 0.5


@pytest.mark.parametrize("link", ["logistic", "log", "identity"])
def test_a_row_of_weight_3_calibrates_as_three_rows(link):
    rng = np.random.default_rng(0)
    raw = rng.normal(0.0, 1.0, 300)
    outcome = (
        (rng.random(300) < 0.3).astype(float) if link == "logistic" else np.exp(0.5 * raw + rng.normal(0, 0.1, 300))
    )
    weight = rng.integers(1, 4, 300)
    found, repeated = (
        calibrate(link, raw, outcome, weight.astype(float)),
        calibrate(link, np.repeat(raw, weight), np.repeat(outcome, weight)),
    )
    assert (found.intercept, found.slope) == pytest.approx((repeated.intercept, repeated.slope), rel=1e-3, abs=1e-4)

"""Intervals by drawing slices or clients anew."""

import dataclasses

import numpy as np
import pytest

from training.evaluation.intervals import intervals
from training.evaluation.metrics import Picks, scores
from training.evaluation.results import Comparison, Series
from training.telemetry import Entities


def comparison(n_slices, n_clients, effect=1.0, noise=1.0, seed=0):
    """Return requests of each client in each slice, whose cost with the policy ``random`` is above by an effect."""
    rng = np.random.default_rng(seed)
    at, client = np.repeat(np.arange(n_slices), n_clients), np.tile(np.arange(n_clients), n_slices)
    hour = rng.normal(size=n_slices)[at]  # what all requests of a slice share
    costs = {
        "learned": 10.0 + hour + noise * rng.normal(size=len(at)),
        "random": 10.0 + effect + hour + noise * rng.normal(size=len(at)),
        "oracle": 5.0 + hour,
    }
    picks = {
        name: Picks(np.zeros(len(at), np.int32), np.ones(len(at), np.bool_), cost.astype(np.float32))
        for name, cost in costs.items()
    }
    nobody = Entities(ids=np.arange(1), columns={})
    series = Series(
        np.arange(n_slices, dtype=np.float64),
        np.bincount(at),
        {name: np.bincount(at, cost) for name, cost in costs.items()},
    )
    return Comparison(
        data="", spec="", model="", n=len(at), policies=scores(picks, {}), picks=picks, client=client.astype(np.int32),
        slice=at.astype(np.int32),
        request={}, series=series, unit="", predicted={}, observed={}, clients=nobody, nodes=nobody,
    )  # fmt: skip


def test_intervals_hold_the_true_difference_about_as_often_as_they_say():
    found = [intervals(comparison(60, 5, effect=0.3, seed=seed)).difference["random"] for seed in range(200)]
    assert 0.88 <= np.mean([one.low <= 0.3 <= one.high for one in found]) <= 0.99


def test_what_all_requests_of_a_slice_share_makes_means_less_sure_and_differences_not():
    found = intervals(comparison(60, 50))
    mean, difference = found.mean["learned"], found.difference["random"]
    assert mean.high - mean.low > 3 * (difference.high - difference.low)
    assert difference.low > 0.0


def test_whichever_there_are_more_of_are_drawn():
    assert (intervals(comparison(30, 12)).groups, intervals(comparison(30, 12)).n) == ("slices", 30)
    assert (intervals(comparison(9, 40)).groups, intervals(comparison(9, 40)).n) == ("clients", 40)


def test_too_few_groups_tell_nothing():
    assert intervals(comparison(3, 4)) is None


def test_the_same_comparison_has_the_same_intervals():
    one = comparison(20, 4)
    assert intervals(one) == intervals(dataclasses.replace(one))


def test_an_effect_that_is_none_is_not_told_from_chance():
    difference = intervals(comparison(60, 5, effect=0.0)).difference["random"]
    assert difference.low < 0.0 < difference.high
    assert difference.high == pytest.approx(-difference.low, rel=3.0)

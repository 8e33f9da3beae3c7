"""Intervals of an evaluation, by drawing clients and slices anew."""

import dataclasses

import numpy as np
import pytest

from training.evaluation.intervals import intervals, sureness
from training.evaluation.metrics import Picks, scores
from training.evaluation.results import Comparison, Series
from training.evaluation.seeds import pooled
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


@pytest.mark.slow
def test_intervals_hold_the_true_difference_about_as_often_as_they_say():
    found = [intervals(comparison(60, 5, effect=0.3, seed=seed)).difference["random"] for seed in range(60)]
    assert 0.85 <= np.mean([one.low <= 0.3 <= one.high for one in found]) <= 1.0


def test_what_all_requests_of_a_slice_share_makes_means_less_sure_and_differences_not():
    found = intervals(comparison(60, 50))
    mean, difference = found.mean["learned"], found.difference["random"]
    assert mean.high - mean.low > 3 * (difference.high - difference.low)
    assert difference.low > 0.0


def test_what_clients_share_counts_beside_what_slices_share():
    """By whichever there are more of, the 60 slices, what 6 clients have in common would not show."""
    rng = np.random.default_rng(1)
    made = comparison(60, 6, effect=0.0, noise=0.1)
    place = 3.0 * rng.normal(size=6)[made.client]
    picks = made.picks | {"random": made.picks["random"]._replace(cost=made.picks["random"].cost + place)}
    found = intervals(dataclasses.replace(made, picks=picks)).difference["random"]
    assert found.half > 1.5
    assert found.low < 0.0 < found.high


def test_of_a_single_client_its_slices_are_drawn_with_their_own_degrees_of_freedom():
    made = comparison(5, 1)
    found = intervals(made)
    assert (found.n_slices, found.n_clients) == (5, 1)
    more = made.picks["random"].cost.astype(np.float64) - made.picks["learned"].cost
    assert found.difference["random"].half == pytest.approx(2.776 * more.std(ddof=1) / np.sqrt(5), rel=0.15)


def test_a_single_slice_says_nothing_of_others():
    """Fifty clients in one slice share its luck, so their number makes no interval for other slices."""
    made = comparison(1, 50)
    assert intervals(made) is None
    assert intervals(comparison(1, 1)) is None
    assert sureness(made, None) == "Intervals: none, because one slice does not say how others differ"


def test_the_same_comparison_has_the_same_intervals():
    one = comparison(20, 4)
    assert intervals(one) == intervals(dataclasses.replace(one))


def test_an_effect_that_is_none_is_not_told_from_chance():
    difference = intervals(comparison(60, 5, effect=0.0)).difference["random"]
    assert difference.low < 0.0 < difference.high
    assert difference.high == pytest.approx(-difference.low, rel=3.0)


def test_what_trainings_vary_is_in_the_interval():
    """Five runs of the same requests whose model is better by 1 on average, and by 0 to 2 in each."""
    runs = [comparison(40, 10, effect=effect, noise=0.1, seed=1) for effect in (0.0, 0.5, 1.0, 1.5, 2.0)]
    one, all_five = intervals(runs[2]).difference["random"], intervals(pooled(runs)).difference["random"]
    assert one.half < 0.1
    assert all_five.value == pytest.approx(1.0, abs=0.05)
    assert all_five.half == pytest.approx(2.776 * np.std([0, 0.5, 1, 1.5, 2], ddof=1) / np.sqrt(5), rel=0.05)


@pytest.mark.parametrize(
    ("effect", "words"), [(1.0, "above learned in the mean cost, by more than chance"), (0.0, "cannot be told")]
)
def test_the_lead_is_said_with_its_interval(effect, words):
    made = comparison(60, 8, effect=effect)
    said = sureness(made, intervals(made))
    assert said.startswith("random is ")
    assert words in said


def test_equal_costs_are_said_to_be_equal():
    made = comparison(60, 8)
    picks = dict.fromkeys(made.picks, made.picks["learned"])
    made = dataclasses.replace(made, picks=picks, policies=scores(picks, {}))
    said = sureness(made, intervals(made))
    assert said.startswith("random equals learned in the mean cost; random equals learned in the mean log (95 %")


def test_the_lead_in_the_log_has_its_own_interval_and_its_own_best_baseline():
    """A policy that is rarely far above the others is behind in the mean and ahead in the log."""
    made = comparison(60, 8, effect=0.5, noise=0.1)
    rare = np.where(np.arange(made.n) % 20 == 0, 100.0, 8.0).astype(np.float32)
    picks = made.picks | {"often": made.picks["random"]._replace(cost=rare)}
    made = dataclasses.replace(made, picks=picks, policies=scores(picks, {}))
    found = intervals(made)
    logs = {name: np.log(np.maximum(one.cost.astype(np.float64), 1.0)).mean() for name, one in picks.items()}
    assert found.difference["often"].value > 0.0 > found.difference_log["often"].value
    assert found.difference_log["often"].value == pytest.approx(logs["often"] - logs["learned"], abs=1e-9)
    assert found.difference_log["random"].low > 0.0
    mean, log = sureness(made, found).split("; ")
    assert mean.startswith("random is 0.")
    assert log.startswith("often is 0.")
    assert "below learned in the mean log" in log

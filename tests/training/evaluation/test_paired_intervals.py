"""Intervals by resampling whole clients and slices hold what they promise, and verdicts follow from them."""

import numpy as np
import pytest

from scheduler.spec import PromotionRules
from training.evaluation.metrics import Picks
from training.evaluation.paired_intervals import MOST_CLIENTS, MOST_SLICES, Interval, cell_sums, interval
from training.evaluation.verdict import (
    Asked,
    Verdict,
    combined,
    judge,
    needed,
    percent,
    percent_range,
    relative,
    tail_threshold,
    untold,
)

RULES = PromotionRules()


def grid(n_clients=20, n_slices=8, each=5):
    """Return clients and slices of requests, each client asking in each slice."""
    client = np.tile(np.repeat(np.arange(n_clients), each), n_slices)
    return client, np.repeat(np.arange(n_slices), n_clients * each)


def picks(cost, ok=None):
    cost = np.asarray(cost, np.float32)
    return Picks(np.zeros(cost.size, np.int32), np.ones(cost.size, np.bool_) if ok is None else ok, cost)


def noisy(seed, *, gain=0.0, of_clients=0.0, of_slices=0.0, size=(20, 8, 5)):
    """Return requests and the costs of two versions, the new one cheaper by a share in the mean over many worlds."""
    rng = np.random.default_rng(seed)
    client, slices = grid(*size)
    old = 100.0 * rng.lognormal(0.0, 0.5, client.size)
    by_client = of_clients * rng.normal(size=size[0])[client]
    by_slice = of_slices * rng.normal(size=size[1])[slices]
    new = old * (1.0 - gain + by_client + by_slice) + 10.0 * rng.normal(size=old.size)
    return Asked(client, slices, seed), picks(new), picks(old)


def test_sums_are_by_client_and_slice_and_large_data_is_grouped_into_neighbouring_slices():
    client, slices = grid(3, 4, 2)
    cells = cell_sums(np.stack([np.ones(24), client.astype(float)]), client, slices)
    np.testing.assert_array_equal(cells[0], np.full((3, 4), 2.0))
    np.testing.assert_array_equal(cells[1], 2.0 * np.arange(3.0)[:, None] * np.ones(4))
    many = np.arange(3 * MOST_SLICES)
    grouped = cell_sums(np.stack([many.astype(float)]), many % (2 * MOST_CLIENTS), many)
    assert grouped.shape[1:] == (MOST_CLIENTS, MOST_SLICES)
    np.testing.assert_allclose(grouped[0].sum(axis=0)[:2], [0 + 1 + 2, 3 + 4 + 5])


@pytest.mark.slow
@pytest.mark.parametrize(
    "variation", [{}, {"of_clients": 0.1}, {"of_slices": 0.1}, {"of_clients": 0.1, "of_slices": 0.1}]
)
def test_an_interval_holds_the_truth_as_often_as_it_says(variation):
    held = 0
    for seed in range(100):
        asked, new, old = noisy(seed, **variation)
        found = interval(np.stack([new.cost - old.cost, old.cost]).astype(float), asked.client, asked.slice, seed=seed)
        held += found.low <= 0.0 <= found.high
    assert held >= 89  # of 100 at 95 %: fewer have a chance of 1 in 100


def test_requests_of_one_slice_are_no_independent_evidence():
    """By single requests this difference would be certain: its standard error would be a tenth of it."""
    asked, new, old = noisy(3, gain=0.05, of_slices=0.15, size=(20, 4, 50))
    columns = np.stack([new.cost - old.cost, old.cost]).astype(float)
    single = (new.cost - old.cost).std() / np.sqrt(new.cost.size) / old.cost.mean()
    assert interval(columns, asked.client, asked.slice).half > 4.0 * single


def test_one_slice_gives_no_bounds_and_no_verdict():
    asked, new, old = noisy(0, gain=0.5, size=(20, 1, 5))
    found = interval(np.stack([new.cost, old.cost]).astype(float), asked.client, asked.slice)
    assert (found.low, found.high) == (-np.inf, np.inf)
    verdict = judge(asked, new, old, RULES)
    assert (verdict.outcome, verdict.more) == ("cannot be told", None)
    assert "of one slice, so without an interval" in verdict.reason
    assert verdict.reason.endswith("; more slices would tell")


def test_one_client_is_judged_by_its_slices_alone():
    asked, new, old = noisy(0, gain=0.5, size=(1, 30, 5))
    columns = np.stack([new.cost - old.cost, old.cost]).astype(float)
    found = interval(columns, asked.client, asked.slice)
    means = columns.reshape(2, 30, 5).sum(axis=2)
    assert found.half == pytest.approx(
        2.045 * (means[0] - found.value * means[1]).std(ddof=1) / means[1].mean() / 30**0.5, rel=0.1
    )
    assert judge(asked, new, old, RULES).outcome == "better"


def test_a_model_that_is_clearly_better_is_better_and_the_other_way_round_not():
    asked, new, old = noisy(1, gain=0.1)
    assert judge(asked, new, old, RULES).outcome == "better"
    assert judge(asked, old, new, RULES).outcome == "not better"


def test_the_same_picks_are_not_better():
    asked, _, old = noisy(1)
    assert judge(asked, old, old, RULES).outcome == "not better"


def test_a_gain_below_the_margin_is_not_better():
    asked, new, old = noisy(1, gain=0.03, size=(40, 40, 10))
    assert judge(asked, new, old, RULES).outcome == "better"
    assert judge(asked, new, old, PromotionRules(margin=0.05)).outcome == "not better"


def test_what_cannot_be_told_says_how_many_decisions_would_tell_and_they_do():
    asked, new, old = noisy(9, gain=0.02, of_slices=0.02)
    verdict = judge(asked, new, old, RULES)
    assert verdict.outcome == "cannot be told"
    assert f"about {verdict.more:,} more decisions would tell" in verdict.reason
    few, many = (noisy(5, gain=0.03, of_slices=0.05, size=(20, n, 5)) for n in (4, 400))
    assert judge(*few, RULES).outcome == "cannot be told"
    assert judge(*many, RULES).outcome == "better"


def test_nobody_is_asked_for_more_decisions_than_a_hundred_times_as_many():
    assert needed(Interval(-0.03, -0.05, -0.01), -0.01, 1_000) == 1
    assert needed(Interval(-0.03, -0.07, 0.01), -0.01, 1_000) == 3_000
    assert needed(Interval(-0.0101, -0.07, 0.05), -0.01, 1_000) is None


def test_failures_that_rise_by_more_than_chance_keep_the_champion_whatever_the_cost():
    asked, new, old = noisy(1, gain=0.2)
    rng = np.random.default_rng(0)
    failing = picks(new.cost, rng.random(new.cost.size) > 0.05)
    verdict = judge(asked, failing, old, RULES)
    assert verdict.outcome == "not better"
    assert "worse by more than chance" in verdict.reason


def test_a_tail_that_rises_keeps_the_champion():
    asked, new, old = noisy(1, gain=0.2)
    slow = np.random.default_rng(0).random(new.cost.size) < 0.12
    long = picks(np.where(slow, 1.5 * np.quantile(old.cost, 0.95), 0.3 * new.cost))
    verdict = judge(asked, long, old, RULES)
    assert long.cost.mean() < 0.9 * old.cost.mean()
    assert verdict.outcome == "not better"
    assert "requests that cost over" in verdict.reason


def test_costs_that_are_mostly_nothing_have_an_interval():
    """Half of the resamples of three slices have no cost at all, of which no share can be taken."""
    client, slices = grid(6, 3, 4)
    old = np.where(slices == 1, 10.0, 0.0)
    found = relative(Asked(client, slices), 1.2 * old, old, 0.95)
    assert found.value == pytest.approx(0.2)
    assert np.isfinite([found.low, found.high]).all()
    assert relative(Asked(client, slices), 0.0 * old, 0.0 * old, 0.95) == Interval(0.0, 0.0, 0.0)
    assert judge(Asked(client, slices), picks(old), picks(0.0 * old), RULES).outcome == "not better"


def test_a_champion_that_fails_often_has_a_tail_too():
    """With its failures among them, nothing would cost more than the dearest twentieth of its requests."""
    asked, _, old = noisy(1)
    rng = np.random.default_rng(0)
    ok = rng.random(old.cost.size) > 0.06
    slow = ok & (rng.random(old.cost.size) < 0.1)
    champion = picks(np.where(ok, old.cost, 4_000.0), ok)
    long = picks(np.where(slow, 3_999.0, np.where(ok, 0.1, 0.9) * champion.cost), ok)
    verdict = judge(asked, long, champion, PromotionRules(margin=0.0))
    assert verdict.outcome == "not better"
    assert "worse by more than chance" in verdict.reason.partition("requests that cost over")[2]


def test_the_tail_is_what_the_champion_would_have_had():
    cost, ok = np.arange(100.0), np.ones(100, np.bool_)
    assert tail_threshold(cost, ok) == 94.0
    assert tail_threshold(cost, cost < 50.0) == 47.0
    assert tail_threshold(cost, ~ok) == 94.0
    assert tail_threshold(cost, ok, np.where(cost < 20.0, 1.0, 0.0)) == 18.0
    assert ok.all()


def test_a_guardrail_that_may_be_broken_by_chance_cannot_be_told():
    asked, new, old = noisy(1, gain=0.2)
    ok = np.ones(new.cost.size, np.bool_)
    ok[:3] = False  # three of 800, in one client and one slice
    verdict = judge(asked, picks(new.cost, ok), old, RULES)
    assert verdict.outcome == "cannot be told"
    assert "maybe by chance" in verdict.reason
    assert verdict.reason.endswith(f"; about {verdict.more:,} more decisions would tell")
    assert judge(asked, picks(new.cost, ok), old, PromotionRules(failures=0.01)).outcome == "better"


def test_of_several_things_that_cannot_be_told_the_one_that_takes_longest_counts():
    assert untold("words", [7, 1_000]) == Verdict(
        "cannot be told", "words; about 1,000 more decisions would tell", 1_000
    )
    assert untold("words", [7, None]).more is None


def test_changes_are_told_with_their_interval():
    found = Interval(0.0634, 0.04, 0.0911)
    assert (percent(found), percent_range(found)) == ("+6.3 % (+4.0 to +9.1 %)", "4 to 9.1 %")
    assert combined(found, "cost", [], 0.01, 9) == Verdict("not better", "cost")


@pytest.mark.slow
def test_two_trainings_of_one_kind_are_rarely_promoted_over_each_other():
    """A hundred contests of two versions that differ by the chance of their training, half a percent of the cost."""
    promoted = 0
    for seed in range(100):
        luck = 0.005 * np.random.default_rng([seed, 1]).normal()
        asked, new, old = noisy(seed, gain=luck, of_clients=0.05, of_slices=0.03)
        promoted += judge(asked, new, old, RULES).outcome == "better"
    assert promoted <= 5


def test_clients_that_never_ask_in_the_same_slice_leave_most_cells_empty():
    """Of nine cells three have requests, and a resample of empty ones alone has no mean."""
    at = np.array([0, 1, 2], np.int32)
    found = interval(np.array([[1.0, 2.0, 4.0], np.ones(3)]), at, at)
    assert found.value == pytest.approx(7 / 3)
    assert np.isfinite([found.low, found.high]).all()

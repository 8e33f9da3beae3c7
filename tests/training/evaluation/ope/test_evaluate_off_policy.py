"""Estimates of a target policy on simulated logs whose truth is known."""

import numpy as np
import pytest

from scheduler.errors import DataError
from training.evaluation.ope.decisions import LoggedCandidates, LoggedDecisions
from training.evaluation.ope.direct_model import cross_fitted
from training.evaluation.ope.evaluate import default_clip, evaluate_off_policy

ACTIONS = 5


def simulated(n=4_000, seed=0, epsilon=0.2):
    """Return a log that mostly draws by its own taste, for a target that draws by need, and what the target costs."""
    rng = np.random.default_rng(seed)
    need, taste = rng.integers(ACTIONS, size=n), rng.integers(ACTIONS, size=n)
    logging = np.full((n, ACTIONS), epsilon / ACTIONS)
    logging[np.arange(n), taste] += 1.0 - epsilon
    action = (logging.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    away = np.abs(np.arange(ACTIONS) - need[:, None])
    target = np.where(away == 0, 0.9, 0.1 / (ACTIONS - 1))
    cost = 10.0 + 5.0 * away[np.arange(n), action] + rng.exponential(5.0, n)
    begin = ACTIONS * np.arange(n + 1)
    x = np.column_stack([np.tile(np.arange(ACTIONS), n), np.repeat(need, ACTIONS)]).astype(np.float32)
    log = LoggedDecisions(
        cost=cost,
        propensity=logging[np.arange(n), action],
        target=target[np.arange(n), action],
        client=rng.integers(40, size=n),
        slice=np.arange(n) // (n // 20),
        candidates=LoggedCandidates(begin, begin[:-1] + action, x, target.ravel(), logging.ravel()),
    )
    return log, float((target * (15.0 + 5.0 * away)).sum(axis=1).mean())


@pytest.mark.slow
def test_every_estimate_but_that_of_the_model_alone_holds_the_truth():
    log, truth = simulated()
    found = evaluate_off_policy(log)
    assert found.refused is None
    assert found.best == "dr"
    assert found.estimates.keys() == found.change.keys() == {"ips", "snips", "dm", "dr", "switch_dr"}
    for name in ("ips", "snips", "dr", "switch_dr"):
        assert found.estimates[name].low < truth < found.estimates[name].high, name
    assert found.estimates["dm"].value == pytest.approx(truth, rel=0.03)
    assert found.change["dr"].high < 0.0
    assert found.change["dr"].value == pytest.approx(found.estimates["dr"].value / found.logged.value - 1.0)
    assert found.support.calibration.wrong() == -1


@pytest.mark.slow
def test_a_model_of_the_cost_narrows_the_interval():
    found = evaluate_off_policy(simulated()[0])
    assert found.estimates["dr"].half < 0.9 * found.estimates["ips"].half


@pytest.mark.slow
def test_intervals_cover_about_as_often_as_they_say():
    hits = dict.fromkeys(("ips", "snips", "dr"), 0)
    for seed in range(40):
        log, truth = simulated(1_500, seed, epsilon=0.5)
        found = evaluate_off_policy(log, seed=seed).estimates
        for name in hits:
            hits[name] += found[name].low <= truth <= found[name].high
    assert min(hits.values()) >= 34  # of 40, at 95 % with a probability of 0.99


def test_without_features_there_is_no_model_and_the_self_normalised_estimate_counts():
    log, truth = simulated()
    found = evaluate_off_policy(log._replace(candidates=None))
    assert (found.best, set(found.estimates)) == ("snips", {"ips", "snips"})
    assert found.estimates["snips"].low < truth < found.estimates["snips"].high
    assert np.isnan(found.threshold)


def test_a_target_without_support_gets_the_reason_and_no_estimate():
    log, _ = simulated()
    found = evaluate_off_policy(log._replace(target=np.where(log.target > 0.5, 0.0, log.target)))
    assert found.estimates == found.change == {}
    assert "the log lacks what the model would choose" in found.refused
    plain = found.to_json()
    assert plain["refused"] == found.refused
    assert plain["switch_threshold"] is None


def test_wrong_propensities_of_candidates_are_refused():
    log, _ = simulated()
    logging = np.full(log.candidates.logging.size, 1.0 / ACTIONS)
    logging[::ACTIONS] *= 2.0
    found = evaluate_off_policy(log._replace(candidates=log.candidates._replace(logging=logging)))
    assert "the propensities are wrong" in found.refused


@pytest.mark.slow
def test_weights_are_cut_at_the_root_of_the_number_of_decisions_unless_said_otherwise():
    log, _ = simulated(2_500)
    assert evaluate_off_policy(log).clip == default_clip(2_500) == 50.0
    assert evaluate_off_policy(log, clip=30.0).support.largest <= 30.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"propensity": np.zeros(4_000)}, "propensity: expected numbers above 0 and at most 1, found 0"),
        ({"target": np.full(4_000, 1.5)}, "target: expected numbers from 0 to 1, found 1.5"),
        ({"cost": np.full(4_000, np.nan)}, "expected finite costs, found 4000 others"),
        (dict.fromkeys(("cost", "propensity", "target", "client", "slice"), np.zeros(0)), "expected decisions with"),
    ],
)
def test_numbers_that_cannot_be_are_refused_by_name(change, message):
    with pytest.raises(DataError, match=message):
        evaluate_off_policy(simulated()[0]._replace(**change))


def test_no_decision_is_predicted_by_a_model_that_has_seen_it():
    """Costs are pure luck, and each row can be told from all others: a model that saw its own row would know it."""
    rng = np.random.default_rng(0)
    n = 2_000
    cost, begin = rng.normal(0.0, 1.0, n), np.arange(n + 1)
    one = LoggedCandidates(begin, begin[:-1], np.arange(n, dtype=np.float32)[:, None], np.ones(n))
    found = cross_fitted(cost, one)
    assert abs(np.corrcoef(found.predicted, cost)[0, 1]) < 0.1
    assert found.expected.tolist() == found.predicted.tolist()


def test_a_few_decisions_are_predicted_by_their_mean():
    cost, begin = np.array([1.0, 2.0, 6.0]), np.arange(4)
    found = cross_fitted(cost, LoggedCandidates(begin, begin[:-1], np.zeros((3, 1), np.float32), np.ones(3)))
    assert found.predicted.tolist() == found.expected.tolist() == [3.0] * 3


@pytest.mark.parametrize("n_known", [0, 1, 30])
def test_features_that_hardly_any_decision_knows_do_not_stop_the_model(n_known):
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=300), np.full(300, np.nan)]).astype(np.float32)
    x[:n_known, 1] = 1.0
    cost = np.exp(x[:, 0]).astype(np.float64)
    begin = np.arange(301)
    found = cross_fitted(cost, LoggedCandidates(begin, begin[:-1], x, np.ones(300)))
    assert np.corrcoef(found.predicted, cost)[0, 1] > 0.8
    blind = cross_fitted(cost, LoggedCandidates(begin, begin[:-1], np.full_like(x, np.nan), np.ones(300)))
    np.testing.assert_allclose(blind.predicted, cost.mean(), rtol=0.2)

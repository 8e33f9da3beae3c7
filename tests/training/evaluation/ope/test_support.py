"""Support: thin or missing support, and propensities that do not fit the log, are refused with the reason."""

import numpy as np
import pytest

from training.evaluation.ope.support import calibration, effective_size, refusal, support_of


def test_effective_size_counts_equal_weights_whole_and_one_large_weight_as_one():
    assert effective_size(np.ones(50)) == pytest.approx(50.0)
    assert effective_size(np.array([1e6, *[1.0] * 50])) == pytest.approx(1.0, rel=1e-3)
    assert effective_size(np.zeros(5)) == 0.0


def drawn_from(chance, target, n=20_000, seed=0, told=None):
    """Return weights of draws by ``chance``, for ``target``; ``told`` are the propensities that the log states."""
    rng = np.random.default_rng(seed)
    action = rng.choice(len(chance), n, p=chance)
    stated = np.asarray(chance if told is None else told)
    return np.asarray(target)[action] / stated[action], action


def test_a_log_that_draws_all_that_the_target_draws_is_not_refused():
    weight, _ = drawn_from([0.5, 0.3, 0.2], [0.1, 0.1, 0.8])
    found = support_of(weight)
    assert refusal(found) is None
    assert found.overlap.low < 1.0 < found.overlap.high
    assert found.matched == 1.0
    assert found.largest == pytest.approx(4.0)
    assert 0.01 < found.in_largest < 0.05


def test_a_log_without_what_the_target_mostly_draws_is_refused():
    weight, _ = drawn_from([0.6, 0.4, 0.0], [0.2, 0.1, 0.7], told=[0.6, 0.4, 1.0])
    assert "the log lacks what the model would choose: expected weights of mean 1, found 0.30" in refusal(
        support_of(weight)
    )


def test_a_handful_of_weights_is_refused():
    weight, _ = drawn_from([0.999, 0.001], [0.0, 1.0])
    found = support_of(weight)
    assert found.effective < 40
    assert refusal(found).startswith("support is too thin: expected weights worth at least 100 decisions, found ")
    assert refusal(found, least=10.0) is None


def test_weights_that_clipping_leaves_too_little_of_are_refused():
    weight, _ = drawn_from([0.99, 0.01], [0.3, 0.7])
    assert refusal(support_of(weight)) is None
    found = support_of(weight, clip=5.0)
    assert found.clipped == pytest.approx(0.01, abs=0.003)
    assert "are cut off" in refusal(found)


def test_propensities_that_are_too_low_are_refused():
    weight, _ = drawn_from([0.5, 0.5], [0.5, 0.5], told=[0.3, 0.3])
    assert refusal(support_of(weight)).startswith("the propensities do not fit the log: expected weights of mean 1")


def test_frequencies_that_differ_from_the_stated_probabilities_by_more_than_chance_are_refused():
    chance = np.array([0.6, 0.3, 0.1])
    _, action = drawn_from(chance, chance)
    happened = (action[:, None] == np.arange(3)).ravel()
    right = calibration(np.tile(chance, action.size), happened)
    assert np.abs(right.z).max() < 4.0
    assert right.predicted.sum() == pytest.approx(action.size)
    assert right.wrong() == -1
    wrong = calibration(np.tile([0.4, 0.4, 0.2], action.size), happened)
    assert wrong.wrong() >= 0
    weight = np.ones(action.size)
    assert refusal(support_of(weight, calibrated=right)) is None
    assert refusal(support_of(weight, calibrated=wrong)).startswith("the propensities are wrong: expected ")

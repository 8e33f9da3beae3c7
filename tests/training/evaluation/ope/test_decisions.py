"""Recorded decisions, one by one, become the columns that estimators take."""

import numpy as np

from training.evaluation.ope.decisions import JudgedDecision, joined_decisions


def one(chosen, m, *, logging=True):
    first = np.arange(1.0, m + 1.0) / np.arange(1.0, m + 1.0).sum()
    x = np.full((m, 2), float(m), np.float32)
    return JudgedDecision(10.0 * m, m, 7, np.array(chosen), 0.5, first[chosen[0]], x, first, first if logging else None)


def test_candidates_of_all_decisions_follow_each_other():
    found = joined_decisions([one([2], 3), one([0], 2)])
    assert found.cost.tolist() == [30.0, 20.0]
    assert (found.client.tolist(), found.slice.tolist()) == ([3, 2], [7, 7])
    assert found.propensity.tolist() == [0.5, 0.5]
    assert found.candidates.begin.tolist() == [0, 3, 5]
    assert found.candidates.chosen.tolist() == [2, 3]
    assert found.candidates.target[found.candidates.chosen].tolist() == found.target.tolist()
    assert found.candidates.logging.tolist() == found.candidates.target.tolist()
    assert found.candidates.x[:, 0].tolist() == [3.0, 3.0, 3.0, 2.0, 2.0]


def test_probabilities_of_the_log_count_only_where_all_are_known():
    assert joined_decisions([one([0], 2), one([0], 2, logging=False)]).candidates.logging is None


def test_slates_of_several_nodes_have_no_candidates():
    found = joined_decisions([one([0], 2), one([1, 0], 3)])
    assert found.candidates is None
    assert found.target.size == 2

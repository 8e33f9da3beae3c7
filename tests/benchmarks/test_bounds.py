"""Policies that know more than a scheduler may: what they know, and what they must not."""

from types import SimpleNamespace as Figures

import numpy as np
import pytest

from benchmarks.bounds import COST, LOG, Hindsight, Told, compared, regrets, shown
from scheduler import Model
from tests import evaluation_world as world
from training.evaluation.measured_requests import measured_requests
from training.evaluation.runner import question_of
from training.policies import Learned

TELEMETRY = world.telemetry(2_000)
START = 40


def batches(start: int = START):
    return measured_requests(TELEMETRY, world.SPEC, start=start, requests=2, candidates=4, seed=0)


def mean_of_others(client: int, node: int, drawn: float, figure: str) -> float:
    """Return the mean over a pair's rows without one that cost so much."""
    costs = TELEMETRY.outcomes["cost"][(TELEMETRY.client == client) & (TELEMETRY.node == node)].tolist()
    costs.remove(drawn)
    return float(np.mean(np.log1p(costs) if figure == LOG else costs))


@pytest.mark.parametrize("figure", [COST, LOG])
def test_hindsight_picks_by_all_rows_of_a_pair_but_the_one_that_is_drawn(figure):
    policy, n = Hindsight(world.setting(), TELEMETRY, figure), 0
    for one in shown(batches(), [policy]):
        columns = policy.pick(question_of(one, 0))
        for i, column in enumerate(columns):
            real = [c for c in range(one.candidates.shape[1]) if one.candidates[i, c] >= 0]
            means = [mean_of_others(one.client[i], one.candidates[i, c], float(one.cost[i, c]), figure) for c in real]
            assert means[real.index(column)] == pytest.approx(min(means))
            n += 1
    assert n > 50


def test_hindsight_without_the_batch_says_so():
    one = next(batches())
    with pytest.raises(RuntimeError, match="expected the batch"):
        Hindsight(world.setting(), TELEMETRY, COST).pick(question_of(one, 0))


@pytest.mark.slow
def test_the_model_is_told_all_slices_that_are_over_and_nothing_of_the_present_one(tmp_path):
    model = Model.load(world.write_model(tmp_path / "tiny-1"))
    told = Told(world.setting(), model, TELEMETRY, START)
    told.warm(TELEMETRY.where(TELEMETRY.slice < START))
    for one in shown(batches(), [told]):
        question = question_of(one, 0)
        told.pick(question)
        if one.slice % 7 == 0:
            knows = Learned(world.setting(), model)
            knows.warm(TELEMETRY.where(TELEMETRY.slice < one.slice))
            knows.pick(question)  # reports the state of the nodes
            np.testing.assert_array_equal(told.features(question), knows.features(question))


@pytest.mark.slow
def test_all_decide_the_same_requests_and_ratios_are_to_the_best_baseline(tmp_path):
    model = Model.load(world.write_model(tmp_path / "tiny-1"))
    run = compared(TELEMETRY, world.setting(), model, model, start=START, without=["vowpal_wabbit"])
    assert {"learned", "told all", "hindsight, mean", "hindsight, mean_log", "oracle"} <= run.policies.keys()
    assert all(score.mean >= run.policies["oracle"].mean for score in run.policies.values())
    costs = {"oracle": 10.0, "pair_average": 14.0, "random": 30.0, "learned": 12.0, "told all": 11.0}
    found = regrets(Figures(policies={name: Figures(mean=cost) for name, cost in costs.items()}), "mean")
    assert found["told all"] == (1.0, 0.25)
    assert found["pair_average"] == (4.0, 1.0)

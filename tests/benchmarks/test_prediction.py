"""The prediction benchmark on a made-up matrix whose truth is known."""

import numpy as np
import pytest

from benchmarks.prediction import features, predictor
from benchmarks.prediction.lowrank import BIAS_RIDGE, SATURATION, complete, new_factors
from benchmarks.prediction.protocol import Cells, draw, judge
from benchmarks.prediction.rivals import amf, service_mean

SHAPE = (60, 15)


def world(n_slices=4, density=0.3):
    """Seconds whose logarithm is of rank two and steady over time, with a little noise; some cells never measured."""
    rng = np.random.default_rng(3)
    level = rng.normal(-1.0, 0.7, (60, 1)) + rng.normal(0.0, 0.4, (1, 15))
    truth = level + rng.normal(0.0, 0.5, (60, 2)) @ rng.normal(0.0, 0.7, (2, 15))
    at = np.flatnonzero(rng.random(900) < 0.9)
    slices = [
        Cells(at, np.exp(truth + rng.normal(0.0, 0.05, SHAPE)).clip(0.01, 19.0).flat[at]) for _ in range(n_slices)
    ]
    return [draw(cells, SHAPE, density, rng) for cells in slices]


def test_a_draw_has_the_density_and_asks_for_the_rest_of_what_it_has_seen():
    cells = Cells(np.arange(900), np.arange(900.0))
    train, test = draw(cells, SHAPE, 0.05, np.random.default_rng(0))
    assert train.at.size == 45
    assert not set(train.at) & set(test.at)
    services, clients = set(train.at // 15), set(train.at % 15)
    expected = {a for a in range(900) if a // 15 in services and a % 15 in clients} - set(train.at)
    assert set(test.at) == expected
    assert np.array_equal(test.seconds, test.at)


def test_the_errors_are_those_of_the_protocol():
    figures = judge(np.array([1.0, 2.0, 4.0, 1.0]), np.array([2.0, 2.0, 2.0, 1.0]))
    assert figures == pytest.approx((0.75, 0.375, np.sqrt(5 / 4), 0.25, 0.85))


def _solved(weight, total, others, ridges, middle):
    """Least squares of one row, as plain as can be."""
    seen = weight > 0
    count = weight[seen] / (1 + SATURATION * weight[seen])
    x = np.c_[np.ones(seen.sum()), others[seen, 1:]]
    y = total[seen] / weight[seen] - middle - others[seen, 0]
    return np.linalg.solve(x.T * count @ x + np.diag(ridges), x.T * count @ y)


@pytest.mark.slow
def test_a_known_cell_is_predicted_as_if_service_and_client_had_been_solved_without_it():
    rng = np.random.default_rng(1)
    known = rng.random(SHAPE) < 0.4
    values = np.where(known, rng.normal(1.0, 1.0, SHAPE), 0.0)
    weight = np.where(rng.random(SHAPE) < 0.5, rng.random(SHAPE), 0.0)
    total = weight * rng.normal(1.0, 1.0, SHAPE)
    factors = new_factors(SHAPE, 3, rng)
    got = complete(factors, (weight, total), values, known, 2.0, 2)
    middle = (total + values).sum() / (weight + known).sum()
    services, clients = factors
    for i, j in np.argwhere(known)[:40]:
        w, t = weight + known, total + values
        w[i, j], t[i, j] = weight[i, j], total[i, j]
        service = _solved(w[i], t[i], clients, [BIAS_RIDGE, 2.0, 2.0, 2.0], middle)
        client = _solved(w[:, j], t[:, j], services, [2.0] * 4, middle)
        expected = middle + service[0] + client[0] + service[1:] @ client[1:]
        assert got[i, j] == pytest.approx(expected, rel=1e-8)


@pytest.mark.slow
def test_no_input_of_a_training_cell_holds_the_cells_own_value_but_through_a_former_solution():
    known = [train for train, _ in world()]
    place, other = known[2].at[0], known[2].at[1]
    changed = [*known[:2], Cells(known[2].at, known[2].seconds.copy()), *known[3:]]
    changed[2].seconds[0] *= 1.01

    def inputs(cells):
        describer = features.Describer(cells, SHAPE, np.random.default_rng(0), online=True)
        return [describer.describe(t) for t in range(3)][2]

    before, after = inputs(known), inputs(changed)
    assert before["service_log"].flat[place] == pytest.approx(after["service_log"].flat[place], abs=1e-3)
    for name in ("pair_0.8", "weight_0.8", "pair_plain"):
        assert np.array_equal(before[name], after[name], equal_nan=True)
    moved = {n: abs(after[n].flat[place] - before[n].flat[place]) for n in features.COMPLETIONS}
    assert max(moved.values()) < 0.01 * 0.01
    assert before["client_log"].flat[other] != after["client_log"].flat[other] or place % 15 != other % 15


@pytest.mark.slow
def test_online_predictions_do_not_depend_on_later_slices(monkeypatch):
    monkeypatch.setattr(predictor, "ROUNDS", 10)
    drawn = world()
    known, asked = [a for a, _ in drawn], [b.at for _, b in drawn]
    later = [*known[:2], *(Cells(one.at, one.seconds * 3.0) for one in known[2:])]
    one, two = (predictor.predict(cells, asked, SHAPE, 0, online=True) for cells in (known, later))
    assert np.array_equal(one[0], two[0])
    assert np.array_equal(one[1], two[1])
    assert not np.array_equal(one[3], two[3])


@pytest.mark.slow
def test_on_a_world_of_low_rank_the_predictor_beats_factorisation_and_that_beats_the_service_mean(monkeypatch):
    monkeypatch.setitem(predictor.TREES, "min_data_in_leaf", 10)
    drawn = world(8)
    known, asked = [a for a, _ in drawn], [b.at for _, b in drawn]

    def error(predicted):
        return np.mean([judge(test.seconds, p).mae_s for (_, test), p in zip(drawn, predicted, strict=True)])

    own = error(predictor.predict(known, asked, SHAPE, 0, online=False))
    rivals = error(amf(known, asked, SHAPE, 0)), error(service_mean(known, asked, SHAPE))
    assert own < rivals[0] < rivals[1]

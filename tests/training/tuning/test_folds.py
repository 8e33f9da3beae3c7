"""Folds go forward in time, and what was replayed is used again."""

import dataclasses
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.errors import DataError
from tests.evaluation_world import SPEC, telemetry
from training.features.dataset import build_dataset
from training.heads.fit import FittedHead
from training.heads.uncertainty import Rows
from training.tuning import objective as under_test
from training.tuning.folds import time_folds
from training.tuning.objective import Judge, prediction_loss

TINY = msgspec.structs.replace(
    SPEC,
    training=msgspec.structs.replace(SPEC.training, rounds=3, lightgbm={"num_leaves": 4, "min_data_in_leaf": 5}),
)


def with_slices(slices):
    return dataclasses.replace(telemetry(len(slices)), slice=np.asarray(slices, np.int32))


def changed(spec=TINY, **training):
    return msgspec.structs.replace(spec, training=msgspec.structs.replace(spec.training, **training))


@given(present=st.sets(st.integers(0, 300), min_size=5, max_size=60), n=st.integers(1, 6))
def test_folds_follow_each_other_and_end_with_the_last_slice(present, n):
    slices = np.array(sorted(present), np.int32)
    try:
        folds = time_folds(with_slices(slices), n)
    except DataError:
        assert len(present) < 2 * n + 5
        return
    assert [fold.number for fold in folds] == list(range(n))
    assert folds[-1].stop == slices[-1] + 1
    assert (slices < folds[0].start).sum() >= 5
    for fold in folds:
        assert fold.start in present
        assert fold.start < fold.stop
    assert all(a.stop == b.start for a, b in pairwise(folds))


def test_too_few_slices_are_refused():
    with pytest.raises(DataError, match=r"^tuning: expected at least 8 slices for 3 folds, found 6$"):
        time_folds(with_slices(np.arange(6)), 3)
    with pytest.raises(DataError, match=r"^tuning: expected at least 9 slices for 3 folds, found 8$"):
        time_folds(with_slices(np.arange(8)), 3, fewest=6)


def test_the_last_slice_may_have_the_largest_number_there_is():
    last = 2**31 - 1
    (fold,) = time_folds(with_slices(np.arange(last - 7, last + 1)), 1)
    assert (fold.start, fold.stop) == (last - 1, last + 1)


@pytest.fixture
def rows():
    return telemetry(3_000)


def judge(rows, objective):
    return Judge(rows, TINY, objective, seed=0, threads=1)


DECIDED = pytest.param("gap_closed", marks=pytest.mark.slow)


@pytest.mark.parametrize("objective", ["loss", DECIDED])
def test_features_are_replayed_again_only_where_reveal_changes(rows, objective):
    judging, folds = judge(rows, objective), time_folds(rows, 2)
    for spec in (TINY, changed(lightgbm={"num_leaves": 8}), changed(rounds=2)):
        for fold in folds:
            assert np.isfinite(judging.score(fold, spec))
    assert judging.replays == 2
    judging.score(folds[0], changed(reveal=0.5))
    assert judging.replays == 3


def test_what_is_kept_is_bounded_and_a_score_does_not_depend_on_it(rows, monkeypatch):
    monkeypatch.setattr(under_test, "CACHE_BYTES", 0)
    forgetful, folds = judge(rows, "loss"), time_folds(rows, 2)
    first = [forgetful.score(fold, TINY) for fold in folds]
    assert [forgetful.score(fold, TINY) for fold in folds] == first
    assert forgetful.replays == 4


@pytest.mark.slow
def test_batches_too_large_to_keep_are_drawn_again_and_score_the_same(rows, monkeypatch):
    fold = time_folds(rows, 2)[1]
    expected = judge(rows, "gap_closed").score(fold, TINY)
    monkeypatch.setattr(under_test, "CACHE_BYTES", 0)
    forgetful = judge(rows, "gap_closed")
    assert [forgetful.score(fold, TINY) for _ in range(2)] == [expected] * 2


@pytest.mark.parametrize("objective", ["loss", DECIDED])
def test_a_fold_knows_nothing_of_what_comes_after_it(rows, objective):
    (fold, *_) = time_folds(rows, 3)
    later = rows.slice >= fold.stop
    worse = {name: np.where(later, np.float32(9e5), values) for name, values in rows.outcomes.items()}
    changed_rows = dataclasses.replace(rows, outcomes=worse, ok=rows.ok & ~later)
    assert judge(rows, objective).score(fold, TINY) == judge(changed_rows, objective).score(fold, TINY)


def test_predictions_are_judged_on_the_slices_of_the_fold(rows, monkeypatch):
    made = []
    monkeypatch.setattr(under_test, "build_dataset", lambda *a, **k: made.append(build_dataset(*a, **k)) or made[-1])
    judging = judge(rows, "loss")
    for fold in time_folds(rows, 3):
        judging.score(fold, TINY)
        judged = np.unique(made[-1].slices[made[-1].judge :])
        assert (judged[0], judged[-1]) == (fold.start, fold.stop - 1)


def test_a_quantile_is_judged_by_its_own_loss_and_not_by_that_of_the_mean():
    outcome = np.random.default_rng(0).lognormal(3.0, 1.0, 5_000)
    head = msgspec.structs.replace(SPEC.heads["latency"], quantile=0.9)
    spec = msgspec.structs.replace(SPEC, heads={"latency": head})

    def loss(raw):
        rows = Rows(np.full(outcome.size, raw), outcome, None, None)
        return prediction_loss({"latency": FittedHead(None, None, rows, rows, 4, np.zeros(1))}, spec)

    level = np.log1p(outcome)
    assert loss(np.quantile(level, 0.9)) == pytest.approx(1.0)
    assert loss(level.mean()) > 1.5


@pytest.mark.slow
def test_tuning_trains_with_the_rehearsal_that_training_has(rows, monkeypatch):
    served = []
    real = under_test.serve_on_policy
    monkeypatch.setattr(under_test, "serve_on_policy", lambda *a, **k: served.append(len(a[2])) or real(*a, **k))
    (fold,) = time_folds(rows, 1)
    with_it, without = (judge(rows, "loss").score(fold, changed(rehearse=share)) for share in (0.5, 0.0))
    assert with_it != without
    judge(rows, "gap_closed").score(fold, changed(rehearse=0.5))
    assert served == [2, 2]


@pytest.mark.parametrize(("certain", "said"), [(True, "saturated: "), (False, "")])
def test_folds_on_which_averages_leave_nothing_to_win_are_called_saturated(rows, certain, said):
    """Where each node always costs the same, its average is the oracle's equal."""
    cost = (10.0 * (rows.node + 1)).astype(np.float32)
    outcomes = {"rtt_ms": cost, "failed": 0 * cost, "cost": cost}
    sure = dataclasses.replace(rows, ok=np.ones(len(rows), np.bool_), outcomes=outcomes)
    told = judge(sure if certain else rows, "gap_closed").saturated(time_folds(rows, 2))
    assert told.startswith(said)
    assert bool(told) == certain
    assert not judge(sure, "loss").saturated(time_folds(rows, 2))


def test_a_head_whose_judged_outcomes_are_alike_does_not_outweigh_the_others():
    """No failure among the judged rows: the constant's loss there is nothing, and a share of it would be millions."""
    failed, none = np.array([0.0, 0.0, 0.0, 1.0]), np.zeros(4)
    latency = Rows(np.log1p([2.0, 20.0, 50.0, 900.0]), np.array([1.0, 10.0, 100.0, 1_000.0]), None, None)

    def heads(known, judged):
        raw = np.full(4, np.log(0.05 / 0.95))
        both = (Rows(raw, outcome, None, None) for outcome in (known, judged))
        return {
            "failure": FittedHead(None, None, *both, 4, np.zeros(1)),
            "latency": FittedHead(None, None, latency, latency, 4, np.zeros(1)),
        }

    alone = prediction_loss({"latency": heads(none, none)["latency"]}, SPEC)
    assert 0.0 < prediction_loss(heads(failed, none), SPEC) < 1.0
    assert prediction_loss(heads(none, none), SPEC) == alone
    with pytest.raises(DataError, match=r"^tuning: expected outcomes that differ, found the same in all"):
        prediction_loss({"failure": heads(none, none)["failure"]}, SPEC)


@pytest.mark.slow
@pytest.mark.parametrize("validation", [0.7, 0.9])
def test_a_small_rehearsal_stays_one_where_training_validates_on_much(rows, validation):
    spec = changed(rehearse=0.05, validation=validation)
    (fold,) = time_folds(rows, 1)
    assert np.isfinite(Judge(rows, spec, "loss", seed=0, threads=1).score(fold, spec))


def test_an_embargo_that_leaves_a_fold_nothing_is_found_before_anything_is_trained(rows, monkeypatch):
    monkeypatch.setattr(under_test, "build_dataset", None)
    for objective in ("loss", "gap_closed"):
        judging = Judge(rows, changed(embargo=30), objective, seed=0, threads=1)
        with pytest.raises(DataError, match=r"^training.embargo: expected 1 or more slices to fit"):
            judging.check(time_folds(rows, 2))
        Judge(rows, changed(), objective, seed=0, threads=1).check(time_folds(rows, 2))


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_as_many_slices_as_are_asked_for_are_enough(n):
    with pytest.raises(DataError) as refused:
        time_folds(with_slices(np.arange(5)), n, fewest=6)
    asked = int(str(refused.value).split()[4])
    assert len(time_folds(with_slices(np.arange(asked)), n, fewest=6)) == n
    with pytest.raises(DataError):
        time_folds(with_slices(np.arange(asked - 1)), n, fewest=6)


def test_the_loss_is_one_for_the_best_constant_and_nought_for_the_truth():
    outcome = np.array([0.0, 0.0, 0.0, 1.0])
    latency = np.array([1.0, 10.0, 100.0, 1_000.0])

    def loss(failure, log_latency):
        heads = {"failure": (failure, outcome), "latency": (log_latency, latency)}
        fitted = {
            name: FittedHead(None, None, *(2 * [Rows(np.asarray(raw, float), y, None, None)]), 4, np.zeros(1))
            for name, (raw, y) in heads.items()
        }
        return prediction_loss(fitted, SPEC)

    constant = np.full(4, np.log(1 / 3)), np.full(4, np.log1p(latency).mean())
    assert loss(*constant) == pytest.approx(1.0)
    assert loss(np.where(outcome > 0, 40.0, -40.0), np.log1p(latency)) == pytest.approx(0.0, abs=1e-12)
    assert loss(-constant[0], constant[1]) > 1.0

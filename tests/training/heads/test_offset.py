"""What heads start from: lines in means of their targets, and the choice between them and nothing."""

from types import SimpleNamespace

import lightgbm as lgb
import msgspec
import numpy as np
import pytest

from scheduler.errors import DataError
from scheduler.features.program import compile_features
from scheduler.model.manifest import Offset
from scheduler.model.offsets import offset_values
from scheduler.spec import NO_OFFSET
from tests.evaluation_world import SPEC
from training.features.dataset import Dataset
from training.heads import fit as under_test
from training.heads.fit import Boosted, best_start, fit_heads
from training.heads.offset import fit_offset, starts

N, SPLIT, CALIBRATE, JUDGE = 4_000, 2_000, 2_600, 3_200
NAMES = list(SPEC.features)
MEAN, FAILED = NAMES.index("pair_mean"), NAMES.index("pair_failed")


def spec(default="auto", **head):
    heads = {
        name: msgspec.structs.replace(one, **{"offset": default, **(head if name == "latency" else {})})
        for name, one in SPEC.heads.items()
    }
    lightgbm = {"num_leaves": 4, "min_data_in_leaf": 50, "learning_rate": 0.1}
    training = msgspec.structs.replace(SPEC.training, rounds=20, patience=5, lightgbm=lightgbm)
    return msgspec.structs.replace(SPEC, heads=heads, training=training)


def dataset(*, seed=0, tells=True):
    """Latencies that follow the mean of the pair over a range beyond few small trees, or only in fitted rows."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, len(NAMES))).astype(np.float32)
    x[:, MEAN] = rng.uniform(0, 10, N)
    x[:, FAILED] = rng.beta(1, 9, N)
    x[rng.random(N) < 0.1, MEAN] = np.nan
    known = np.nan_to_num(x[:, MEAN], nan=5.0)
    if not tells:
        known[SPLIT:] = 5.0
    target = (known + 0.1 * rng.normal(size=N)).astype(np.float32)
    failed = (rng.random(N) < (x[:, FAILED] if tells else 0.1)).astype(np.float32)
    return Dataset(
        features=compile_features(SPEC, {}),
        vocabulary={},
        x=x,
        targets={"failure": failed, "latency": target},
        outcomes={"failure": failed, "latency": np.expm1(target).clip(0)},
        slices=np.arange(N, dtype=np.int32),
        split=SPLIT,
        calibrate=CALIBRATE,
        judge=JUDGE,
    )


def fitted(data, asked, threads=1):
    return fit_heads(data, asked, seed=0, threads=threads)


def test_of_several_offsets_the_best_on_both_kinds_of_rows_is_kept(monkeypatch):
    """Losses differ in size, so each counts as a share of what it is without an offset."""
    losses = {NO_OFFSET: (1.0, 100.0), "a": (0.9, 80.0), "b": (0.8, 85.0), "c": (0.1, 101.0), "d": (0.99, 79.0)}
    monkeypatch.setattr(under_test, "_loss", lambda _, one, rows: losses[one.start][rows])
    line = {"transform": "none", "least": 0.0, "most": 1.0, "intercept": 0.0, "slope": 1.0, "missing": 0.0}
    tries = [Boosted(None, None if name == NO_OFFSET else Offset(feature=name, **line)) for name in losses]
    fit = SimpleNamespace(rows=SimpleNamespace(stop=0, calibrate=1))
    kept = best_start(fit, tries)
    assert (kept.start, dict(kept.losses)) == ("b", losses)
    assert best_start(fit, [tries[0], tries[3]]).start == NO_OFFSET


def test_where_the_mean_tells_it_is_chosen_by_itself_and_said():
    data = dataset()
    head = fitted(data, spec())["latency"]
    assert head.offset is not None
    assert head.offset.feature == "pair_mean"
    assert np.all(np.array(head.losses["pair_mean"]) < 0.5 * np.array(head.losses["none"]))
    alone = fitted(data, spec("none"))["latency"]
    assert (alone.offset, dict(alone.losses)) == (None, {})
    errors = [np.abs(one.judge.raw - data.targets["latency"][JUDGE:]).mean() for one in (head, alone)]
    assert errors[0] < 0.7 * errors[1]


@pytest.mark.parametrize("tells", [True, False])
def test_rows_are_binned_once_and_the_kept_start_has_the_trees_that_it_has_alone(tells, monkeypatch):
    binned, real = [], lgb.Dataset
    monkeypatch.setattr(lgb, "Dataset", lambda *args, **kwargs: binned.append(args) or real(*args, **kwargs))
    data = dataset(tells=tells)
    chosen = fitted(data, spec())
    assert len(binned) == 2 * len(chosen)
    alone = {name: fitted(data, one_start(name, head))[name].booster.model_to_string() for name, head in chosen.items()}
    assert alone == {name: head.booster.model_to_string() for name, head in chosen.items()}


def one_start(name, head):
    """The spec in which a head starts from what it was found to start from, and the others from nothing."""
    asked, start = spec("none"), NO_OFFSET if head.offset is None else head.offset.feature
    return msgspec.structs.replace(
        asked, heads={**asked.heads, name: msgspec.structs.replace(asked.heads[name], offset=start)}
    )


def test_where_it_misleads_on_later_rows_trees_predict_all_of_it():
    head = fitted(dataset(tells=False), spec())["latency"]
    assert head.offset is None
    assert head.losses["none"] < head.losses["pair_mean"]


def test_a_mean_that_is_better_on_one_part_alone_is_not_taken():
    """As where the slice that stops training is lucky: later rows say otherwise."""
    data = dataset()
    later = data.targets["latency"].copy()
    later[CALIBRATE:] = 5.0
    head = fitted(data._replace(targets={**data.targets, "latency": later}), spec())["latency"]
    assert head.losses["pair_mean"][0] < head.losses["none"][0]
    assert head.losses["pair_mean"][1] > head.losses["none"][1]
    assert head.offset is None


def test_a_feature_that_is_named_is_taken_without_a_contest():
    wanted = {"failure": "pair_failed", "latency": "pair_mean"}
    heads = {name: msgspec.structs.replace(one, offset=wanted[name]) for name, one in SPEC.heads.items()}
    found = fitted(dataset(), msgspec.structs.replace(spec(), heads=heads))
    assert {name: (head.offset.feature, dict(head.losses)) for name, head in found.items()} == {
        "failure": ("pair_failed", {}),
        "latency": ("pair_mean", {}),
    }


def without_trees(**latency):
    return spec("auto", offset="pair_mean", trees=False, **latency)


@pytest.mark.parametrize("scale", [1.0, 1e15])
def test_a_head_without_trees_is_the_line_in_its_mean(scale):
    data = dataset()
    data = data._replace(targets={**data.targets, "latency": data.targets["latency"] * np.float32(scale)})
    head = fitted(data, without_trees())["latency"]
    line = offset_values(head.offset, data.x[:, MEAN])
    np.testing.assert_array_equal(head.judge.raw, line[JUDGE:])
    np.testing.assert_array_equal(head.calibration.raw, line[CALIBRATE:JUDGE])
    assert head.booster.num_trees() == 1
    assert not head.importance.any()
    assert dict(head.losses) == {}


def test_a_head_without_trees_has_to_rise_with_its_mean():
    data = dataset()
    falls = data._replace(targets={**data.targets, "latency": -data.targets["latency"]})
    with pytest.raises(
        DataError, match=r"^head latency: expected log1p\(rtt_ms\) to rise with pair_mean, as it has no "
    ):
        fitted(falls, without_trees())


def test_scores_of_a_fitted_head_are_its_trees_and_its_offset():
    data = dataset()
    for name, head in fitted(data, spec()).items():
        x = data.x[JUDGE:]
        start = np.zeros(len(x)) if head.offset is None else offset_values(head.offset, x[:, _column(head)])
        np.testing.assert_allclose(head.judge.raw, head.booster.predict(x, raw_score=True) + start, err_msg=name)


def _column(head):
    return NAMES.index(head.offset.feature)


def test_a_line_in_noisy_means_draws_them_to_the_others():
    """A mean of one outcome says half of what it seems to say where noise is as large as what differs."""
    rng = np.random.default_rng(0)
    truth = rng.normal(3, 1, 20_000)
    seen, y = (truth + rng.normal(size=truth.size) for _ in range(2))
    line = fit_offset(SPEC.heads["latency"], "pair_mean", "none", seen.astype(np.float32), y)
    assert line is not None
    assert (line.slope, line.intercept) == pytest.approx((0.5, 1.5), abs=0.05)


def test_a_share_of_failures_is_a_calibrated_log_odd():
    rng = np.random.default_rng(0)
    truth = rng.beta(2, 8, 50_000)
    y = (rng.random(truth.size) < truth).astype(np.float64)
    line = fit_offset(SPEC.heads["failure"], "pair_failed", "logit", truth.astype(np.float32), y)
    assert line is not None
    assert (line.slope, line.intercept) == pytest.approx((1.0, 0.0), abs=0.1)
    ends = offset_values(line, np.array([0.0, 1.0], np.float32))
    assert np.isfinite(ends).all()
    assert 0.0 < line.least < 1e-4


def test_a_quantile_starts_from_a_line_that_as_many_outcomes_exceed():
    head = msgspec.structs.replace(SPEC.heads["latency"], quantile=0.9)
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 10, 20_000).astype(np.float32)
    x[:2_000] = np.nan
    y = np.nan_to_num(x, nan=5.0) + rng.normal(size=x.size)
    line = fit_offset(head, "pair_mean", "none", x, y)
    assert line is not None
    below = y <= offset_values(line, x)
    assert below[:2_000].mean() == pytest.approx(0.9, abs=0.02)
    assert below[2_000:].mean() == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([np.nan] * 8, range(8)),  # never known
        ([1.0] * 8, range(8)),  # always the same
        (range(8), range(8, 0, -1)),  # says the opposite
        ([np.nan] * 7 + [1.0], range(8)),  # known once
    ],
)
def test_a_mean_that_says_nothing_of_the_target_gives_no_line(x, y):
    found = fit_offset(
        SPEC.heads["latency"], "pair_mean", "none", np.array(list(x), np.float32), np.array(list(y), np.float64)
    )
    assert found is None


def test_failures_that_no_row_with_the_mean_has_give_no_line():
    x = np.array([0.1, 0.2, 0.3, np.nan], np.float32)
    assert fit_offset(SPEC.heads["failure"], "pair_failed", "logit", x, np.array([0.0, 0.0, 0.0, 1.0])) is None


def test_of_several_means_the_one_that_tells_most_is_tried():
    text = msgspec.structs.replace(spec(), features={**SPEC.features, "noise": SPEC.features["pair_mean"]})
    data = dataset()
    noise = np.random.default_rng(1).normal(size=(N, 1)).astype(np.float32)
    data = data._replace(features=compile_features(text, {}), x=np.concatenate([data.x, noise], axis=1))
    tried = starts("latency", data, np.arange(SPLIT), text)
    assert tried[0] is None
    assert tried[1] is not None
    assert tried[1].feature == "pair_mean"


def test_the_choice_counts_rows_by_their_weights():
    """Where only the rows that the mean misleads on have weight, it is not taken."""
    data = dataset()
    target, weight = data.targets["latency"].copy(), np.ones(N, np.float32)
    odd = np.arange(N) % 2 == 1
    target[SPLIT:][odd[SPLIT:]] = 5.0
    weight[SPLIT:][~odd[SPLIT:]] = 1e-6
    head = fitted(data._replace(targets={**data.targets, "latency": target}, weight=weight), spec())["latency"]
    assert head.losses["none"] < head.losses["pair_mean"]
    assert head.offset is None


@pytest.mark.parametrize(
    ("name", "feature", "transform"), [("latency", "pair_mean", "none"), ("failure", "pair_failed", "logit")]
)
def test_a_row_of_weight_three_counts_as_three_rows(name, feature, transform):
    """Rows of two kinds, whose lines differ: by themselves they would count alike."""
    rng = np.random.default_rng(4)
    x = rng.uniform(0.05, 0.95, N).astype(np.float32)
    x[rng.random(N) < 0.2] = np.nan
    kind = rng.integers(0, 2, N)
    known = np.nan_to_num(x, nan=0.9)
    y = known * (1 + kind) if name == "latency" else rng.random(N) < known ** (1 + 2 * kind)
    weight, y = np.where(kind == 1, 3, 1), np.asarray(y, np.float64)
    line = fit_offset(SPEC.heads[name], feature, transform, x, y, weight.astype(np.float64))
    repeated = fit_offset(SPEC.heads[name], feature, transform, np.repeat(x, weight), np.repeat(y, weight))
    alike = fit_offset(SPEC.heads[name], feature, transform, x, y)
    for number in ("intercept", "slope", "missing"):
        assert getattr(line, number) == pytest.approx(getattr(repeated, number), abs=0.01)
    assert abs(line.missing - alike.missing) > 0.1


def test_a_quantile_counts_rows_by_their_weights():
    rng = np.random.default_rng(5)
    head = msgspec.structs.replace(SPEC.heads["latency"], quantile=0.8, link="identity")
    x, far = rng.uniform(0, 10, N).astype(np.float32), rng.random(N) < 0.5
    y = x + np.where(far, 5.0, 0.0) + rng.normal(size=N)
    line = fit_offset(head, "pair_mean", "none", x, y, np.where(far, 0.01, 1.0))
    below = y <= line.intercept + line.slope * x
    assert np.average(below, weights=np.where(far, 0.01, 1.0)) == pytest.approx(0.8, abs=0.01)
    assert below.mean() < 0.5

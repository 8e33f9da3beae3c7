"""Fitting heads: the best round, the same model for the same seed, and errors that name the head."""

import msgspec
import numpy as np
import pytest

from scheduler.errors import DataError
from scheduler.features.program import compile_features
from tests.evaluation_world import SPEC
from training.features.dataset import Dataset
from training.heads.fit import fit_heads
from training.heads.metrics import log_loss

SPLIT, CALIBRATE, JUDGE, N = 1_200, 1_500, 1_800, 2_400
LIGHTGBM = {"num_leaves": 7, "min_data_in_leaf": 20}


def spec(*, heads=None, **training):
    settings = msgspec.structs.replace(
        SPEC.training, **({"rounds": 60, "patience": 5, "lightgbm": LIGHTGBM} | training)
    )
    return msgspec.structs.replace(SPEC, training=settings, heads=heads or SPEC.heads)


def dataset(*, seed=0, noise=1.0, **changes):
    """Failures and latencies that follow two features, and a third of the latencies missing."""
    rng = np.random.default_rng(seed)
    features = compile_features(SPEC, {})
    x = rng.normal(size=(N, len(features.names))).astype(np.float32)
    failed = (x[:, 0] + noise * rng.normal(size=N) > 0.5).astype(np.float32)
    rtt = np.exp(3 + x[:, 1] + noise * rng.normal(size=N)).astype(np.float32)
    rtt[failed > 0] = np.nan
    made = Dataset(
        features=features,
        vocabulary={},
        x=x,
        targets={"failure": failed, "latency": np.log1p(rtt)},
        outcomes={"failure": failed, "latency": rtt},
        slices=np.arange(N, dtype=np.int32),
        split=SPLIT,
        calibrate=CALIBRATE,
        judge=JUDGE,
    )
    return made._replace(**changes)


def fit(data=None, parts=None, *, seed=0, progress=None):
    return fit_heads(data or dataset(), parts or spec(), seed=seed, threads=1, progress=progress)


def texts(heads):
    return {name: head.booster.model_to_string() for name, head in heads.items()}


def test_a_head_is_cut_at_its_best_round():
    data = dataset()
    kept = fit(data)["failure"].booster
    rows, y = data.x[SPLIT:CALIBRATE], data.targets["failure"][SPLIT:CALIBRATE]
    losses = [log_loss(kept.predict(rows, raw_score=True, num_iteration=n), y) for n in range(1, kept.num_trees() + 1)]
    assert int(np.argmin(losses)) == len(losses) - 1
    assert 1 < kept.num_trees() < 60
    assert fit(data, spec(patience=1_000))["failure"].booster.num_trees() >= kept.num_trees()


def test_without_early_stopping_the_rounds_are_the_bound():
    assert fit(parts=spec(rounds=3))["latency"].booster.num_trees() == 3


def test_a_quantile_is_fitted_where_a_head_asks_for_one():
    latency = msgspec.structs.replace(SPEC.heads["latency"], quantile=0.9)
    data = dataset()
    high, mean = (
        fit(data, spec(heads={"latency": head}))["latency"].booster.predict(data.x[:SPLIT])
        for head in (latency, SPEC.heads["latency"])
    )
    y = data.targets["latency"][:SPLIT]
    below = [(y <= raw)[~np.isnan(y)].mean() for raw in (high, mean)]
    assert 0.85 < below[0] < 0.95
    assert below[1] < 0.65


def test_the_same_seed_gives_the_same_model():
    bagging = spec(lightgbm={**LIGHTGBM, "bagging_fraction": 0.5, "bagging_freq": 1})
    one, two, other = (texts(fit(parts=bagging, seed=seed)) for seed in (1, 1, 2))
    assert one == two
    assert one != other


def test_rows_that_calibrate_stop_nothing():
    data = dataset()
    late = {name: y.copy() for name, y in data.targets.items()}
    late["failure"][CALIBRATE:] = 1 - late["failure"][CALIBRATE:]
    assert texts(fit(data._replace(targets=late))) == texts(fit(data))


def test_judged_rows_shape_nothing():
    data = dataset()
    x, late = data.x.copy(), {name: y.copy() for name, y in data.targets.items()}
    x[JUDGE:] = -x[JUDGE:]
    late["failure"][JUDGE:] = 1 - late["failure"][JUDGE:]
    changed = fit(data._replace(x=x, targets=late))
    assert texts(changed) == texts(fit(data))


def test_rows_without_the_target_are_left_out():
    data, heads = dataset(), fit()
    measured = ~np.isnan(data.targets["latency"])
    assert heads["latency"].n_rows == measured[:SPLIT].sum()
    assert heads["latency"].calibration.outcome.size == measured[CALIBRATE:JUDGE].sum()
    assert heads["latency"].judge.outcome.size == measured[JUDGE:].sum()
    assert heads["failure"].n_rows == SPLIT


def test_scores_are_those_of_the_booster_beside_outcomes_in_their_own_unit():
    data, head = dataset(), fit()["latency"]
    rows = JUDGE + np.flatnonzero(~np.isnan(data.targets["latency"][JUDGE:]))
    np.testing.assert_array_equal(head.judge.raw, head.booster.predict(data.x[rows], raw_score=True))
    np.testing.assert_array_equal(head.judge.outcome, data.outcomes["latency"][rows])


def test_importance_is_a_share_of_the_gain_by_feature():
    heads = fit()
    assert heads["failure"].importance.argmax() == 0
    assert heads["latency"].importance.argmax() == 1
    for head in heads.values():
        assert head.importance.sum() == pytest.approx(1.0)


def test_a_target_that_never_varies_gives_a_model_without_importance():
    data = dataset()
    flat = np.full(N, 2.0, np.float32)
    data.targets["latency"], data.outcomes["latency"] = flat, np.expm1(flat)
    head = fit(data)["latency"]
    assert head.importance.tolist() == [0.0] * len(data.features.names)
    np.testing.assert_allclose(head.judge.raw, 2.0, rtol=1e-6)


def test_a_heads_own_parameters_stand_over_those_of_all():
    heads = {**SPEC.heads, "latency": msgspec.structs.replace(SPEC.heads["latency"], lightgbm={"num_leaves": 2})}
    found = fit(parts=spec(heads=heads))
    leaves = {
        name: max(tree["num_leaves"] for tree in head.booster.dump_model()["tree_info"]) for name, head in found.items()
    }
    assert leaves == {"failure": 7, "latency": 2}


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        (slice(SPLIT), "fit"),
        (slice(SPLIT, CALIBRATE), "stop"),
        (slice(CALIBRATE, JUDGE), "calibrate"),
        (slice(JUDGE, N), "judge"),
    ],
)
def test_a_head_without_rows_is_named(rows, what):
    data = dataset()
    data.targets["latency"][rows] = np.nan
    with pytest.raises(
        DataError, match=rf"^head latency: expected rows with log1p\(rtt_ms\) to {what} on, found none$"
    ):
        fit(data)


@pytest.mark.parametrize("kind", [0, 1])
def test_failures_of_a_single_kind_are_refused(kind):
    data = dataset()
    data.targets["failure"][:SPLIT] = kind
    message = f"^head failure: expected failures and successes to fit on, found only {kind}$"
    with pytest.raises(DataError, match=message):
        fit(data)


def test_negative_outcomes_have_no_logarithm_of_their_mean():
    data = dataset()
    data.outcomes["latency"][np.flatnonzero(~np.isnan(data.outcomes["latency"]))[0]] = -0.5
    with pytest.raises(
        DataError, match=r"^head latency: expected outcomes of 0 or more for the link log, found -0\.5$"
    ):
        fit(data)


def test_progress_ends_at_its_total_for_every_head():
    told = {}
    fit(progress=lambda what, done, total: told.setdefault(what, []).append((done, total)))
    assert told.keys() == {"fit failure", "fit latency"}
    for steps in told.values():
        assert steps[-1] == (60, 60)
        assert [done for done, _ in steps] == sorted(done for done, _ in steps)

"""Training on what a model sees when it serves: its own picks alone, and nothing from later on."""

import dataclasses

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.errors import DataError
from scheduler.features.trained_means import means_by_key
from scheduler.model.model import Model
from scheduler.spec import TrainedMean
from tests.evaluation_world import SPEC, batches, setting, telemetry, write_model
from training.evaluation.on_policy import _Recorder, blocks, serve_on_policy
from training.evaluation.runner import question_of
from training.features.dataset import build_dataset, joined
from training.features.split import first_served, fitted_slices, split_slices
from training.heads.fit import calibrated_on, fit_heads, out_of_fold
from training.pipeline import train
from training.pipeline.train import train_model
from training.policies import Learned
from training.telemetry import Entities, at_rows
from training.telemetry.slice_starts import slice_starts

FIT = {"rounds": 10, "lightgbm": {"num_leaves": 7, "min_data_in_leaf": 20}}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Model.load(write_model(tmp_path_factory.mktemp("artifact") / "tiny"))


def rehearsing(share=0.6, requests=2, **training):
    changed = msgspec.structs.replace(SPEC.training, rehearse=share, **training)
    evaluation = msgspec.structs.replace(SPEC.evaluation, requests=requests)
    return msgspec.structs.replace(SPEC, training=changed, evaluation=evaluation)


def column(dataset, name):
    return dataset.x[:, dataset.features.names.index(name)]


def test_every_candidate_of_a_request_is_a_row_with_what_came_of_it(model):
    rows = telemetry(2_000)
    made = serve_on_policy(rows, rehearsing(), [(0, model)], seed=0)
    failed = made.targets["failure"]
    assert set(np.unique(failed)) == {0.0, 1.0}
    assert (np.isnan(made.targets["latency"]) == (failed == 1.0)).all()
    # Rows of 60 minutes a slice: the last 36 are served, two batches each, of 4 clients with at most 6 nodes.
    assert made.slices.min() == 24
    assert 36 * 2 * 4 * 2 <= len(made.x) <= 36 * 2 * 4 * 6


def test_its_progress_comes_to_an_end(model):
    told = {}
    serve_on_policy(
        telemetry(500),
        rehearsing(),
        [(0, model)],
        seed=0,
        progress=lambda what, done, of: told.setdefault(what, []).append((done, of)),
    )
    assert told.keys() == {"rehearse: warm up", "rehearse: serve"}
    assert told["rehearse: warm up"] == [(0, 1), (1, 1)]
    assert told["rehearse: serve"][-1][0] == told["rehearse: serve"][-1][1] > 10


@pytest.mark.slow
def test_only_what_was_picked_enters_history(tmp_path, monkeypatch):
    """Pairs that are never picked may have had any outcome meanwhile: no row tells."""
    rows, picked = telemetry(2_000), set()

    learn = Learned.learn

    def watched(self, seen):
        picked.update(zip(seen.client.tolist(), seen.node.tolist(), strict=True))
        learn(self, seen)

    monkeypatch.setattr(Learned, "learn", watched)
    spec = rehearsing(**FIT, validation=0.1)
    spec = msgspec.structs.replace(spec, utility=msgspec.structs.replace(SPEC.utility, heads={"latency": -1.0}))
    plain_spec = msgspec.structs.replace(spec, training=msgspec.structs.replace(spec.training, rehearse=0.0))
    model = train_model(rows, plain_spec, tmp_path, seed=0, threads=1).model
    plain = serve_on_policy(rows, spec, [(0, model)], seed=0)
    pairs = list(zip(rows.client.tolist(), rows.node.tolist(), strict=True))
    strange = (rows.slice >= 24) & rows.ok & np.array([pair not in picked for pair in pairs])
    assert strange.any(), "every pair was picked: nothing to tell"
    outcomes = {name: np.where(strange, v * np.float32(3), v) for name, v in rows.outcomes.items()}
    other = serve_on_policy(dataclasses.replace(rows, outcomes=outcomes), spec, [(0, model)], seed=0)
    np.testing.assert_array_equal(plain.x, other.x)
    assert not np.array_equal(plain.outcomes["latency"], other.outcomes["latency"], equal_nan=True)


@pytest.mark.slow
def test_a_row_knows_nothing_of_later_outcomes(model):
    rows = telemetry(2_000)
    late = rows.slice >= 45
    outcomes = {name: np.where(late & rows.ok, v * np.float32(3), v) for name, v in rows.outcomes.items()}
    one, two = (
        serve_on_policy(dataclasses.replace(rows, outcomes=o), rehearsing(), [(0, model)], seed=0)
        for o in (rows.outcomes, outcomes)
    )
    early = one.slices < 45
    np.testing.assert_array_equal(one.x[early], two.x[early])
    assert not np.array_equal(one.x, two.x, equal_nan=True)


@pytest.mark.slow
@pytest.mark.parametrize("table", [4, 4_000])
def test_a_cap_on_rows_takes_a_random_share_of_the_requests(model, table):
    """However many clients the table has that never ask."""
    rows = telemetry(2_000)
    again = np.arange(table) % len(rows.clients)
    columns = {name: at_rows(column, again) for name, column in rows.clients.columns.items()}
    rows = dataclasses.replace(rows, clients=Entities(ids=np.arange(table), columns=columns))
    whole = serve_on_policy(rows, rehearsing(), [(0, model)], seed=0)
    part = serve_on_policy(rows, rehearsing(rows=500), [(0, model)], seed=0)
    assert len(whole.x) > 1_000
    assert 400 < len(part.x) <= 550
    kept = {tuple(row) for row in whole.x.tolist()}
    assert all(tuple(row) in kept for row in part.x[~np.isnan(part.x).any(axis=1)].tolist())


def test_joined_datasets_keep_their_parts_apart(model):
    spec = rehearsing()
    one = build_dataset(telemetry(2_000), spec, seed=0)
    two = serve_on_policy(telemetry(2_000), spec, [(0, model)], seed=0)
    both = joined(one, two)
    first, stop, calibrate, judge = split_slices(telemetry(2_000).slice, spec)
    fitted, stopping, calibrating, judging = np.split(both.slices, [both.split, both.calibrate, both.judge])
    assert len(both.x) == len(one.x) + len(two.x)
    assert first <= fitted.min() <= fitted.max() < stop <= stopping.min()
    assert stopping.max() < calibrate <= calibrating.min() <= calibrating.max() < judge <= judging.min()
    for name, y in both.targets.items():
        parts = np.concatenate([one.targets[name], two.targets[name]])
        np.testing.assert_array_equal(np.sort(y), np.sort(parts))


@pytest.mark.slow
def test_a_rehearsed_model_differs_and_a_seed_fixes_it(tmp_path):
    rows = telemetry(3_000)
    versions = [
        train_model(rows, rehearsing(share, **FIT), tmp_path / name, seed=0, threads=1).model.version
        for name, share in (("plain", 0.0), ("one", 0.6), ("two", 0.6))
    ]
    assert versions[1] == versions[2] != versions[0]


def test_a_rehearsal_without_any_candidate_is_refused(model):
    alone = telemetry(2_000, nodes=1)
    with pytest.raises(
        DataError, match=r"^training.rehearse: expected clients with two nodes or more in slices 24 to 47, found none$"
    ):
        serve_on_policy(alone, rehearsing(), [(0, model)], seed=3)


@pytest.mark.slow
def test_no_slice_is_served_by_a_model_that_was_fitted_on_it(tmp_path, monkeypatch):
    rows, fitted, served = telemetry(3_000), [], []
    real = train.serve_on_policy

    def watched(dataset, *args, **options):
        fitted.append(set(dataset.slices[: dataset.split].tolist()))
        return fit_heads(dataset, *args, **options)

    def serve(telemetry, spec, models, **options):
        served.extend(start for start, _ in models)
        return real(telemetry, spec, models, **options)

    monkeypatch.setattr(train, "fit_heads", watched)
    monkeypatch.setattr(train, "serve_on_policy", serve)
    spec = rehearsing(0.6, **FIT)
    train_model(rows, spec, tmp_path, seed=0, threads=1)
    first, second, last = fitted
    stop = split_slices(rows.slice, spec).stop
    assert served == [24, 36]
    assert (stop - 24) // 2 == 36 - 24
    assert first == last - set(range(24, 36))
    assert second == last - set(range(36, stop))


@pytest.mark.slow
def test_served_slices_calibrate_by_scores_of_models_that_were_not_fitted_on_them():
    rows, spec, served = telemetry(3_000), rehearsing(0.6, **FIT), []

    def serve(first):
        seen = serve_on_policy(rows, spec, [(start, one.model) for start, one in first], seed=0)
        served.append(([one.model for _, one in first], seen))
        return seen

    _, heads = train.fit_rehearsed(
        build_dataset(rows, spec, seed=0),
        spec,
        train.read_window(rows),
        slices=np.unique(rows.slice),
        fit=lambda some: fit_heads(some, spec, seed=0, threads=1),
        serve=serve,
        threads=1,
    )
    ((models, seen),) = served
    for h, (name, head) in enumerate(heads.items()):
        raw, outcome = [], []
        for one, block in zip(models, blocks(np.unique(rows.slice), spec), strict=True):
            some = np.isin(seen.slices, block.held_out) & ~np.isnan(seen.targets[name])
            raw.append(one.raw(seen.x[some])[:, h])
            outcome.append(seen.outcomes[name][some])
        n = sum(map(len, raw))
        np.testing.assert_allclose(head.calibration.raw[:n], np.concatenate(raw), rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(head.calibration.outcome[:n], np.concatenate(outcome))
        assert head.calibration.raw.size > n  # its own rows, of the slices that only calibrate


@pytest.mark.slow
def test_models_that_serve_take_along_means_of_what_came_before_and_the_last_one_those_of_all(tmp_path):
    rows, plain, served = telemetry(3_000), rehearsing(0.6, **FIT), []
    trained = TrainedMean(keys=(next(iter(plain.history.keys)),), value=plain.history.values[0])
    spec = msgspec.structs.replace(plain, features={**plain.features, "trained": trained})
    dataset = build_dataset(rows, spec, seed=0)

    def serve(first):
        served.extend(one.model for _, one in first)
        return serve_on_policy(rows, spec, [(start, one.model) for start, one in first], seed=0)

    made, heads = train.fit_rehearsed(
        dataset,
        spec,
        train.read_window(rows),
        slices=np.unique(rows.slice),
        fit=lambda some: fit_heads(some, spec, seed=0, threads=1),
        serve=serve,
        threads=1,
    )
    last = train.write_model(made, heads, spec, tmp_path, train.read_window(rows)).model
    first = first_served(np.unique(rows.slice), spec)
    known = (rows.slice < first) & (rows.arrival < slice_starts(rows, spec)[first])
    before = build_dataset(rows.where(known), spec, seed=0).means.all
    for model, means in ((served[0], before), (served[1], before), (last, dataset.means.all)):
        found = means_by_key(model.features.program.trained)
        np.testing.assert_array_equal(found.keys, means.keys)
        np.testing.assert_allclose(found.rows, means.rows, rtol=1e-5)
    assert before.rows.sum() < dataset.means.all.rows.sum()


def test_without_rows_that_were_held_out_heads_calibrate_on_their_own_alone():
    rows, spec = build_dataset(telemetry(3_000), rehearsing(**FIT), seed=0), rehearsing(**FIT)
    heads = fit_heads(rows, spec, seed=0, threads=1)
    none = out_of_fold(heads, rows, np.array([], np.int32), threads=1)
    assert none == {}
    for name, head in calibrated_on(heads, [none]).items():
        np.testing.assert_array_equal(head.calibration.raw, heads[name].calibration.raw)


@pytest.mark.slow
def test_a_spell_in_the_slices_that_only_calibrate_does_not_set_the_level(tmp_path):
    """Half of what is asked fails in them, and a tenth before and after: what comes next is foreseen as a tenth."""
    rows = telemetry(12_000)
    _, _, calibrate, judge = split_slices(rows.slice, rehearsing())
    spell = (rows.slice >= calibrate) & (rows.slice < judge)
    ok = rows.ok & (~spell | (np.random.default_rng(0).random(len(rows)) < 0.5))
    rtt = np.where(ok, rows.outcomes["rtt_ms"], np.float32(np.nan))
    cost = np.where(ok, rtt, np.float32(1_000.0))
    rows = dataclasses.replace(rows, ok=ok, outcomes={"rtt_ms": rtt, "failed": (~ok).astype(np.float32), "cost": cost})
    curve = train_model(rows, rehearsing(requests=10, **FIT), tmp_path, seed=0, threads=1).heads["failure"].reliability
    predicted, observed = (float(np.average(y, weights=curve.counts)) for y in (curve.predicted, curve.observed))
    assert observed == pytest.approx(0.1, abs=0.03)
    assert predicted < 0.3


@pytest.mark.slow
def test_each_model_serves_from_its_slice_on_and_history_goes_on(model, tmp_path):
    """Another model takes over at slice 40: rows before are the same, and later ones are what follows its picks."""
    rows = telemetry(2_000)
    other = train_model(rows, rehearsing(0.0, **FIT), tmp_path, seed=0, threads=1).model
    alone, changed = (
        serve_on_policy(rows, rehearsing(), models, seed=0) for models in ([(0, model)], [(0, model), (40, other)])
    )
    early = alone.slices < 40
    np.testing.assert_array_equal(alone.x[early], changed.x[early])
    assert not np.array_equal(alone.x[~early], changed.x[~early], equal_nan=True)


def test_what_is_kept_has_the_state_of_nodes_that_the_decision_saw(model):
    recorder, asked = _Recorder(setting(), model, 10_000, []), 0
    recorder.warm(telemetry())
    load = model.features.names.index("load")
    for one in batches(4):
        recorder.batch = one
        recorder.pick(question_of(one, asked))
        asked += len(one.client)
        real = one.candidates >= 0
        expected = one.node_state["load"][one.candidates[real]].astype(np.float32)
        np.testing.assert_array_equal(recorder.seen()[-1].x[:, load], expected)


@pytest.mark.parametrize(("share", "expected"), [(0.01, [47]), (0.05, [47]), (0.25, [45, 47]), (1.0, [3, 26])])
def test_blocks_are_halves_of_what_is_fitted_and_served(share, expected):
    slices = np.arange(60, dtype=np.int32)
    found = blocks(slices, rehearsing(share))
    assert [block.start for block in found] == expected
    held_out = np.concatenate([block.held_out for block in found])
    np.testing.assert_array_equal(held_out, np.arange(expected[0], split_slices(slices, rehearsing(share)).stop))


@pytest.mark.slow
@given(
    present=st.sets(st.integers(0, 1000), min_size=6, max_size=60),
    share=st.floats(0.001, 1.0),
    burn_in=st.floats(0.0, 0.9),
    validation=st.floats(0.01, 0.9),
    embargo=st.integers(0, 3),
)
def test_no_slice_can_be_served_by_a_model_that_is_fitted_on_it(present, share, burn_in, validation, embargo):
    slices = np.array(sorted(present), np.int32)
    spec = rehearsing(share, burn_in=burn_in, validation=validation, embargo=embargo)
    try:
        found = blocks(slices, spec)
    except DataError:
        with pytest.raises(DataError, match=r"^training.embargo: expected 2 or more slices to fit"):
            split_slices(slices, spec)
        assert embargo
        return
    fitted = fitted_slices(slices, spec)
    ends = [block.start for block in found[1:]] + [slices[-1] + 1]
    served = np.concatenate([block.held_out for block in found])
    np.testing.assert_array_equal(served, fitted[fitted >= found[0].start])
    assert served.size
    for block, end in zip(found, ends, strict=True):
        left = fitted[~np.isin(fitted, block.left_out)]
        between = np.abs(np.subtract.outer(np.searchsorted(slices, left), np.searchsorted(slices, block.held_out)))
        assert (between > embargo).all()
        assert left.size or embargo, "nothing is left to fit"  # beside an embargo training says so
        assert not ((left >= block.start) & (left < end)).any()


@pytest.mark.slow
@pytest.mark.parametrize(("n", "share"), [(6, 1.0), (60, 0.01), (60, 0.15)])
def test_few_slices_and_small_shares_can_be_rehearsed(tmp_path, n, share):
    rows = telemetry(12_000)
    some = rows.where(rows.slice >= 60 - n)
    summary = train_model(some, rehearsing(share, **FIT), tmp_path, seed=0, threads=1)
    assert summary.window["first_stopping_slice"] - summary.window["first_fitted_slice"] >= 2


def test_too_few_slices_for_a_rehearsal_are_refused_before_anything_is_fitted(tmp_path):
    rows = telemetry(3_000)
    with pytest.raises(DataError, match=r"^training: expected at least 6 slices with a rehearsal, found 5$"):
        train_model(rows.where(rows.slice < 5), rehearsing(), tmp_path, seed=0, threads=1)


@pytest.mark.slow
def test_a_rehearsal_needs_no_requests_in_the_slices_that_only_judge(tmp_path):
    """The last slices were cut off: each client has one node there, so nobody asks."""
    rows = telemetry(12_000)
    judge = split_slices(rows.slice, rehearsing()).judge
    first = np.zeros(len(rows), np.bool_)
    first[np.unique(rows.slice.astype(np.int64) * 10 + rows.client, return_index=True)[1]] = True
    summary = train_model(rows.where((rows.slice < judge) | first), rehearsing(**FIT), tmp_path, seed=0, threads=1)
    assert summary.window["first_judged_slice"] == judge


def test_a_model_that_cannot_be_fitted_without_what_it_serves_is_found_before_any_is(tmp_path, monkeypatch):
    rows = telemetry(3_000)
    ok = rows.ok | (rows.slice < 40) | (rows.slice >= 48)  # of the fitted slices the second half that is served fails
    failed = (~ok).astype(np.float32)
    rtt = np.where(ok, np.nan_to_num(rows.outcomes["rtt_ms"], nan=5.0), np.nan).astype(np.float32)
    cost = np.where(ok, rtt, np.float32(1_000.0))
    rows = dataclasses.replace(rows, ok=ok, outcomes={"rtt_ms": rtt, "failed": failed, "cost": cost})
    monkeypatch.setattr(train, "fit_heads", None)
    with pytest.raises(DataError, match=r"^training.rehearse: expected to fit without slices 36 to 47, .* only 0$"):
        train_model(rows, rehearsing(**FIT), tmp_path, seed=0, threads=1)

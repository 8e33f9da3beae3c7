"""``fogline lifetime``: what the model says of nodes whose true chances are known, and of the measured list."""

import msgspec
import numpy as np
import polars as pl
import pytest

from scheduler.errors import InputError, SpecError
from scheduler.model.model import Model
from tests.sightings_world import CHANCES, JOINED, N_SNAPSHOTS, write_sightings
from tests.small_world import fogline
from training.availability import LifetimeOptions, judge_lifetimes, write_lifetimes
from training.pipeline.train import train_model
from training.specs.builtin import find_spec
from training.telemetry import read_telemetry


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_sightings(tmp_path_factory.mktemp("sightings"))


@pytest.fixture(scope="module")
def result(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    options = LifetimeOptions(horizons=(2,), start=JOINED + 5, out=out, threads=1)
    return judge_lifetimes(data, find_spec("vpngate"), options)


def least_loss(horizon):
    """Return the mean log loss of who knows the kinds' chances, over sightings, which the steady ones make more of."""
    chances = np.array(list(CHANCES.values()))
    p = 1 - (1 - chances) ** horizon
    return float(np.average(-(p * np.log(p) + (1 - p) * np.log(1 - p)), weights=chances))


@pytest.mark.slow
def test_the_model_comes_near_to_who_knows_the_true_chances(result):
    scores = result.horizons[0].presence
    model = scores["model"]["all"]
    assert model["log_loss"] == pytest.approx(least_loss(2), abs=0.06)
    assert model["log_loss"] < scores["frequency:global"]["all"]["log_loss"] - 0.05
    assert model["log_loss"] < scores["kaplan_meier:global"]["all"]["log_loss"] - 0.05
    assert model["calibration_error"] < 0.06
    assert scores["kaplan_meier:kind"]["all"]["log_loss"] == pytest.approx(least_loss(2), abs=0.05)


def test_nodes_first_seen_in_the_judged_slices_are_a_slice_of_the_table(result):
    scores = result.horizons[0].presence
    assert {*scores} >= {"model", "frequency:node", "frequency:country", "frequency:kind", "kaplan_meier:country"}
    for slices in scores.values():
        assert 0 < slices["new"]["n"] < slices["all"]["n"]


def test_speed_is_judged_where_it_was_measured_again(result):
    speed = result.horizons[0].speed
    seen_again = result.horizons[0].presence["model"]["all"]
    assert speed["model"]["all"]["n"] == round(seen_again["n"] * seen_again["mean"])
    assert speed["mean:node"]["all"]["rmse_log"] == pytest.approx(0.2, abs=0.05)
    assert speed["last"]["all"]["rmse_log"] == pytest.approx(0.2 * np.sqrt(2), abs=0.05)
    assert speed["model"]["all"]["rmse_log"] < speed["mean:country"]["all"]["rmse_log"] / 2


def test_what_was_fitted_had_ended_before_the_judged_slices(result):
    window = Model.load(result.horizons[0].artifact).manifest.window
    assert window["last_slice"] == JOINED + 5 - 2 - 1
    assert window["rows"] == result.horizons[0].n_fitted


@pytest.mark.slow
def test_judged_outcomes_do_not_reach_the_model(data, result, tmp_path):
    sightings = pl.read_parquet(data / "telemetry.parquet").filter(pl.col("slice") < JOINED + 5)
    (tmp_path / "past").mkdir()
    sightings.write_parquet(tmp_path / "past" / "telemetry.parquet")
    for name in ("nodes.parquet", "clients.parquet"):
        (tmp_path / "past" / name).write_bytes((data / name).read_bytes())
    spec = find_spec("vpngate")
    spec = msgspec.structs.replace(spec, training=msgspec.structs.replace(spec.training, embargo=2))
    past = read_telemetry(write_lifetimes(tmp_path / "past", tmp_path / "telemetry", 2), spec)
    again = train_model(past, spec, tmp_path, threads=1)
    assert again.folder.name == result.horizons[0].artifact.name


def test_pictures_and_telemetry_stay_beside_the_artifact(result):
    folder = result.horizons[0].artifact.parent
    assert (folder / "plots" / "gone-calibration.png").stat().st_size > 0
    assert (folder / "telemetry" / "telemetry.parquet").is_file()


@pytest.mark.slow
def test_the_command_prints_tables_or_one_json_object(data, tmp_path, capfd):
    options = ["lifetime", data, "--horizon", 1, "--out", tmp_path, "--threads", 1]
    ran = fogline(capfd, *options, "--json")
    assert ran.code == 0
    assert {*ran.json} == {"data", "spec", "start", "horizons", "seed", "command", "versions"}
    assert ran.json["start"] == N_SNAPSHOTS * 4 // 5 + 5
    found = ran.json["horizons"][0]
    assert {*found} == {"horizon", "hours", "artifact", "model", "n_fitted", "presence", "speed", "warnings"}
    assert found["hours"] == 6.0
    shown = fogline(capfd, *options)
    assert shown.code == 0
    assert "frequency:node" in shown.out
    assert "Speed at the next sighting" in shown.out


@pytest.mark.parametrize("horizon", [0, 40])
def test_a_horizon_that_does_not_fit_is_refused(data, tmp_path, horizon, capfd):
    ran = fogline(capfd, "lifetime", data, "--horizon", horizon, "--out", tmp_path / "out")
    assert ran.code == 2
    assert "horizon: expected 1 to 15 snapshots" in ran.err
    assert not (tmp_path / "out").exists()


def test_a_start_outside_the_data_is_refused(data, tmp_path):
    with pytest.raises(InputError, match="horizon: expected"):
        judge_lifetimes(data, find_spec("vpngate"), LifetimeOptions(start=9_999, out=tmp_path))


def test_a_spec_that_predicts_no_failure_is_refused(data, tmp_path):
    with pytest.raises(SpecError, match="spec seattle: expected a head with the target failed"):
        judge_lifetimes(data, find_spec("seattle"), LifetimeOptions(out=tmp_path))


@pytest.mark.slow
def test_on_the_measured_list_the_model_beats_every_baseline(shared_data, tmp_path):
    options = LifetimeOptions(horizons=(4,), out=tmp_path, threads=1)
    found = judge_lifetimes(shared_data / "vpngate", find_spec("vpngate"), options).horizons[0]
    for which in ("all", "new"):
        model = found.presence["model"][which]
        for name, scores in found.presence.items():
            if name != "model":
                assert model["log_loss"] < scores[which]["log_loss"], name
                assert model["brier"] < scores[which]["brier"], name
                assert model["auc"] > scores[which]["auc"] + 0.02, name
    rmse = {name: scores["all"]["rmse_log"] for name, scores in found.speed.items()}
    assert min(rmse, key=rmse.__getitem__) == "model"

"""The search: the same call goes on where a killed one ended, and what it finds can be trained with."""

import fcntl
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from scheduler.spec import load_spec
from tests.registries import new_registry
from tests.small_world import UNTIL, fogline
from training.features.split import split_slices
from training.tracking.trials import TrialRuns
from training.tuning.gain import Gain
from training.tuning.objective import Judge
from training.tuning.tune import TuningOptions, tune

QUICK = ("--objective", "loss", "--folds", 2, "--threads", 1)
N_TRIALS = 4
DONE = "select count(*) from trials where state in ('COMPLETE', 'PRUNED')"


@pytest.fixture(scope="module")
def call(small_world, tmp_path_factory):
    """Words of a quick search in a folder of its own."""

    def words(folder, trials, *more):
        folder.mkdir(exist_ok=True)
        if not (folder / "registry").exists():
            new_registry(tmp_path_factory.getbasetemp(), folder / "registry")
        return [
            *("tune", small_world.data, "--spec", small_world.spec_file, "--trials", trials, *QUICK, *more),
            *("--registry", f"sqlite:///{folder / 'registry' / 'mlflow.db'}"),
            *("--storage", folder / "tuning.db", "--out", folder / "tuned.toml", "--json"),
        ]

    return words


@pytest.fixture(scope="module")
def whole(call, tmp_path_factory):
    """A folder in which all trials ran without interruption."""
    folder = tmp_path_factory.mktemp("whole")
    ran = subprocess.run(program(call(folder, N_TRIALS)), check=True, capture_output=True, env=environment())
    assert ran.stderr == b""
    return folder, trials_of(folder)


def program(words):
    return [sys.executable, "-m", "training.cli", *map(str, words)]


def environment():
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3]), "OMP_WAIT_POLICY": "PASSIVE"}


def finished(folder):
    try:
        with closing(sqlite3.connect(f"file:{folder / 'tuning.db'}?mode=ro", uri=True)) as database:
            return database.execute(DONE).fetchone()[0]
    except sqlite3.OperationalError:  # not there yet, or being written
        return 0


def trials_of(folder):
    """Return what the finished trials tried and found, in order."""
    query = (
        "select t.trial_id, p.param_name, p.param_value, v.intermediate_value from trials t "
        "join trial_params p on p.trial_id = t.trial_id "
        "join trial_intermediate_values v on v.trial_id = t.trial_id "
        "where t.state in ('COMPLETE', 'PRUNED') order by t.number, p.param_name, v.step"
    )
    with closing(sqlite3.connect(folder / "tuning.db")) as database:
        rows = database.execute(query).fetchall()
    found = {}
    for trial, *rest in rows:
        found.setdefault(trial, []).append(tuple(rest))
    return list(found.values())


@pytest.mark.slow
def test_a_killed_search_goes_on_and_tries_the_same_as_one_that_was_not(whole, call, tmp_path, capfd):
    folder = tmp_path / "killed"
    with subprocess.Popen(program(call(folder, N_TRIALS)), stdout=subprocess.DEVNULL, env=environment()) as running:
        while finished(folder) < 2:
            assert running.poll() is None
            time.sleep(0.02)
        running.send_signal(signal.SIGKILL)
    at_the_kill = finished(folder)
    assert 2 <= at_the_kill < N_TRIALS
    ran = fogline(capfd, *call(folder, N_TRIALS))
    assert ran.code == 0
    assert (ran.json["trials"], ran.json["resumed"]) == (N_TRIALS, at_the_kill)
    assert trials_of(folder) == whole[1]
    statuses = [run.info.status for run in runs(folder)]
    assert "RUNNING" not in statuses
    assert statuses.count("FINISHED") == 1 + N_TRIALS


@pytest.mark.slow
def test_runs_of_trials_that_did_not_finish_count_as_killed_wherever_their_process_ended(tmp_path, tmp_path_factory):
    new_registry(tmp_path_factory.getbasetemp(), tmp_path / "registry")
    uri = f"sqlite:///{tmp_path / 'registry' / 'mlflow.db'}"
    search, other = (TrialRuns("demo", uri, tags={}) for _ in range(2))
    for number in (0, 2):  # the process of the second ended before its search knew that it had finished
        search.end(search.begin(number, {"rounds": 9}), "loss", [0.5], "complete")
    search.begin(1, {})
    other.begin(1, {})
    search.kill_all_but([0])
    said = {(run.data.tags.get("mlflow.parentRunId"), run.data.tags["mlflow.runName"]): run for run in runs(tmp_path)}
    assert {key: run.info.status for key, run in said.items() if key[0]} == {
        (search.parent, "trial 0"): "FINISHED",
        (search.parent, "trial 1"): "KILLED",
        (search.parent, "trial 2"): "KILLED",
        (other.parent, "trial 1"): "RUNNING",
    }


@pytest.mark.slow
def test_a_finished_search_is_only_told_again(whole, call, capfd):
    folder, trials = whole
    ran = fogline(capfd, *call(folder, N_TRIALS))
    assert (ran.code, ran.json["resumed"], ran.json["trials"]) == (0, N_TRIALS, N_TRIALS)
    assert trials_of(folder) == trials


def runs(folder):
    uri = f"sqlite:///{folder / 'registry' / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    return client.search_runs([client.get_experiment_by_name("demo").experiment_id])


@pytest.mark.slow
def test_mlflow_has_a_parent_run_and_a_run_a_trial(whole):
    folder, trials = whole
    everything = {run.info.run_id: run for run in runs(folder)}
    (parent,) = (run for run in everything.values() if run.data.tags["mlflow.runName"] == "tune")
    children = [run for run in everything.values() if "mlflow.parentRunId" in run.data.tags]
    assert len(children) == len(trials) == N_TRIALS
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {int(run.data.params["num_leaves"]) for run in children} >= {8}
    values = [run.data.metrics["loss"] for run in children]
    assert parent.data.metrics["best"] == min(values) <= parent.data.metrics["first"]


@pytest.mark.slow
def test_the_tuned_spec_trains_and_differs_in_training_settings_alone(whole, small_world, capfd):
    folder, _ = whole
    tuned, spec = load_spec(folder / "tuned.toml"), small_world.spec
    assert tuned.fingerprint() == spec.fingerprint()
    assert (tuned.utility, tuned.policy, tuned.evaluation) == (spec.utility, spec.policy, spec.evaluation)
    assert tuned.training != spec.training
    registry = f"sqlite:///{folder / 'registry' / 'mlflow.db'}"
    words = ["train", small_world.data, "--spec", folder / "tuned.toml", "--until", UNTIL, "--threads", 1]
    ran = fogline(capfd, *words, "--registry", registry, "--out", folder / "artifacts", "--json")
    assert (ran.code, ran.json["promoted"]) == (0, True)


@pytest.mark.slow
def test_decisions_can_be_the_objective_and_the_best_is_no_worse_than_the_spec(call, tmp_path, capfd):
    words = call(tmp_path, 3, "--objective", "gap_closed_log", "--only", "num_leaves", "--only", "reveal")
    ran = fogline(capfd, *words)
    assert ran.code == 0
    assert ran.json["best"]["params"].keys() == {"num_leaves", "reveal"}
    assert ran.json["first"]["params"] == {"num_leaves": 8, "reveal": 1.0}
    assert 0.0 < ran.json["first"]["value"] <= ran.json["best"]["value"] < 1.0
    assert ran.json["best"]["value"] == pytest.approx(sum(ran.json["best"]["folds"]) / 2)


@pytest.mark.slow
def test_rows_of_the_test_window_are_never_looked_at(small_world, tmp_path, tmp_path_factory, monkeypatch):
    seen = []
    read = sys.modules["training.tuning.tune"].read_telemetry
    monkeypatch.setattr("training.tuning.tune.read_telemetry", lambda *a, **k: seen.append(k["until"]) or read(*a, **k))
    options = TuningOptions(
        registry=new_registry(tmp_path_factory.getbasetemp(), tmp_path / "registry"),
        trials=1,
        folds=1,
        objective="loss",
        out=tmp_path / "tuned.toml",
        storage=tmp_path / "tuning.db",
        threads=1,
    )
    tune(small_world.data, small_world.spec, options)
    assert seen == [UNTIL]


def tuned_once(world, tmp_path, tmp_path_factory):
    """One trial, with a registry of its own."""
    options = TuningOptions(
        registry=new_registry(tmp_path_factory.getbasetemp(), tmp_path / "registry"),
        until=UNTIL,
        trials=1,
        out=tmp_path / "tuned.toml",
        storage=tmp_path / "tuning.db",
    )
    return tune(world.data, world.spec, options)


@pytest.mark.slow
def test_the_slices_that_compare_with_the_champion_are_left_out_and_the_spec_says_so(
    small_world, tmp_path, tmp_path_factory, monkeypatch
):
    last, (first, *_) = [], split_slices(np.arange(UNTIL, dtype=np.int32), small_world.spec).bounds[::-1]
    monkeypatch.setattr(
        Judge, "score", lambda self, fold, _: last.append(int(self._telemetry.slice.max())) or fold.stop
    )
    monkeypatch.setattr(Judge, "saturated", lambda *_: "")
    found = tuned_once(small_world, tmp_path, tmp_path_factory)
    assert max(last) == first - 1
    assert found.best.value <= first
    assert load_spec(tmp_path / "tuned.toml").training.tuned_until == first


@pytest.mark.slow
def test_nothing_is_called_best_where_nothing_can_be_won(small_world, tmp_path, tmp_path_factory, monkeypatch):
    scored = []
    monkeypatch.setattr(Judge, "score", lambda *_: scored.append(1) or 0.5)
    monkeypatch.setattr(Judge, "saturated", lambda *_: "saturated: pair_average closes 0.995 of the gap")
    found = tuned_once(small_world, tmp_path, tmp_path_factory)
    assert found.warnings[0] == "saturated: pair_average closes 0.995 of the gap; no settings are called best"
    assert (found.to_json()["best"], found.to_json()["spec"]) == (None, None)
    assert found.n_trials == 1  # the spec's own settings, for the figures
    assert scored
    assert not (tmp_path / "tuned.toml").exists()


@pytest.mark.slow
def test_a_tuned_spec_that_cannot_be_written_leaves_the_file_as_it_was(
    small_world, tmp_path, tmp_path_factory, monkeypatch
):
    (tmp_path / "tuned.toml").write_text("mine")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Judge, "score", lambda *_: 0.5)
    monkeypatch.setattr(Judge, "saturated", lambda *_: "")
    monkeypatch.setattr("scheduler.runtime.durable.sync", full)
    with pytest.raises(OSError, match="No space"):
        tuned_once(small_world, tmp_path, tmp_path_factory)
    assert [(path.name, path.read_text()) for path in tmp_path.glob("*tuned.toml*")] == [("tuned.toml", "mine")]


def test_a_second_search_at_the_same_storage_is_refused(call, tmp_path, capfd):
    words = call(tmp_path, 1)
    with (tmp_path / "tuning.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ran = fogline(capfd, *words)
    assert ran.code == 2
    message = f"{tmp_path / 'tuning.db'}: expected no other search at it, found one running"
    assert ran.json["error"] == {"type": "InputError", "message": message}


def test_a_setting_that_cannot_be_varied_was_a_wrong_call(call, tmp_path, capfd):
    ran = fogline(capfd, *call(tmp_path, 1, "--only", "wings"))
    assert ran.code == 2
    assert ran.json["error"]["message"].startswith("only: expected some of num_leaves, ")


def test_a_gain_is_told_by_its_own_number_of_folds():
    """Of three folds two standard errors are chance in one of five; a single fold tells nothing."""
    assert not Gain.of([0.5], [0.9]).told
    three = Gain.of([0.0, 0.0, 0.0], [0.1, 0.2, 0.3])
    assert three.mean > 2.0 * three.error
    assert not three.told
    assert Gain.of([0.0] * 3, [0.20, 0.21, 0.22]).told
    assert not Gain.of([0.0, 0.0], [0.0, 0.0]).told

"""From telemetry to the champion: what is registered, and who may take over."""

import re
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from scheduler.model.model import Model
from scheduler.spec import parse_spec
from tests.registries import new_registry
from tests.small_world import POOR, UNTIL, spec_text
from training.pipeline.options import TrainingOptions
from training.pipeline.pipeline import train_and_register
from training.pipeline.promotion import CHAMPION, champion

pytestmark = pytest.mark.slow

GOOD_SPEC, POOR_SPEC = parse_spec(spec_text()), parse_spec(spec_text(POOR))
OTHER_SPEC = parse_spec(spec_text().replace('hour = { op = "clock", period = "24h" }\n', ""))


@pytest.fixture
def train(small_world, tmp_path, tmp_path_factory):
    """Train with a spec into a registry of the test's own."""
    registry = new_registry(tmp_path_factory.getbasetemp(), tmp_path / "registry")

    def run(spec, **options):
        given = TrainingOptions(registry=registry, until=UNTIL, out=tmp_path / "artifacts", threads=1, **options)
        return train_and_register(small_world.data, spec, given)

    run.registry = registry
    return run


def tags(registry, version):
    return MlflowClient(tracking_uri=registry, registry_uri=registry).get_model_version("demo", version).tags


def test_the_run_tells_how_the_model_was_made(trained):
    client = MlflowClient(tracking_uri=trained.registry, registry_uri=trained.registry)
    run = client.get_run(trained.result["run_id"])
    params = run.data.params
    assert (params["spec"], params["until"], params["seed"]) == ("demo", str(UNTIL), "0")
    assert (params["lightgbm.num_leaves"], params["lightgbm.learning_rate"]) == ("8", "0.2")
    assert (params["lightgbm.deterministic"], params["lightgbm.force_row_wise"]) == ("True", "True")
    assert params["failure.lightgbm.objective"] == "binary"
    assert int(params["latency.rows"]) < int(params["failure.rows"])
    assert 0 < int(params["failure.trees"]) <= 15
    assert run.data.metrics == pytest.approx(trained.result["metrics"])
    (given,) = run.inputs.dataset_inputs
    assert given.dataset.name == trained.world.data.name
    plots = [Path(file.path).name for file in client.list_artifacts(run.info.run_id, "plots")]
    assert plots == [
        f"{head}-{what}.png"
        for head in ("failure", "latency", "throughput", "typical")
        for what in ("calibration", "importance")
    ]


def test_the_run_tells_what_lightgbm_used_whatever_the_spec_calls_it(train):
    text = spec_text().replace("num_leaves = 8", "max_leaves = 6").replace("learning_rate = 0.2", "eta = 0.3")
    result = train(parse_spec(text.replace("[heads.latency]", "[heads.latency]\nlightgbm = { max_leaf = 5 }")))
    run = MlflowClient(tracking_uri=train.registry).get_run(result.registered.run_id)
    shown = {name: value for name, value in run.data.params.items() if "leaves" in name or "learning_rate" in name}
    assert shown == {
        "lightgbm.learning_rate": "0.3",
        "failure.lightgbm.num_leaves": "6",
        "latency.lightgbm.num_leaves": "5",
        "throughput.lightgbm.num_leaves": "6",
        "typical.lightgbm.num_leaves": "6",
    }
    for head, leaves in (("failure", 6), ("latency", 5)):
        assert f"[num_leaves: {leaves}]" in (result.summary.folder / f"{head}.txt").read_text()


def test_mlflow_serves_the_champion_as_the_model_predicts(trained, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", trained.registry)
    model = Model.load(trained.artifact)
    x = np.random.default_rng(0).normal(size=(500, len(model.features.names)))
    x[np.random.default_rng(1).random(x.shape) < 0.3] = np.nan
    out = mlflow.pyfunc.load_model("models:/demo@champion").predict(pd.DataFrame(x, columns=model.features.names))
    assert list(out.columns) == list(model.heads)
    for head, values in model.predict(x).items():
        np.testing.assert_array_equal(out[head], values)


def test_the_registered_model_is_the_artifact(trained, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # where the cache goes
    assert Model.load(f"models:/demo@{CHAMPION}", trained.registry).manifest == Model.load(trained.artifact).manifest


def test_the_same_training_again_is_the_same_model_and_stays_a_candidate(train):
    one, two = train(GOOD_SPEC), train(GOOD_SPEC)
    assert (one.uri, two.uri) == ("models:/demo/1", "models:/demo/2")
    assert one.summary.folder == two.summary.folder
    assert one.summary.metrics() == two.summary.metrics()
    assert one.promotion == (True, "there was no champion")
    assert not two.promotion.moved
    reason = re.fullmatch(r"not better than version 1: mean cost on .* (\S+) against (\S+), .*", two.promotion.reason)
    assert reason[1] == reason[2]
    assert champion("demo", train.registry) == "1"


def test_a_better_model_takes_over_a_worse_one_does_not_unless_asked(train):
    assert train(POOR_SPEC).promotion.moved
    better = train(GOOD_SPEC)
    assert better.promotion.moved
    assert better.promotion.reason.startswith("better than version 1: mean cost on the last slices ")
    assert champion("demo", train.registry) == "2"
    worse = train(POOR_SPEC)
    assert not worse.promotion.moved
    assert worse.promotion.reason.startswith("not better than version 2: ")
    assert champion("demo", train.registry) == "2"
    asked = train(POOR_SPEC, promote=True)
    assert asked.promotion.moved
    assert asked.promotion.reason.startswith("promotion was asked for; version 2 was champion; mean cost ")
    assert champion("demo", train.registry) == "4"
    assert tags(train.registry, "3")["promotion_reason"] == worse.promotion.reason
    assert tags(train.registry, "4")["promotion"] == "moved"


def test_a_champion_of_other_features_stays_and_the_reason_says_so(train):
    train(GOOD_SPEC)
    other = train(OTHER_SPEC)
    theirs, ours = GOOD_SPEC.fingerprint(), OTHER_SPEC.fingerprint()
    obstacle = (
        f"the champion was trained for other features (fingerprint {theirs}, now {ours}), so they cannot be compared"
    )
    assert other.promotion == (False, f"{obstacle}; use --promote")
    assert tags(train.registry, "2")["promotion_reason"] == other.promotion.reason
    forced = train(OTHER_SPEC, promote=True)
    assert forced.promotion == (True, f"promotion was asked for; version 1 was champion; {obstacle}")
    assert champion("demo", train.registry) == "3"


def test_a_champion_whose_files_are_lost_stays_and_the_reason_says_so(train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(GOOD_SPEC)
    shutil.rmtree(tmp_path / "registry" / "artifacts")
    again = train(GOOD_SPEC)
    assert not again.promotion.moved
    assert again.promotion.reason.startswith("the champion cannot be loaded (registry ")
    assert again.promotion.reason.endswith("), so they cannot be compared; use --promote")
    assert train(GOOD_SPEC, promote=True).promotion.moved


def test_progress_is_told_of_every_stage(small_world, tmp_path, tmp_path_factory):
    told = {}
    registry = new_registry(tmp_path_factory.getbasetemp(), tmp_path / "registry")
    options = TrainingOptions(registry=registry, until=UNTIL, out=tmp_path / "artifacts", threads=1)
    train_and_register(small_world.data, GOOD_SPEC, options, lambda what, done, of: told.update({what: (done, of)}))
    assert told.keys() == {
        "read",
        "replay",
        *(f"fit {head}" for head in ("failure", "latency", "throughput", "typical")),
    }
    assert all(done == of for done, of in told.values())

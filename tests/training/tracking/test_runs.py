"""Tracking, registering, serving through mlflow, and who becomes champion."""

import json
import math
import os
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import polars as pl
import pytest
from mlflow import MlflowClient

from scheduler.errors import ArtifactError, InputError, RegistryError
from scheduler.model.artifact import check_files
from scheduler.model.model import Model
from scheduler.model.pyfunc import FrameModel
from tests.artifacts import VOCABULARY, rows, write_tiny
from tests.registries import DATA, new_registry, register
from training.evaluation.verdict import Verdict
from training.pipeline.promotion import CHAMPION, Promotion, champion, promote
from training.tracking.runs import track
from training.tracking.versions import CANNOT_BE_TOLD, KEPT, MOVED

pytestmark = pytest.mark.slow

WORSE, BETTER = Verdict("not better", "mean cost +4.6 %"), Verdict("better", "mean cost -4.4 %")


@pytest.fixture
def registry(tmp_path, tmp_path_factory) -> str:
    return new_registry(tmp_path_factory.getbasetemp(), tmp_path / "registry")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A registered champion: its registry's URI and what was registered."""
    folder = tmp_path_factory.mktemp("served")
    registry = new_registry(tmp_path_factory.getbasetemp(), folder / "registry")
    plot = folder / "importance.svg"
    plot.write_text("<svg/>")
    registered = register(
        registry,
        folder / "artifact",
        plots=[plot],
        tags={"spec_file": "tiny.toml"},
        metrics={"gap": 0.5, "infinite": math.inf},
    )
    promote("tiny", registered.version, registry=registry)
    return folder, registry, registered


@pytest.fixture
def loaded(served, monkeypatch):
    """The model as mlflow's own users load it."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", served[1])
    return mlflow.pyfunc.load_model("models:/tiny@champion")


@pytest.fixture
def model(served) -> Model:
    return Model.load(served[0] / "artifact")


@pytest.fixture
def coded() -> np.ndarray:
    """Rows as the model reads them: categories as codes."""
    return rows(50)


@pytest.fixture
def frame(model, coded) -> pd.DataFrame:
    """The same rows as a caller has them: raw categories."""
    made = pd.DataFrame(coded.astype(np.float64), columns=model.features.names, index=range(100, 150))
    for name, values in (("request_isp", VOCABULARY["request.isp"]), ("node_isp", VOCABULARY["node.isp"])):
        made[name] = pd.Series([None if np.isnan(c) else values[int(c)] for c in made[name]], made.index, dtype=object)
    return made


def test_a_run_holds_parameters_metrics_tags_and_plots(served):
    folder, registry, registered = served
    client = MlflowClient(tracking_uri=registry)
    run = client.get_run(registered.run_id)
    assert run.info.status == "FINISHED"
    assert client.get_experiment(run.info.experiment_id).name == "tiny"
    assert run.data.params == {"rounds": "10", "window.rows": "2000", "window.until_slice": "9"}
    assert run.data.metrics == {"latency.mae": 1.5, "gap": 0.5}
    manifest = check_files(folder / "artifact")
    expected = {
        "artifact_version": manifest.version,
        "artifact_digest": manifest.digest,
        "fingerprint": manifest.fingerprint,
        "data_digest": DATA.digest,
        "spec_file": "tiny.toml",
    }
    assert expected.items() <= run.data.tags.items()
    assert [file.path for file in client.list_artifacts(registered.run_id, "plots")] == ["plots/importance.svg"]
    assert expected.items() <= client.get_model_version("tiny", registered.version).tags.items()


def test_a_run_names_its_data_set(served):
    _, registry, registered = served
    (given,) = MlflowClient(tracking_uri=registry).get_run(registered.run_id).inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("tiny", DATA.digest[:36])
    assert json.loads(given.dataset.source) == {"uri": "/data/tiny"}
    assert json.loads(given.dataset.profile) == {
        "num_rows": 2_000,
        "window": {"rows": 2_000, "until_slice": 9},
    }


def test_what_was_logged_is_data_with_stated_requirements(served):
    folder, _, registered = served
    files = [path for path in (folder / "registry" / "artifacts").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".npz", ".txt", ".onnx", ".yaml", ".svg", ""}
    (requirements,) = (path.read_text() for path in files if path.name == "requirements.txt")
    names = {line.partition("==")[0] for line in requirements.split()}
    assert names == {"mlflow", "fogline", "msgspec", "numba", "numpy"}
    assert registered.uri == "models:/tiny/1"


def test_numbers_of_versions_rise(registry, tmp_path):
    assert [register(registry, tmp_path / f"a{i}", seed=i).version for i in range(3)] == ["1", "2", "3"]


def test_the_default_registry_needs_no_server(tmp_path, tmp_path_factory, monkeypatch):
    new_registry(tmp_path_factory.getbasetemp(), tmp_path / ".fogline")
    monkeypatch.chdir(tmp_path)
    registered = register(None, tmp_path / "a")
    assert promote("tiny", registered.version) == Promotion(MOVED, "there was no champion")
    assert Model.load("models:/tiny@champion").name == "tiny"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".fogline", "a"]
    assert sorted(path.name for path in (tmp_path / ".fogline").iterdir()) == [
        "artifacts",
        "cache",
        "mlflow.db",
        "mlflow.db.lock",
    ]


def test_a_fresh_registry_is_made_on_first_use_without_a_word(tmp_path, capfd):
    registry = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    assert register(registry, tmp_path / "a").version == "1"
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_mlflows_process_wide_settings_are_left_alone(registry, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///users.db")
    register(registry, tmp_path / "a")
    assert mlflow.get_tracking_uri() == "sqlite:///users.db"
    assert mlflow.get_registry_uri() == "sqlite:///users.db"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(None)
    register(registry, tmp_path / "b")
    assert not {"MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"} & os.environ.keys()


def test_a_damaged_artifact_is_not_tracked(registry, tmp_path):
    folder = write_tiny(tmp_path / "a")
    (folder / "spec.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"spec\.json"):
        track(folder, params={}, data=DATA, registry=registry)
    assert MlflowClient(tracking_uri=registry, registry_uri=registry).search_registered_models() == []


def test_a_registry_that_is_down_is_named(tmp_path):
    with pytest.raises(
        RegistryError, match=r"registry http://127\.0\.0\.1:9: expected an MLflow server that takes a run"
    ):
        register("http://127.0.0.1:9", tmp_path / "a")


def test_mlflow_serves_what_the_model_predicts(loaded, model, frame, coded):
    out = loaded.predict(frame)
    assert list(out.columns) == ["failure", "latency"]
    assert list(out.index) == list(frame.index)
    for head, values in model.predict(coded).items():
        np.testing.assert_array_equal(out[head], values)


def test_columns_may_come_in_any_order_and_with_others(loaded, frame):
    expected = loaded.predict(frame)
    shuffled = frame[list(reversed(frame.columns))].assign(more="x")
    pd.testing.assert_frame_equal(loaded.predict(shuffled), expected)


def test_an_integer_category_is_its_raw_value_and_no_code(model, frame, coded):
    out = FrameModel(model).predict(frame.assign(node_isp=20))
    coded[:, 2] = 1  # the place of 20 in the vocabulary
    np.testing.assert_array_equal(out["latency"], model.predict(coded)["latency"])
    as_float = FrameModel(model).predict(frame.assign(node_isp=20.0))  # as pandas has integers with nulls
    pd.testing.assert_frame_equal(out, as_float)


@pytest.mark.parametrize("unknown", ["violet", None, np.nan])
def test_an_unknown_category_is_missing(model, frame, coded, unknown):
    out = FrameModel(model).predict(frame.assign(request_isp=unknown))
    coded[:, 0] = np.nan
    np.testing.assert_array_equal(out["failure"], model.predict(coded)["failure"])


def test_texts_where_categories_are_integers_are_refused(model, frame):
    with pytest.raises(InputError, match=r"expected strings in column 'request_isp'.*found integers"):
        FrameModel(model).predict(frame.assign(request_isp=1))


def test_the_signature_is_typed_and_has_an_example_that_predicts(loaded):
    types = {column.name: str(column.type) for column in loaded.metadata.signature.inputs}
    assert types["request_isp"] == "DataType.string"
    assert {types[name] for name in types if name not in ("request_isp", "node_isp")} == {"DataType.double"}
    example = loaded.input_example
    assert set(example["request_isp"]) <= set(VOCABULARY["request.isp"])
    assert loaded.predict(example).notna().all(axis=None)
    with pytest.raises(mlflow.MlflowException, match="Failed to convert column hour"):
        loaded.predict(example.assign(hour="noon"))


def test_a_run_is_named_after_its_artifact_and_described(served):
    folder, registry, registered = served
    manifest, client = check_files(folder / "artifact"), MlflowClient(tracking_uri=registry, registry_uri=registry)
    run = client.get_run(registered.run_id)
    assert run.info.run_name == f"tiny-{manifest.version}"
    version = client.get_model_version("tiny", registered.version)
    assert version.description == run.data.tags["mlflow.note.content"]
    assert "2,000 rows of `tiny`" in version.description
    assert "failure, latency" in version.description


def test_the_same_artifact_of_the_same_data_is_registered_once(registry, tmp_path):
    first = register(registry, tmp_path / "a")
    again = register(registry, tmp_path / "b")
    assert (again.version, again.run_id, again.known, first.known) == ("1", first.run_id, True, False)
    client = MlflowClient(tracking_uri=registry, registry_uri=registry)
    assert len(client.search_model_versions("name = 'tiny'")) == 1
    assert len(client.search_runs([client.get_experiment_by_name("tiny").experiment_id])) == 1
    other = register(registry, tmp_path / "c", data=DATA._replace(digest="e" * 64))
    assert (other.version, other.known) == ("2", False)


def test_a_known_version_still_becomes_champion_where_that_is_decided(registry, tmp_path):
    register(registry, tmp_path / "a")
    again = register(registry, tmp_path / "b", decide=lambda _: Promotion(MOVED, "it was asked for"))
    assert again.promotion.moved
    assert champion("tiny", registry) == "1"
    third = register(registry, tmp_path / "c", decide=lambda _: Promotion(MOVED, "again"))
    assert third.promotion == Promotion(KEPT, "version 1 is this very model and the champion already")


def test_a_missing_column_is_named_by_mlflow(loaded, frame):
    with pytest.raises(mlflow.MlflowException, match=r"missing inputs.*hour"):
        loaded.predict(frame.drop(columns="hour"))


def test_frames_of_every_kind_come_back_as_they_came(model, frame, coded):
    direct = FrameModel(model)
    coded[:, 2] = 0  # Polars has no column of integers and texts
    frame = frame.assign(node_isp=10)
    expected = model.predict(coded)
    columns = {name: frame[name].to_numpy() for name in reversed(frame.columns)}
    polars = pl.DataFrame({name: frame[name].to_list() for name in frame}, nan_to_null=False)
    assert isinstance(direct.predict(polars), pl.DataFrame)
    for out in (direct.predict(columns), direct.predict(polars), direct.predict(frame)):
        for head, values in expected.items():
            np.testing.assert_array_equal(out[head], values)


def test_missing_and_wrong_columns_are_named(model, frame):
    direct = FrameModel(model)
    with pytest.raises(InputError, match="a column for each of 7 features, found none for hour, uplink"):
        direct.predict(frame.drop(columns=["uplink", "hour"]))
    with pytest.raises(InputError, match="expected numbers in column 'hour'"):
        direct.predict(frame.assign(hour="noon"))
    columns = {name: frame[name].to_numpy() for name in frame}
    with pytest.raises(InputError, match="one number a row in column 'hour'"):
        direct.predict(columns | {"hour": np.zeros((50, 2))})
    with pytest.raises(InputError, match="as many rows"):
        direct.predict(columns | {"hour": np.zeros(3)})


@pytest.fixture
def two(registry, tmp_path) -> str:
    """A registry whose version 1 is champion and whose version 2 wants to be."""
    for seed in (1, 2):
        register(registry, tmp_path / f"a{seed}", seed=seed)
    assert champion("tiny", registry) is None
    assert promote("tiny", "1", verdict=WORSE, registry=registry).moved
    return registry


@pytest.mark.parametrize(
    ("options", "outcome", "reason"),
    [
        ({}, CANNOT_BE_TOLD, "no comparison was made; use --promote"),
        ({"obstacle": "no requests"}, CANNOT_BE_TOLD, "no requests; use --promote"),
        ({"verdict": Verdict("cannot be told", "x", 9)}, CANNOT_BE_TOLD, "x; use --promote"),
        ({"verdict": WORSE}, KEPT, "not better than version 1: mean cost +4.6 %"),
        ({"verdict": BETTER}, MOVED, "better than version 1: mean cost -4.4 %"),
        ({"force": True}, MOVED, "promotion was asked for; version 1 was champion; no comparison was made"),
        (
            {"force": True, "verdict": WORSE},
            MOVED,
            "promotion was asked for; version 1 was champion; mean cost +4.6 %",
        ),
    ],
)
def test_the_champion_changes_only_for_a_better_one_or_on_demand(two, options, outcome, reason):
    promotion = promote("tiny", "2", registry=two, **options)
    moved = outcome == MOVED
    assert (promotion.outcome, promotion.moved) == (outcome, moved)
    assert reason in promotion.reason
    assert champion("tiny", two) == ("2" if moved else "1")
    client = MlflowClient(registry_uri=two, tracking_uri=two)
    tags = client.get_model_version("tiny", "2").tags
    assert (tags["promotion"], tags["promotion_reason"]) == (outcome, promotion.reason)
    assert str(client.get_model_version_by_alias("tiny", CHAMPION).version) == champion("tiny", two)


def test_the_champion_stays_champion(two):
    promotion = promote("tiny", "1", verdict=BETTER, force=True, registry=two)
    assert promotion == Promotion(KEPT, "version 1 is the champion already")


@pytest.mark.parametrize(("name", "version"), [("tiny", "9"), ("nobody", "1")])
def test_a_version_that_does_not_exist_is_named(two, name, version):
    with pytest.raises(RegistryError, match=f"expected .*{name}.*, found none"):
        promote(name, version, force=True, registry=two)
    assert champion("tiny", two) == "1"


def test_a_missing_database_has_no_champion(tmp_path):
    with pytest.raises(RegistryError, match="expected a database, found no such file"):
        champion("tiny", f"sqlite:///{Path(tmp_path) / 'mlflow.db'}")

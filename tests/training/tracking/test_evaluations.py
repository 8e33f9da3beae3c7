"""Evaluations in the run of a version, and what is listed of versions."""

import pytest
from mlflow import MlflowClient

from scheduler.errors import RegistryError
from tests.registries import new_registry, register
from training.evaluation.verdict import Verdict
from training.pipeline.promotion import promote
from training.tracking.evaluations import log_evaluation
from training.tracking.listing import list_versions, one_version

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two versions, of which the second took over, and an evaluation and a page of the second."""
    folder = tmp_path_factory.mktemp("evaluated")
    registry = new_registry(tmp_path_factory.getbasetemp(), folder / "registry")
    for seed in (1, 2):
        register(registry, folder / f"a{seed}", seed=seed)
    promote("tiny", "1", registry=registry)
    promote("tiny", "2", verdict=Verdict("better", "mean cost -50.0 %"), registry=registry)
    page = folder / "page.html"
    page.write_text("<html>")
    said = log_evaluation(
        "models:/tiny@champion",
        metrics={"evaluation.regret": 0.7, "evaluation.gap_closed": float("nan")},
        tags={"evaluated": "9 decisions on tiny@dddddddddddd", "regret": "0.7"},
        documents={"evaluation/evaluation.json": "{}", "report/page.html": page},
        registry=registry,
    )
    return folder, registry, said


def test_figures_files_and_tags_are_in_the_run_and_the_version(world):
    _, registry, said = world
    assert said == "models:/tiny/2"
    client = MlflowClient(tracking_uri=registry, registry_uri=registry)
    version = client.get_model_version("tiny", "2")
    assert version.tags["evaluated"] == "9 decisions on tiny@dddddddddddd"
    run = client.get_run(version.run_id)
    assert run.data.metrics["evaluation.regret"] == 0.7
    assert "evaluation.gap_closed" not in run.data.metrics
    files = {one.path for place in ("evaluation", "report") for one in client.list_artifacts(version.run_id, place)}
    assert files == {"evaluation/evaluation.json", "report/page.html"}
    model = client.get_logged_model(run.outputs.model_outputs[0].model_id)
    assert {metric.key: metric.value for metric in model.metrics}["evaluation.regret"] == 0.7


def test_an_artifact_is_found_by_its_digest_and_one_that_is_not_registered_is_left_alone(world, tmp_path):
    folder, registry, _ = world
    options = {"metrics": {"x": 1.0}, "tags": {}, "documents": {}, "registry": registry}
    assert log_evaluation(folder / "a1", **options) == "models:/tiny/1"
    none = f"sqlite:///{tmp_path / 'none.db'}"
    assert log_evaluation(folder / "a1", **{**options, "registry": none}) is None
    assert not (tmp_path / "none.db").exists()


def test_versions_are_listed_with_what_became_of_them(world):
    _, registry, _ = world
    newest, first = list_versions(registry)
    assert (newest.uri, newest.aliases, newest.promotion) == ("models:/tiny/2", ("champion",), "moved")
    assert "better than version 1: mean cost -50.0 %" in newest.reason
    assert newest.promoted >= first.promoted > "2020"
    assert (newest.metrics["evaluation.regret"], newest.window) == (0.7, {"rows": "2000", "until_slice": "9"})
    assert (first.aliases, first.evaluated, newest.evaluated[:11]) == ((), "", "9 decisions")


@pytest.mark.parametrize(
    ("source", "version"), [("tiny", "2"), ("tiny/1", "1"), ("tiny@champion", "2"), ("models:/tiny/1", "1")]
)
def test_a_version_is_named_in_every_way_that_people_know(world, source, version):
    assert one_version(source, world[1]).version == version


def test_what_is_not_there_is_named(world, tmp_path):
    registry = world[1]
    with pytest.raises(RegistryError, match="model: expected one of tiny, found 'nobody'"):
        one_version("nobody", registry)
    with pytest.raises(RegistryError, match="expected the version models:/tiny/9, found none"):
        one_version("tiny/9", registry)
    with pytest.raises(RegistryError, match="expected a database, found no such file"):
        list_versions(f"sqlite:///{tmp_path / 'none.db'}")

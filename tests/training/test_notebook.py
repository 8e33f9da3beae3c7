"""Frames in, objects out: the example runs as it stands, and is the page of the docs."""

import polars as pl
import pytest

import training
from scheduler.errors import InputError
from scheduler.spec import load_spec
from tests.notebook_page import EXAMPLE, PAGE, page_of, run
from tests.registries import new_registry
from tests.small_world import UNTIL, shrink_draft
from training.notebook import Checked, Drafted, Evaluated, Trained
from training.telemetry import Frames, as_data

TEXT = EXAMPLE.read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path, tmp_path_factory, monkeypatch):
    """A working directory with an empty default registry."""
    for name in ("MLFLOW_REGISTRY_URI", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    new_registry(tmp_path_factory.getbasetemp(), tmp_path / ".fogline")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_is_made_of_the_example():
    assert PAGE.read_text(encoding="utf-8") == page_of(TEXT)


@pytest.mark.slow
def test_the_example_runs_and_every_value_shows_itself(folder, monkeypatch):
    shrink_draft(monkeypatch)
    values = run(TEXT, {})
    kinds = [type(value) for value in values]
    assert kinds == [pl.DataFrame, Drafted, Checked, Trained, Evaluated, pl.DataFrame, tuple]
    assert all("<table" in value._repr_html_() for value in values[:-1])
    evaluated, (nodes, reason, n_entries) = values[4], values[6]
    assert evaluated.regret < 1.5
    assert values[5]["policy"][0] == "oracle"
    assert nodes[0].startswith("10.0.")
    assert (reason in ("best", "explored"), n_entries > 300) == (True, True)
    assert (folder / "resolvers.html").is_file()


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_frames_and_the_folder_they_come_from_make_the_same_model(small_world):
    spec = load_spec(small_world.spec_file)
    tables = {name: pl.read_parquet(small_world.data / f"{name}.parquet") for name in ("clients", "nodes")}
    frame = pl.read_parquet(small_world.data / "telemetry.parquet")
    by_frame = training.train(frame, spec, **tables, threads=1, out="a")
    by_folder = training.train(small_world.data, spec, until=UNTIL, threads=1, out="b")
    assert by_frame.model.version == by_folder.model.version
    assert by_frame.metrics == by_folder.metrics
    assert (by_frame.uri, by_folder.uri) == ("models:/demo/1", "models:/demo/2")  # of data of another identity


def test_a_frame_is_taken_from_any_library_with_the_arrow_interface():
    frame = pl.DataFrame({"a": [1, 2], "b": ["x", None]})
    for given in (frame, frame.lazy(), frame.to_arrow(), frame.to_pandas()):
        data = as_data(given)
        assert isinstance(data, Frames)
        assert data.telemetry.to_dicts() == frame.to_dicts()


def test_what_is_no_data_is_named():
    with pytest.raises(InputError, match=r"telemetry: expected a folder, a file, or a frame .*, found int"):
        training.check(7, "demo")
    with pytest.raises(InputError, match="clients, nodes: expected none beside a folder"):
        training.check("folder", "demo", nodes=pl.DataFrame({"id": [1]}))
    with pytest.raises(InputError, match=r"init: expected some of client, node, .*, found wings"):
        training.init(pl.DataFrame({"a": [1]}), wings=2)
    with pytest.raises(InputError, match="until: expected the number of a slice, or all, found 'never'"):
        training.train(pl.DataFrame({"a": [1]}), "demo", until="never")


def test_the_package_is_light_until_a_call_is_asked_for():
    with pytest.raises(AttributeError, match="no attribute 'fly'"):
        training.fly  # noqa: B018
    assert set(training.__all__) == {"init", "check", "train", "evaluate", "warm"}

"""The demo, shrunken: the main job from end to end, and a folder that is left tidy."""

from html import unescape

import pytest

from scheduler.errors import InputError
from scheduler.model.model import Model
from tests.small_world import fogline, shrink_demo
from training.cli import demo_run


@pytest.mark.slow
def test_a_small_demo_does_the_whole_job_in_place_of_an_earlier_one(tmp_path, monkeypatch, capfd):
    shrink_demo(monkeypatch)
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "demo"
    (out / "artifacts" / "demo-earlier").mkdir(parents=True)
    (out / "report.html").write_text("earlier")
    asked = fogline(capfd, "demo", "--out", "demo", "--threads", 1, "--json")
    assert (asked.code, asked.err) == (0, "")
    found = asked.json
    assert found["n"] == 1_000
    assert {"rules", "learned", "random", "oracle"} <= found["policies"].keys()
    means = {name: row["mean"] for name, row in found["policies"].items()}
    assert means["oracle"] < means["learned"] < means["random"]
    assert found["training"]["promoted"]
    assert [found[name] for name in ("candidates", "requests", "seed")] == [20, demo_run.N_REQUESTS, 0]
    assert found["command"].startswith("fogline")
    assert found["command"] in unescape((out / "report.html").read_text(encoding="utf-8"))
    assert "numpy" in found["versions"]
    assert (tmp_path / found["report"]).samefile(out / "report.html")

    assert tuple(sorted(path.name for path in out.iterdir())) == demo_run.PARTS
    assert sorted(path.name for path in (out / "registry").iterdir()) == ["artifacts", "mlflow.db", "mlflow.db.lock"]
    (artifact,) = (out / "artifacts").iterdir()
    assert Model.load(artifact).version == found["training"]["version"]
    assert Model.load("models:/demo@champion", f"sqlite:///{out / 'registry' / 'mlflow.db'}").name == "demo"


@pytest.mark.parametrize("name", ["thesis.tex", ".git", "models"])
def test_a_folder_that_holds_other_things_is_left_alone(name, tmp_path):
    (tmp_path / name).mkdir()
    (tmp_path / "artifacts").mkdir()
    with pytest.raises(InputError, match=rf"expected an empty folder or that of an earlier demo, found {name}$"):
        demo_run.run_demo(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {name, "artifacts"}


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "demo").write_text("")
    with pytest.raises(InputError, match="demo: expected a folder, found a file"):
        demo_run.run_demo(tmp_path / "demo")

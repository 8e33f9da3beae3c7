"""Writing an artifact: all of it or nothing, and never over another."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scheduler.errors import ArtifactError, InputError
from scheduler.model.artifact import check_files, read_artifact
from scheduler.model.manifest import Calibration
from scheduler.model.model import Model
from tests.artifacts import CALIBRATION, VOCABULARY, boosters, rows, spec, write_tiny
from training.artifacts import onnx_export
from training.artifacts.write import content_version
from training.heads.lightgbm_trees import trees_from_lightgbm

ROOT = Path(__file__).resolve().parents[3]

# Writes an artifact, and stops for good before the named file.
STUCK_WRITER = """
import sys, time
from pathlib import Path
from tests.artifacts import write_tiny
from training.artifacts import write

def stuck(path, data, to_file=write._write):
    if path.name == sys.argv[2]:
        print("stuck", flush=True)
        time.sleep(600)
    to_file(path, data)

write._write = stuck
write_tiny(Path(sys.argv[1]))
"""


def test_golden_rows_hold_what_lightgbm_says(tmp_path):
    contents = read_artifact(write_tiny(tmp_path / "a"))
    golden, models = contents.golden, boosters()
    assert np.isnan(golden.rows).all(axis=1).any()
    assert np.isinf(golden.rows).any()
    raw = np.stack([models[head].predict(golden.rows, raw_score=True) for head in models], axis=1)
    np.testing.assert_array_equal(golden.raw, raw)
    leaves = np.concatenate([models[head].predict(golden.rows, pred_leaf=True) for head in models], axis=1)
    np.testing.assert_array_equal(golden.leaves, leaves)
    np.testing.assert_allclose(golden.values[:, 0], 1 / (1 + np.exp(0.5 - 1.5 * raw[:, 0])), rtol=1e-12)
    np.testing.assert_allclose(golden.values[:, 1], np.exp(0.25 + 0.5 * raw[:, 1]), rtol=1e-12)


def test_the_spec_comes_back_with_its_features_in_order(tmp_path):
    contents = read_artifact(write_tiny(tmp_path / "a"))
    assert contents.spec == spec()
    assert tuple(contents.spec.features) == tuple(spec().features) == contents.manifest.features


def test_equal_models_have_equal_files(tmp_path):
    one, two = write_tiny(tmp_path / "one"), write_tiny(tmp_path / "two")
    assert check_files(one) == check_files(two)


def test_the_manifest_holds_the_share_of_the_gain_by_feature(tmp_path):
    importance = check_files(write_tiny(tmp_path / "a")).importance
    assert list(importance) == list(spec().heads)
    for head, booster in boosters().items():
        gain = booster.feature_importance("gain")
        assert list(importance[head]) == list(spec().features)
        np.testing.assert_allclose(list(importance[head].values()), gain / gain.sum(), rtol=1e-12)


def trees_of(heads):
    return {head: trees_from_lightgbm(booster) for head, booster in heads.items()}


def test_the_version_is_the_same_whether_trees_are_given_or_read_from_boosters(tmp_path):
    given = write_tiny(tmp_path / "given", trees=trees_of(boosters()))
    assert check_files(given) == check_files(write_tiny(tmp_path / "read"))


def test_given_trees_are_not_read_from_the_boosters_again(tmp_path, monkeypatch):
    trees = trees_of(boosters())
    monkeypatch.setattr("training.heads.lightgbm_trees.trees_from_text", lambda _: pytest.fail("was read again"))
    write_tiny(tmp_path / "a", trees=trees)


def test_trees_that_are_not_those_of_the_boosters_are_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"golden\.npz"):
        write_tiny(tmp_path / "a", trees=trees_of(boosters(5)))
    assert list(tmp_path.iterdir()) == []


def test_a_version_names_the_content():
    trees = trees_of(boosters())
    parts = {"spec": spec(), "trees": trees, "calibration": CALIBRATION, "vocabulary": VOCABULARY}
    doubtful = trees["latency"]._replace(leaf_variance=np.ones(len(trees["latency"].leaf_value)))
    version = content_version(**parts)
    assert version == content_version(**parts)
    for change in (
        {"trees": trees_of(boosters(5))},
        {"vocabulary": {**VOCABULARY, "node.isp": [20, 10, "blue"]}},
        {"calibration": {**CALIBRATION, "latency": Calibration(link="log", intercept=0.3)}},
        {"trees": {**trees, "latency": doubtful}},
    ):
        assert content_version(**(parts | change)) != version


def test_a_version_may_be_given(tmp_path):
    assert Model.load(write_tiny(tmp_path / "a", version="2026.1")).version == "2026.1"


@pytest.mark.parametrize("version", ["../x", "a/b", "", ".", "a\n"])
def test_a_version_that_is_a_path_is_refused(tmp_path, version):
    with pytest.raises(ArtifactError, match="version: expected a name"):
        write_tiny(tmp_path / "a", version=version)
    assert list(tmp_path.iterdir()) == []


def test_an_artifact_is_never_overwritten(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(ArtifactError, match="expected no such folder"):
        write_tiny(tmp_path / "a")
    assert list((tmp_path / "a").iterdir()) == []


def test_a_folder_that_appears_while_writing_is_kept(tmp_path, monkeypatch):
    def load(stage):  # noqa: ARG001
        (tmp_path / "a").mkdir()

    monkeypatch.setattr("training.artifacts.write.Model.load", load)
    with pytest.raises(ArtifactError, match="expected no such folder"):
        write_tiny(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_export_that_onnx_runtime_scores_otherwise_is_refused(tmp_path, monkeypatch):
    real = onnx_export.to_onnx

    def wrong(trees, offset=None):
        other = trees.leaf_value.copy()
        other[trees.leaf_start[1]] += 0.01
        return real(trees._replace(leaf_value=other), offset)

    monkeypatch.setattr(onnx_export, "to_onnx", wrong)
    with pytest.raises(
        ArtifactError, match=r"^head \w+: expected ONNX Runtime to give LightGBM's score of golden row "
    ):
        write_tiny(tmp_path / "wrong")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", ["boosters", "trees", "calibration"])
def test_every_head_needs_its_parts(tmp_path, part):
    with pytest.raises(ArtifactError, match=rf"{part}: expected the heads \['failure', 'latency'\]"):
        write_tiny(tmp_path / "a", **{part: {}})


@pytest.mark.parametrize("given", [np.empty((0, 7)), rows()[:, :3], rows()[0]])
def test_golden_rows_need_one_row_of_all_features(tmp_path, given):
    with pytest.raises(InputError, match="golden_rows: expected at least one row of 7 features"):
        write_tiny(tmp_path / "a", golden_rows=given)


def test_what_cannot_be_loaded_is_not_written(tmp_path):
    """Three categories were trained on; with a smaller vocabulary their codes would mean nothing."""
    with pytest.raises(ArtifactError, match="expected categories of request_isp below 1"):
        write_tiny(tmp_path / "a", vocabulary={"request.isp": ["red"], "node.isp": [10, 20, "blue"]})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("file", ["spec.json", "latency.onnx", "manifest.json"])
def test_a_killed_writer_leaves_nothing_that_loads(tmp_path, file):
    target = tmp_path / "a"
    command = [sys.executable, "-c", STUCK_WRITER, str(target), file]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "stuck\n"
        writer.send_signal(signal.SIGKILL)
    assert not target.exists()
    (left,) = tmp_path.iterdir()
    with pytest.raises(ArtifactError, match=r"manifest\.json: expected a manifest, found no such file"):
        Model.load(left)
    write_tiny(target)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.slow
def test_a_writer_does_not_remove_the_work_of_a_living_one(tmp_path):
    target = tmp_path / "a"
    command = [sys.executable, "-c", STUCK_WRITER, str(target), "manifest.json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "stuck\n"
        write_tiny(target)
        assert len(list(tmp_path.iterdir())) == 2
        writer.send_signal(signal.SIGKILL)

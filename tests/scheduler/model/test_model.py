"""Loading a model: all of an artifact is verified, and whatever is wrong is named."""

import hashlib
import io
import os
import shutil
import zipfile
from pathlib import Path

import msgspec
import numpy as np
import pytest

from scheduler.errors import ArtifactError, InputError, RegistryError
from scheduler.model.arrays import LINK_IDENTITY, LINK_LOG, LINK_LOGISTIC
from scheduler.model.artifact import check_files, read_artifact
from scheduler.model.calibration import calibration_table, head_values
from scheduler.model.manifest import GOLDEN, MANIFEST, SPEC, Calibration, Manifest, file_names
from scheduler.model.model import Model
from tests import models
from tests.artifacts import boosters, edit_manifest, rows, sign, spec, write_tiny
from training.heads.lightgbm_trees import trees_from_lightgbm

FILES = [MANIFEST, *file_names(["failure", "latency"], means=False)]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("artifact") / "tiny")


@pytest.fixture(scope="session")
def other(tmp_path_factory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("artifact") / "other", seed=9)


@pytest.fixture
def folder(tiny, tmp_path) -> Path:
    """A copy of the artifact that a test may damage."""
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def change_golden(folder: Path, **changes: object) -> None:
    golden = read_artifact(folder).golden._replace(**changes)
    np.savez(folder / GOLDEN, **golden._asdict())
    sign(folder)


def refused(folder: Path, *words: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        Model.load(folder)
    for word in ("expected", "found", *words):
        assert word in str(caught.value)


def test_a_loaded_model_is_what_was_written(tiny):
    model = Model.load(tiny)
    assert (model.name, model.heads) == ("tiny", ("failure", "latency"))
    assert model.version == model.manifest.version == check_files(tiny).version
    assert model.spec == spec()
    assert model.features.names == tuple(spec().features)
    assert model.vocabulary["node.isp"] == (10, 20, "blue")
    assert model.manifest.metrics == {"latency.mae": 1.5, "failure.auc": None}
    assert model.calibration.tolist() == [[LINK_LOGISTIC, -0.5, 1.5], [LINK_LOG, 0.25, 0.5]]
    assert model.forest.request == (0, 1)
    assert model.forest.node == (2, 3, 5)
    assert model.forest.pair == (4, 6)


def test_a_model_cannot_be_changed(tiny):
    model = Model.load(str(tiny))
    with pytest.raises(AttributeError):
        model.version = "2"
    with pytest.raises(ValueError, match="read-only"):
        model.calibration[0, 1] = 7


def test_predict_gives_calibrated_values_of_lightgbms_scores(tiny):
    x = rows(500, seed=3)
    predicted = Model.load(tiny).predict(x)
    raw = {head: booster.predict(x, raw_score=True) for head, booster in boosters().items()}
    np.testing.assert_allclose(predicted["failure"], 1 / (1 + np.exp(0.5 - 1.5 * raw["failure"])), rtol=1e-12)
    np.testing.assert_allclose(predicted["latency"], np.exp(0.25 + 0.5 * raw["latency"]), rtol=1e-12)


def test_predict_rounds_to_float32_as_serving_does(tiny):
    model, x = Model.load(tiny), rows(100).astype(np.float64)
    x[:, 1] += 1e-12
    np.testing.assert_array_equal(model.predict(x)["latency"], model.predict(x.astype(np.float32))["latency"])
    x[0, 1] = 1e300
    assert np.isfinite(model.predict(x)["latency"]).all()


@pytest.mark.parametrize("bad", [np.zeros((2, 6)), np.zeros(7), np.full((1, 7), "1"), np.full((1, 7), None)])
def test_predict_refuses_other_shapes_and_types(tiny, bad):
    with pytest.raises(InputError, match=r"X: expected numbers of shape \(n, 7\), found"):
        Model.load(tiny).predict(bad)


def test_predict_of_no_rows_is_empty(tiny):
    assert Model.load(tiny).predict(np.zeros((0, 7)))["latency"].shape == (0,)


def test_values_of_each_link():
    links = [("logistic", 0.0, 1.0), ("log", 1.0, 2.0), ("identity", 3.0, -1.0)]
    table = calibration_table(Calibration(link=link, intercept=a, slope=b) for link, a, b in links)
    assert table[:, 0].tolist() == [LINK_LOGISTIC, LINK_LOG, LINK_IDENTITY]
    raw = np.array([[0.0, 0.5, 1.0], [800.0, -1e6, 1e9], [-800.0, 0.0, 0.0]])
    expected = [[0.5, np.exp(2.0), 2.0], [1.0, 0.0, 3 - 1e9], [0.0, np.exp(1.0), 3.0]]
    np.testing.assert_allclose(head_values(raw, table), expected)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("bit", [0, 5])
def test_a_flipped_bit_is_found(folder, name, place, bit):
    path = folder / name
    data = bytearray(path.read_bytes())
    data[round(place * (len(data) - 1))] ^= 1 << bit
    path.write_bytes(data)
    refused(folder)


def test_flipped_bytes_all_over_the_manifest_are_found(folder):
    path = folder / MANIFEST
    data = path.read_bytes()
    for at in range(0, len(data), 7):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(ArtifactError):
            check_files(folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.999])
def test_a_truncated_file_is_found(folder, name, keep):
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: int(keep * len(data))])
    refused(folder, name)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    refused(folder, name, "no such file")


@pytest.mark.parametrize("name", ["more.txt", "x.pkl", ".hidden"])
def test_a_file_that_is_not_listed_is_named(folder, name):
    (folder / name).write_bytes(b"")
    refused(folder, name, "does not list")


@pytest.mark.parametrize("name", [name for name in FILES if name != SPEC])
def test_a_file_of_another_artifact_is_found(folder, other, name):
    shutil.copy(other / name, folder / name)
    refused(folder)


def test_a_folder_in_place_of_a_file_is_refused(folder):
    (folder / "latency.txt").unlink()
    (folder / "latency.txt").mkdir()
    refused(folder, "latency.txt", "regular file")


def test_a_pipe_in_place_of_a_file_does_not_hang(folder):
    (folder / "latency.txt").unlink()
    os.mkfifo(folder / "latency.txt")
    refused(folder, "latency.txt", "regular file")


def test_a_folder_that_is_none_is_refused(tmp_path):
    refused(tmp_path / "nowhere", "the folder of an artifact", "No such file")
    refused(tmp_path, MANIFEST)


def test_a_large_file_is_refused_unread(folder, monkeypatch):
    monkeypatch.setattr("scheduler.model.artifact.MAX_ARTIFACT_BYTES", 1_000)
    refused(folder, "at most 1,000 bytes")


def test_files_that_are_too_large_together_are_refused(folder, monkeypatch):
    sizes = [path.stat().st_size for path in folder.iterdir() if path.name != MANIFEST]
    monkeypatch.setattr("scheduler.model.artifact.MAX_ARTIFACT_BYTES", sum(sizes))
    Model.load(folder)
    monkeypatch.setattr("scheduler.model.artifact.MAX_ARTIFACT_BYTES", sum(sizes) - 1)
    assert max(sizes) < sum(sizes) - 1
    refused(folder, "at most", "bytes", "more")


def test_another_format_version_is_named(folder):
    (folder / MANIFEST).write_text('{"format": 6, "anything": "else"}')
    refused(folder, MANIFEST, "format 1 to 5", "found 6")


def test_an_artifact_of_format_3_is_read_as_knowing_no_importance(folder):
    data = msgspec.json.decode((folder / MANIFEST).read_bytes())
    del data["importance"]
    data |= {"format": 3, "digest": "0" * 64}
    data["digest"] = hashlib.sha256(msgspec.json.encode(data)).hexdigest()
    (folder / MANIFEST).write_bytes(msgspec.json.encode(data))
    assert Model.load(folder).manifest.importance == {}


@pytest.mark.parametrize("importance", [{"failure": {"hour": 1.0}}, {"other": dict.fromkeys(spec().features, 0.0)}])
def test_importance_of_other_heads_or_features_is_refused(folder, importance):
    edit_manifest(folder, importance=importance)
    refused(folder, "importance", "a share of each feature")


def test_an_artifact_of_format_2_is_read_by_its_fingerprint_with_capacities(folder):
    sign(folder, format=2, fingerprint=spec().fingerprint_with_capacity(), tables={})
    assert Model.load(folder).spec.fingerprint() == spec().fingerprint()
    sign(folder, format=2, fingerprint=spec().fingerprint())
    refused(folder, "fingerprint", spec().fingerprint_with_capacity())


def test_capacities_were_part_of_the_fingerprint_of_format_2():
    # As the release that wrote format 2 computed it for this very spec.
    assert models.spec().fingerprint_with_capacity() == "00004945eaa0202b"


def test_an_artifact_of_format_1_is_read_as_knowing_no_variances(folder):
    golden = read_artifact(folder).golden
    np.savez(folder / GOLDEN, **{name: array for name, array in golden._asdict().items() if name != "variance"})
    for head in ("failure", "latency"):
        path = folder / f"{head}.forest.npz"
        with np.load(path) as arrays:
            kept = {name: arrays[name] for name in arrays.files if name not in ("leaf_variance", "format")}
        np.savez(path, format=np.int32(1), **kept)
    before = spec().fingerprint_with_capacity()
    sign(folder, format=1, fingerprint=before)
    model = Model.load(folder)
    np.testing.assert_array_equal(model.predict_error(rows(8))["latency"], np.zeros(8))
    sign(folder, format=2, fingerprint=before)
    refused(folder, GOLDEN, "variance")


def test_errors_of_predictions_are_those_of_leaves_through_calibration_and_link(tmp_path):
    calibration = {
        "failure": Calibration(link="logistic", intercept=-0.5, slope=1.5, uncertainty=0.3, power=0.5),
        "latency": Calibration(link="log", intercept=0.25, slope=0.5, uncertainty=2.0, power=1.0),
    }
    plain = {head: trees_from_lightgbm(booster) for head, booster in boosters().items()}
    variance = {head: np.random.default_rng(1).random(len(one.leaf_value)) for head, one in plain.items()}
    heads = {head: one._replace(leaf_variance=variance[head]) for head, one in plain.items()}
    folder = write_tiny(tmp_path / "a", calibration=calibration, trees=heads)
    model, x = Model.load(folder), rows(20, 7)
    found, values = model.predict_error(x), model.predict(x)
    for head, slope in (
        ("failure", 1.5 * values["failure"] * (1 - values["failure"])),
        ("latency", 0.5 * values["latency"]),
    ):
        one = calibration[head]
        leaf = boosters()[head].predict(x, pred_leaf=True).astype(int) + heads[head].leaf_start[:-1]
        raw = one.uncertainty * variance[head][leaf].sum(axis=1) ** one.power
        np.testing.assert_allclose(found[head], slope * np.sqrt(raw), rtol=1e-12)
    change_golden(folder, variance=read_artifact(folder).golden.variance * 1.001)
    refused(folder, GOLDEN, "variance of row 0", "expected")


def test_a_key_that_the_format_does_not_have_is_refused(folder):
    data = msgspec.json.decode((folder / MANIFEST).read_bytes())
    (folder / MANIFEST).write_bytes(msgspec.json.encode(data | {"surplus": 1}))
    refused(folder, MANIFEST, "surplus")


@pytest.mark.parametrize("name", ["../latency", "a/b", "/etc/passwd", "", "..", "a\0b"])
def test_names_that_are_paths_are_refused(folder, name):
    heads = {"failure": Calibration(link="logistic"), name: Calibration(link="log")}
    edit_manifest(folder, heads=heads)
    refused(folder, MANIFEST, "heads")
    manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    edit_manifest(folder, heads={"failure": heads["failure"]}, files=manifest.files | {name: "0" * 64})
    refused(folder, MANIFEST, "files")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "another"}, ("name", "tiny", "another")),
        ({"fingerprint": "0" * 16}, ("fingerprint", "0" * 16)),
        ({"features": ("hour", "request_isp")}, ("features",)),
        ({"vocabulary": {"request.isp": ("red", "red"), "node.isp": (1, 2, 3)}}, ("request.isp", "once")),
        ({"vocabulary": {"request.hour": ("red",)}}, ("vocabulary", "request.hour")),
        ({"vocabulary": {"isp": ("red",)}}, ("vocabulary", "isp")),
        (
            {"vocabulary": {"request.isp": ("red",)}},
            ("failure.forest.npz", "categories of request_isp below 1"),
        ),
        ({"format": 6}, ("format 1 to 5", "found 6")),
    ],
)
def test_a_manifest_that_disagrees_with_the_files_is_refused(folder, changes, words):
    edit_manifest(folder, **changes)
    refused(folder, *words)


@pytest.mark.parametrize("links", [("log", "log"), ("logistic", "identity")])
def test_a_link_that_is_not_the_specs_is_refused(folder, links):
    heads = dict(zip(("failure", "latency"), (Calibration(link=link) for link in links), strict=True))
    edit_manifest(folder, heads=heads)
    refused(folder, MANIFEST, "link")


def test_heads_in_another_order_are_refused(folder):
    heads = {"latency": Calibration(link="log"), "failure": Calibration(link="logistic")}
    edit_manifest(folder, heads=heads)
    refused(folder, MANIFEST, "heads")


def test_a_changed_calibration_fails_on_the_golden_rows(folder):
    heads = {"failure": Calibration(link="logistic"), "latency": Calibration(link="log")}
    edit_manifest(folder, heads=heads)
    refused(folder, GOLDEN, "values of row 0, head 0")


def test_a_changed_spec_is_found_by_its_fingerprint(folder):
    path = folder / SPEC
    path.write_bytes(path.read_bytes().replace(b'"failure": 1000', b'"failure": 2000'))
    sign(folder)
    refused(folder, "fingerprint")


def test_an_impossible_spec_is_named(folder):
    (folder / SPEC).write_bytes(b"{}")
    sign(folder)
    with pytest.raises(ArtifactError, match=r"spec\.json: .*name"):
        Model.load(folder)


def test_a_forest_of_another_artifact_fails_on_the_golden_rows(folder, other):
    shutil.copy(other / "latency.forest.npz", folder)
    sign(folder)
    refused(folder, GOLDEN, "row", "head 1, tree", "leaf")


def test_heads_that_changed_places_fail_on_the_golden_rows(folder):
    one, two = folder / "latency.forest.npz", folder / "failure.forest.npz"
    one.rename(folder / "x")
    two.rename(one)
    (folder / "x").rename(two)
    sign(folder)
    refused(folder, GOLDEN)


@pytest.mark.parametrize(
    ("part", "words"), [("leaves", "leaf"), ("raw", "raw of row 3"), ("values", "values of row 3")]
)
def test_golden_rows_with_hashes_that_fit_must_still_come_true(folder, part, words):
    array = getattr(read_artifact(folder).golden, part).copy()
    array[3, 1] += 1
    change_golden(folder, **{part: array})
    refused(folder, GOLDEN, words)


def test_golden_scores_that_are_no_numbers_are_refused(folder):
    raw = read_artifact(folder).golden.raw.copy()
    raw[2, 0] = np.nan
    change_golden(folder, raw=raw)
    refused(folder, GOLDEN, "raw of row 2", "nan")


@pytest.mark.parametrize(
    ("part", "array"),
    [
        ("rows", np.zeros((0, 7), np.float32)),
        ("rows", np.zeros((3, 6), np.float32)),
        ("rows", np.float32(1)),
        ("raw", np.zeros((3, 2), np.float32)),
        ("leaves", np.zeros(3, np.int32)),
    ],
)
def test_golden_arrays_of_another_shape_or_type_are_named(folder, part, array):
    change_golden(folder, **{part: array})
    refused(folder, GOLDEN)


def test_pickled_arrays_are_refused(folder):
    np.savez(folder / GOLDEN, rows=np.array([print], object))
    sign(folder)
    refused(folder, GOLDEN)


def test_compressed_arrays_are_refused(folder):
    """An archive of a few bytes could otherwise ask for all memory."""
    np.savez_compressed(folder / GOLDEN, rows=np.zeros((2**22, 1), np.float32))
    sign(folder)
    refused(folder, GOLDEN, "stored arrays")


def test_an_array_larger_than_its_file_is_refused(folder):
    path = folder / "latency.forest.npz"
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": (2**50,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("threshold.npy", buffer.getvalue())
    sign(folder)
    refused(folder, "latency.forest.npz", "threshold.npy", str(2**50))


@pytest.mark.slow
def test_archives_with_hashes_that_fit_and_any_byte_changed_never_fail_unnamed(folder):
    """Half of these change a number that no golden row meets; the others must fail as `ArtifactError`."""
    random = np.random.default_rng(0)
    for name in ("latency.forest.npz", GOLDEN):
        path = folder / name
        data = path.read_bytes()
        for at in random.integers(0, len(data), 60).tolist():
            path.write_bytes(data[:at] + bytes([data[at] ^ int(random.integers(1, 256))]) + data[at + 1 :])
            sign(folder)
            try:
                Model.load(folder)
            except ArtifactError:
                continue
        path.write_bytes(data)


@pytest.mark.parametrize("uri", ["models:", "models:/", "models:/a", "models:/a@", "models:/a/latest", "models:/a/1/x"])
def test_a_registry_uri_that_is_none_is_refused(uri):
    with pytest.raises(RegistryError, match="expected models:/NAME@ALIAS or models:/NAME/VERSION"):
        Model.load(uri)

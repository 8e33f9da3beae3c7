"""What a registry may have a process fetch: from which places, which files, and how much."""

import os
import re
from pathlib import Path

import pytest

from scheduler.errors import ArtifactError, RegistryError
from scheduler.model import download as downloads
from scheduler.model.artifact import MAX_ARTIFACT_BYTES, MAX_MANIFEST_BYTES
from scheduler.model.download import Entry, check_listing, check_place
from scheduler.model.registry import fetch
from tests.registries import new_registry, register

FILE = "sqlite:////data/mlflow.db"
SERVER = "https://models.example:8443/prefix"

ALLOWED = [
    (FILE, "/data/artifacts/1"),
    (FILE, "file:///data/artifacts/1"),
    (FILE, "file://localhost/data/artifacts/1"),
    (FILE, "s3://bucket/1"),
    ("postgresql://me@db/mlflow", "/shared/artifacts/1"),
    (SERVER, "mlflow-artifacts:/1/models/m-2/artifacts"),
    (SERVER, "mlflow-artifacts://models.example:8443/1"),
    (SERVER, "https://MODELS.example:8443/1"),
    (SERVER, "s3://bucket/1"),
    (SERVER, "gs://bucket/1"),
    (SERVER, "abfss://container@account.dfs.core.windows.net/1"),
    (SERVER, "wasbs://container@account.blob.core.windows.net/1"),
    (SERVER, "dbfs:/databricks/mlflow/1"),
    (SERVER, "hdfs://cluster/1"),
    ("databricks", "dbfs:/databricks/mlflow-registry/1"),
]
REFUSED = [
    (SERVER, "/etc"),
    (SERVER, "file:///etc"),
    (SERVER, "relative/path"),
    ("databricks", "/etc"),
    (SERVER, "http://169.254.169.254/latest"),
    (SERVER, "https://models.example.evil/1"),
    (SERVER, "mlflow-artifacts://169.254.169.254/1"),
    (FILE, "http://127.0.0.1:8080/1"),
    (FILE, "mlflow-artifacts:/1"),
    (FILE, "file://elsewhere/data/1"),
    (SERVER, "ftp://models.example/1"),
    (SERVER, "sftp://models.example/1"),
    (SERVER, "models:/other/1"),
    (SERVER, "runs:/abc/model"),
    (FILE, "nonsense://x"),
]


@pytest.mark.parametrize(("registry", "place"), ALLOWED)
def test_files_may_be_at(registry, place):
    check_place("models:/a/1", place, registry)


@pytest.mark.parametrize(("registry", "place"), REFUSED)
def test_files_may_not_be_at(registry, place):
    with pytest.raises(RegistryError, match=rf"expected the files of models:/a/1 at .*; found {re.escape(place)}"):
        check_place("models:/a/1", place, registry)


def test_passwords_of_places_are_not_repeated():
    with pytest.raises(RegistryError, match=r"found ftp://\*\*\*@host/1$"):
        check_place("models:/a/1", "ftp://me:secret@host/1", FILE)


FILES = [("manifest.json", 2_000), ("spec.json", 9_000), ("golden.npz", 100_000), ("means.npz", 1_000)]
FILES += [("failure.forest.npz", 10**6), ("failure.txt", 10**6), ("failure.onnx", 10**6)]
WRONG = {
    "another file": (("setup.py", 10), "expected the files of an artifact alone, found setup.py"),
    "a hidden file": ((".bashrc", 10), r"expected the files of an artifact alone, found \.bashrc"),
    "no size": (("a.onnx", None), r"expected a size of a\.onnx, found none"),
    "too large": (("a.onnx", 2**40), "expected at most 276,824,064 bytes in all, found 1,099,514,"),
    "a large manifest": (
        ("manifest.json", MAX_MANIFEST_BYTES + 1),
        r"expected at most 8,388,608 bytes of manifest\.json, found 8,388,609",
    ),
}


@pytest.mark.parametrize(("extra", "message"), WRONG.values(), ids=WRONG)
def test_a_listing_is_refused_for(extra, message):
    entries = [Entry(f"data/a/{name}", size) for name, size in FILES]
    check_listing("models:/a/1", entries)
    with pytest.raises(ArtifactError, match=f"models:/a/1: {message}"):
        check_listing("models:/a/1", [*entries, Entry(f"data/a/{extra[0]}", extra[1])])


def test_a_listing_of_many_files_is_refused():
    with pytest.raises(ArtifactError, match="expected at most 52 files, found 53"):
        check_listing("models:/a/1", [Entry(f"h{i}.txt", 1) for i in range(53)])


@pytest.mark.slow
class TestRegistered:
    """With a registry whose folder of files was tampered with; nothing of it is copied."""

    @pytest.fixture
    def registry(self, tmp_path, tmp_path_factory) -> str:
        registry = new_registry(tmp_path_factory.getbasetemp(), tmp_path / "registry")
        register(registry, tmp_path / "artifact")
        return registry

    @pytest.fixture
    def inside(self, registry, tmp_path) -> Path:  # noqa: ARG002 - it is there once the artifact is registered
        return next((tmp_path / "registry" / "artifacts").rglob("manifest.json")).parent

    @pytest.fixture(autouse=True)
    def no_files_are_copied(self, monkeypatch):
        monkeypatch.setattr(downloads, "check_files", lambda _: pytest.fail("files were copied"))

    def refused(self, registry, tmp_path, kind, message):
        with pytest.raises(kind, match=message):
            fetch("models:/tiny/1", registry, cache=tmp_path / "cache")
        assert list((tmp_path / "cache").iterdir()) == []

    def test_another_file_among_those_of_the_artifact_is_refused(self, registry, inside, tmp_path):
        (inside / "run.sh").write_text("echo")
        self.refused(registry, tmp_path, ArtifactError, r"models:/tiny/1: expected the files .* alone, found run\.sh")

    def test_a_file_larger_than_an_artifact_is_refused(self, registry, inside, tmp_path):
        with (inside / "latency.onnx").open("wb") as file:
            file.truncate(MAX_ARTIFACT_BYTES + MAX_MANIFEST_BYTES)  # all of it a hole
        self.refused(registry, tmp_path, ArtifactError, r"expected at most 276,824,064 bytes in all, found 27\d,")

    def test_a_link_to_a_device_is_refused(self, registry, inside, tmp_path):
        (inside / "latency.onnx").unlink()
        (inside / "latency.onnx").symlink_to("/dev/zero")
        self.refused(registry, tmp_path, ArtifactError, r"expected latency\.onnx as a regular file, found something")

    def test_a_pipe_is_refused(self, registry, inside, tmp_path):
        (inside / "latency.onnx").unlink()
        os.mkfifo(inside / "latency.onnx")
        self.refused(registry, tmp_path, ArtifactError, r"expected latency\.onnx as a regular file, found something")

    def test_a_second_artifact_beside_it_is_refused(self, registry, inside, tmp_path):
        inside.with_name("more").mkdir()
        (inside.with_name("more") / "manifest.json").write_text("{}")
        self.refused(registry, tmp_path, ArtifactError, r"expected one manifest\.json among its files, found 2")

    def test_folders_without_end_are_refused(self, registry, inside, tmp_path):
        for i in range(downloads.MOST_LISTED):
            (inside.parent / f"d{i}").mkdir()
        self.refused(registry, tmp_path, ArtifactError, "among 1,000 files and folders, 5 deep, found more")

    def test_a_place_that_is_not_allowed_is_refused(self, registry, tmp_path, monkeypatch):
        from mlflow import MlflowClient  # noqa: PLC0415 - slow to import

        monkeypatch.setattr(MlflowClient, "get_model_version_download_uri", lambda *_: "http://127.0.0.1:9/files")
        self.refused(registry, tmp_path, RegistryError, r"expected the files .*; found http://127\.0\.0\.1:9/files")

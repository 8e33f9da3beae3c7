"""Fetching from a registry: aliases, versions, the cache, and registries that do not answer."""

import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from scheduler.errors import ArtifactError, RegistryBrokenError, RegistryDownError, RegistryError
from scheduler.model import download, model_cache
from scheduler.model.artifact import check_files
from scheduler.model.mlflow_client import DEFAULT, redact_password, registry_call, registry_uri
from scheduler.model.model import Model
from scheduler.model.model_cache import KEPT
from scheduler.model.registry import ModelUri, fetch
from tests.artifacts import write_tiny
from tests.registries import new_registry, register
from training.pipeline.promotion import promote

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Path:
    """A registry of three versions, the first of them champion; tests take a copy."""
    folder = tmp_path_factory.mktemp("filled")
    registry = new_registry(tmp_path_factory.getbasetemp(), folder / "registry")
    for seed in (1, 2, 3):
        register(registry, folder / f"artifact-{seed}", seed=seed)
    promote("tiny", "1", registry=registry)
    return folder


@pytest.fixture
def registry(filled, tmp_path) -> str:
    shutil.copytree(filled / "registry", tmp_path / "registry")
    return f"sqlite:///{tmp_path / 'registry' / 'mlflow.db'}"


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


def remove(registry: str) -> None:
    Path(registry.removeprefix("sqlite:///")).unlink()


@pytest.mark.parametrize(("uri", "seed"), [("models:/tiny@champion", 1), ("models:/tiny/1", 1), ("models:/tiny/3", 3)])
def test_an_alias_and_a_version_lead_to_the_artifact(filled, registry, cache, uri, seed):
    fetched = fetch(uri, registry, cache=cache)
    assert (fetched.version, fetched.fresh, fetched.problem) == (str(seed), True, "")
    assert check_files(fetched.folder) == check_files(filled / f"artifact-{seed}")
    assert fetched.folder.name.startswith(f"tiny-{seed}-")


def test_a_model_loads_from_the_registry(filled, registry, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = Model.load("models:/tiny@champion", registry)
    assert model.version == check_files(filled / "artifact-1").version
    assert [path.name for path in (tmp_path / ".fogline").iterdir()] == ["cache"]
    assert not (tmp_path / "mlflow.db").exists()
    assert not (tmp_path / "mlruns").exists()


def test_the_default_registry_is_a_file_under_the_working_directory(filled, tmp_path, monkeypatch):
    shutil.copytree(filled / "registry", tmp_path / ".fogline")
    monkeypatch.chdir(tmp_path)
    assert Model.load("models:/tiny@champion").name == "tiny"


def test_an_alias_is_followed_when_it_moves(registry, cache):
    assert fetch("models:/tiny@champion", registry, cache=cache).version == "1"
    promote("tiny", "2", force=True, registry=registry)
    assert fetch("models:/tiny@champion", registry, cache=cache).version == "2"


def test_a_copy_is_fetched_once(registry, cache, monkeypatch):
    first = fetch("models:/tiny/1", registry, cache=cache)
    monkeypatch.delattr("scheduler.model.registry.download")
    assert fetch("models:/tiny@champion", registry, cache=cache) == first


def test_a_sound_copy_that_another_process_brought_meanwhile_stays(registry, cache, monkeypatch):
    """Two processes that start at once both find no copy; the second to finish may not take the first one's away."""
    folder = fetch("models:/tiny/1", registry, cache=cache).folder
    before = folder.stat().st_ino
    monkeypatch.setattr(model_cache, "is_sound", lambda _: False)
    assert fetch("models:/tiny/1", registry, cache=cache).folder == folder
    assert folder.stat().st_ino == before
    assert [path.name for path in cache.iterdir() if path.name.endswith(".part")] == []


def test_of_two_that_mend_a_damaged_copy_at_once_the_first_stays(registry, cache, monkeypatch):
    folder = fetch("models:/tiny/1", registry, cache=cache).folder
    (folder / "spec.json").write_text("{}")
    both, look, seen = threading.Barrier(2), download.is_sound, []

    def is_sound(path):
        sound = look(path)
        with suppress(threading.BrokenBarrierError):
            both.wait(1.0)  # both have looked before either moves, unless one has to wait for the other
        seen.append((sound, path.stat().st_ino))
        return sound

    monkeypatch.setattr(download, "is_sound", is_sound)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: fetch("models:/tiny/1", registry, cache=cache), range(2)))
    (_, damaged), (sound, first) = seen
    assert (sound, first != damaged) == (True, True)
    assert folder.stat().st_ino == first


def test_processes_that_start_at_once_all_load(registry, cache):
    code = "import sys; from scheduler import Model; Model.load('models:/tiny/1', sys.argv[1], cache=sys.argv[2])"
    command = [sys.executable, "-c", code, registry, str(cache)]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0] * 3, said


def test_a_damaged_copy_is_fetched_again(registry, cache):
    folder = fetch("models:/tiny/1", registry, cache=cache).folder
    (folder / "spec.json").write_text("{}")
    assert fetch("models:/tiny/1", registry, cache=cache).folder == folder
    check_files(folder)


def test_the_copy_of_another_registrys_same_version_is_not_taken(filled, registry, cache, tmp_path, tmp_path_factory):
    other = new_registry(tmp_path_factory.getbasetemp(), tmp_path / "other")
    register(other, tmp_path / "artifact", seed=7)
    one = fetch("models:/tiny/1", registry, cache=cache)
    two = fetch("models:/tiny/1", other, cache=cache)
    assert check_files(one.folder) == check_files(filled / "artifact-1")
    assert check_files(two.folder) == check_files(tmp_path / "artifact")


def test_only_the_last_used_copies_are_kept(registry, cache):
    folder = fetch("models:/tiny/1", registry, cache=cache).folder
    for version in range(10, 10 + KEPT):
        old = cache / f"tiny-{version}-{'0' * 8}"
        old.mkdir()
        os.utime(old, (version, version))
    (cache / "tiny-more-1-00000000").mkdir()
    fetch("models:/tiny/1", registry, cache=cache)
    left = {path.name for path in cache.iterdir() if path.is_dir()}
    assert left == {
        folder.name,
        "tiny-more-1-00000000",
        *(f"tiny-{v}-{'0' * 8}" for v in range(11, 10 + KEPT)),
    }


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("models:/tiny@challenger", "challenger"),
        ("models:/tiny/99", "99"),
        ("models:/nobody@champion", "nobody"),
    ],
)
def test_what_the_registry_does_not_have_is_named(registry, cache, uri, found):
    with pytest.raises(RegistryError, match=rf"expected {uri}, found none .*{found}") as caught:
        fetch(uri, registry, cache=cache, last_good=True)
    assert not isinstance(caught.value, RegistryDownError)
    assert registry in str(caught.value)


def test_a_missing_database_is_named_and_not_made(tmp_path, cache):
    registry = f"sqlite:///{tmp_path / 'nowhere' / 'mlflow.db'}"
    with pytest.raises(RegistryDownError, match=rf"registry {registry}: expected a database, found no such file"):
        fetch("models:/tiny@champion", registry, cache=cache)
    assert not (tmp_path / "nowhere").exists()


def test_a_database_that_is_none_is_refused(tmp_path, cache):
    (tmp_path / "mlflow.db").write_bytes(b"not a database" * 1_000)
    with pytest.raises(RegistryBrokenError, match="expected a SQLite database, found file is not a database"):
        fetch("models:/tiny@champion", f"sqlite:///{tmp_path / 'mlflow.db'}", cache=cache)


def test_a_closed_port_is_named(cache):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(
        RegistryDownError, match=rf"registry http://127.0.0.1:{port}: expected models:/tiny/1, found no"
    ):
        fetch("models:/tiny/1", f"http://127.0.0.1:{port}", cache=cache)


def test_a_registry_of_a_kind_mlflow_does_not_know_is_refused(cache):
    with pytest.raises(RegistryError, match="nonsense://x: expected an MLflow registry"):
        fetch("models:/tiny/1", "nonsense://x", cache=cache)


def test_files_that_are_gone_are_named(registry, filled, cache):
    (filled / "registry" / "artifacts").rename(filled / "away")
    try:
        with pytest.raises(RegistryError, match=r"expected the files of models:/tiny/1 at .*artifacts"):
            fetch("models:/tiny/1", registry, cache=cache)
    finally:
        (filled / "away").rename(filled / "registry" / "artifacts")
    assert list(cache.iterdir()) == []


def test_files_that_arrive_damaged_are_refused(registry, filled, cache):
    path = next((filled / "registry" / "artifacts").rglob("artifact-2/spec.json"))
    data = path.read_bytes()
    path.write_bytes(data + b" ")
    try:
        with pytest.raises(ArtifactError, match=r"spec\.json: expected SHA-256"):
            fetch("models:/tiny/2", registry, cache=cache)
    finally:
        path.write_bytes(data)
    assert list(cache.iterdir()) == []


def test_a_registered_model_of_another_kind_is_refused(registry, filled, cache):
    path = next((filled / "registry" / "artifacts").rglob("artifact-2/manifest.json"))
    path.rename(path.with_name("x.json"))
    try:
        with pytest.raises(
            ArtifactError, match=r"models:/tiny/2: expected one manifest\.json among its files, found 0"
        ):
            fetch("models:/tiny/2", registry, cache=cache)
    finally:
        path.with_name("x.json").rename(path)


@pytest.mark.parametrize("uri", ["models:/tiny@champion", "models:/tiny/1"])
def test_the_last_good_copy_serves_while_the_registry_is_down(registry, cache, uri):
    first = fetch(uri, registry, cache=cache)
    remove(registry)
    kept = fetch(uri, registry, cache=cache, last_good=True)
    assert (kept.folder, kept.version, kept.fresh) == (first.folder, "1", False)
    assert "expected a database, found no such file" in kept.problem
    with pytest.raises(RegistryDownError):
        fetch(uri, registry, cache=cache)


def test_without_a_sound_copy_of_that_uri_there_is_no_last_good(registry, cache):
    folder = fetch("models:/tiny@champion", registry, cache=cache).folder
    remove(registry)
    for uri, other in (
        ("models:/tiny/2", registry),
        ("models:/tiny@champion", "sqlite:////nowhere/mlflow.db"),
    ):
        with pytest.raises(RegistryDownError):
            fetch(uri, other, cache=cache, last_good=True)
    (folder / "spec.json").unlink()
    with pytest.raises(RegistryDownError):
        fetch("models:/tiny@champion", registry, cache=cache, last_good=True)


def test_environment_and_log_levels_are_left_as_they_were(monkeypatch):
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    before, level, seen = dict(os.environ), logging.getLogger("mlflow").level, {}
    with pytest.raises(RegistryError), registry_call("x", "y"):  # noqa: PT012 - the block looks around and fails
        seen.update(os.environ)
        raise OSError
    assert (seen["MLFLOW_HTTP_REQUEST_MAX_RETRIES"], seen["MLFLOW_HTTP_REQUEST_TIMEOUT"]) == ("1", "77")
    assert dict(os.environ) == before
    assert logging.getLogger("mlflow").level == level


def test_which_registry_a_command_line_uses():
    assert registry_uri(None, {}) == DEFAULT
    tracking, models = {"MLFLOW_TRACKING_URI": "http://t"}, {"MLFLOW_REGISTRY_URI": "http://r"}
    assert registry_uri(None, tracking) == "http://t"
    assert registry_uri(None, tracking | models) == "http://r"
    assert registry_uri("http://o", tracking | models) == "http://o"


def test_passwords_are_not_repeated():
    assert redact_password("postgresql://me:secret@host/db") == "postgresql://***@host/db"
    assert redact_password("sqlite:////home/me@work/mlflow.db") == "sqlite:////home/me@work/mlflow.db"


def test_a_uri_is_read_and_written():
    assert ModelUri.parse("models:/a-b.c@d") == ("a-b.c", "d", "")
    assert ModelUri.parse("models:/a/12") == ("a", "", "12")
    for uri in ("models:/a-b.c@d", "models:/a/12"):
        assert str(ModelUri.parse(uri)) == uri
    for bad in (
        "models:/../x@y",
        "models:/a@../../x",
        "models:/a/../1",
        "runs:/x/y",
        "models:/a/1\n",
        "models://h/a/1",
    ):
        with pytest.raises(RegistryError, match="expected models:/NAME@ALIAS"):
            ModelUri.parse(bad)


def test_loading_a_folder_does_not_import_mlflow(tmp_path):
    code = f"import sys; from scheduler import Model; Model.load({str(write_tiny(tmp_path / 'a'))!r})\n"
    code += "sys.exit('mlflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[3])

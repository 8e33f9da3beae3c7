"""Where copies of registered models are kept, and what serves while the registry does not answer."""

import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scheduler import Model, RegistryError, RegistryWarning
from scheduler.model import model_cache
from scheduler.model.model_cache import CACHE, cache_place
from scheduler.model.registry import fetch
from tests.artifacts import write_tiny
from tests.registries import new_registry, register
from training.pipeline.promotion import promote

URI = "models:/tiny@champion"


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A working directory, with a home beside it."""
    (tmp_path / "work").mkdir()
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def registry(place, tmp_path_factory) -> str:
    registry = new_registry(tmp_path_factory.getbasetemp(), place / "registry")
    register(registry, place / "artifact")
    promote("tiny", "1", registry=registry)
    return registry


def bar(path: Path) -> None:
    """Have a folder that cannot be made, not by root either."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("in the way")


def remove(registry: str) -> None:
    Path(registry.removeprefix("sqlite:///")).unlink()


@pytest.mark.slow
def test_a_model_starts_with_its_last_good_copy_and_says_which_and_why(registry):
    first = Model.load(URI, registry)
    remove(registry)
    with pytest.warns(RegistryWarning) as caught:
        again = Model.load(URI, registry)
    assert again.version == first.version
    (message,) = [str(one.message) for one in caught]
    assert message.startswith(f"{URI}: expected an answer of the registry, found none (registry sqlite:///")
    assert "expected a database, found no such file" in message
    assert "version 1 serves, the last good copy, in .fogline/cache/tiny-1-" in message
    assert caught[0].filename == __file__


@pytest.mark.slow
def test_a_model_does_not_start_with_a_copy_where_that_is_refused_or_not_there(registry):
    with pytest.raises(RegistryError, match="found no such file"):
        Model.load(URI, "sqlite:///nowhere.db")
    Model.load(URI, registry)
    remove(registry)
    with pytest.raises(RegistryError, match="found no such file"):
        Model.load(URI, registry, last_good=False)
    (copy,) = CACHE.glob("tiny-1-*")
    (copy / "spec.json").write_text("{}")
    with pytest.raises(RegistryError, match="found no such file"):
        Model.load(URI, registry)


@pytest.mark.slow
def test_copies_are_kept_where_the_caller_says(registry, place):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Model.load(URI, registry, cache=place / "copies" / "here")
        Model.load(URI, registry, cache=str(place / "copies" / "here"))
    assert [path.name[:7] for path in (place / "copies" / "here").glob("tiny*")].count("tiny-1-") == 1
    assert not CACHE.exists()


@pytest.mark.slow
def test_a_model_loads_where_the_working_directory_cannot_be_written(registry, place):
    bar(CACHE)
    with pytest.warns(RegistryWarning, match=rf"expected to write to .*\.fogline/cache, .* kept in {place}/home/"):
        Model.load(URI, registry)
    assert list((place / "home" / ".cache" / "fogline" / "models").glob("tiny-1-*"))
    remove(registry)
    with (
        pytest.warns(RegistryWarning, match="expected to write to"),
        pytest.warns(RegistryWarning, match="the last good copy"),
    ):
        Model.load(URI, registry)


def test_without_a_home_either_copies_go_with_the_process(place, monkeypatch):
    monkeypatch.setattr(model_cache, "_temporary", [])
    bar(CACHE)
    bar(place / "home" / ".cache")
    with pytest.warns(RegistryWarning, match="copies are kept in"):
        temporary = cache_place(None)
    assert (temporary.stat().st_mode & 0o777, temporary.is_dir()) == (0o700, True)
    with pytest.warns(RegistryWarning):
        assert cache_place(None) == temporary
    model_cache._temporary.pop().cleanup()  # noqa: SLF001 - what happens when the process ends
    assert not temporary.exists()


@pytest.mark.slow
def test_a_folder_that_was_asked_for_and_cannot_be_written_is_named(registry, place):
    bar(place / "copies")
    with pytest.raises(RegistryError, match=f"cache: expected a folder that can be written, found {place}/copies"):
        Model.load(URI, registry, cache=place / "copies")


@pytest.mark.slow
def test_a_cache_that_came_with_an_image_serves_without_being_written(registry, monkeypatch):
    first = fetch(URI, registry)
    monkeypatch.setattr(model_cache, "is_writable", lambda folder: CACHE not in (folder, *folder.parents))
    (note,) = CACHE.glob("*.last")
    before = note.stat().st_mtime_ns
    assert fetch(URI, registry, cache=CACHE).folder == first.folder
    assert note.stat().st_mtime_ns == before
    remove(registry)
    with pytest.warns(RegistryWarning, match="expected to write to"):
        assert fetch(URI, registry, last_good=True).folder == first.folder


def test_a_note_that_is_no_text_leads_nowhere(place):
    CACHE.mkdir(parents=True)
    shutil.copytree(write_tiny(place / "artifact"), CACHE / "tiny-1-00000000")
    for content in (b"\xff\xfe\x00", b"../../artifact", b""):
        (CACHE / "a.last").write_bytes(content)
        assert model_cache.last_good(CACHE / "a.last") is None
    (CACHE / "a.last").write_bytes(b"tiny-1-00000000")
    assert model_cache.last_good(CACHE / "a.last") == CACHE / "tiny-1-00000000"


def test_threads_that_write_a_note_at_once_all_succeed(tmp_path):
    note, folders = tmp_path / "small@champion.last", [tmp_path / f"small-{n}-0123abcd" for n in range(2)]
    for folder in folders:
        folder.mkdir()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: model_cache.remember(note, folders[i % 2]), range(200)))
    assert note.read_text() in {folder.name for folder in folders}
    assert list(tmp_path.glob(".*")) == []


def test_a_copy_that_another_process_removes_meanwhile_is_passed_over(tmp_path, monkeypatch):
    for n in range(3):
        (tmp_path / f"small-{n}-0123abcd").mkdir()
    listed = [*tmp_path.iterdir(), tmp_path / "small-9-0123abcd"]
    monkeypatch.setattr(Path, "iterdir", lambda _: iter(listed))
    monkeypatch.setattr(model_cache, "KEPT", 2)
    model_cache.prune(tmp_path, "small")
    assert sum(path.exists() for path in listed) == 2

"""The folder in which an artifact is made: named when it is whole, gone when it fails, safe from other writers."""

import tempfile

import pytest

from scheduler.errors import ArtifactError
from training.artifacts import stage as under_test
from training.artifacts.stage import staged


def test_what_was_made_gets_its_name_and_nothing_else_is_left(tmp_path):
    with staged(tmp_path / "deep" / "a") as folder:
        (folder / "file").write_text("content")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a"]
    assert [path.name for path in (tmp_path / "deep" / "a").iterdir()] == ["file"]
    assert (tmp_path / "deep" / "a").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("error", [FileNotFoundError("x"), ArtifactError("x"), KeyboardInterrupt()])
def test_after_an_error_nothing_is_left_and_the_error_is_known(tmp_path, error):
    def work():
        with staged(tmp_path / "a") as folder:
            (folder / "file").write_text("content")
            raise error

    with pytest.raises(type(error)):
        work()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_that_name_is_left_as_it_is_whenever_it_came(tmp_path):
    with pytest.raises(ArtifactError, match="never overwritten"), staged(tmp_path / "a"):
        (tmp_path / "a").mkdir()
    with pytest.raises(ArtifactError, match="never overwritten"), staged(tmp_path / "a"):
        pytest.fail("is there already")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_stage_without_a_writer_is_removed_and_one_with_a_writer_is_not(tmp_path):
    (tmp_path / ".a.gone.part" / "artifact").mkdir(parents=True)
    with staged(tmp_path / "a") as one:
        assert [path.name for path in tmp_path.iterdir()] == [one.parent.name]
        with pytest.raises(ZeroDivisionError), staged(tmp_path / "a"):
            raise ZeroDivisionError
        assert one.is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_stage_that_another_writer_removed_before_it_was_locked_is_made_anew(tmp_path, monkeypatch):
    make, made = tempfile.mkdtemp, []

    def removed_at_first(**words):
        made.append(make(**words))
        if len(made) == 1:
            under_test.remove_leftovers(tmp_path, ".a.")
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", removed_at_first)
    with staged(tmp_path / "a") as folder:
        (folder / "file").write_text("content")
    assert len(made) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a"]

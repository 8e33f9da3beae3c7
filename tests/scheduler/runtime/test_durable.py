"""Files that are replaced: each has all of the old or all of the new."""

import os

import pytest

from scheduler.runtime import durable
from scheduler.runtime.durable import check_writable, replacing, write_text


def full(*_):
    raise OSError(28, "No space left on device")


def test_a_text_takes_the_place_of_the_old_one_with_its_rights(tmp_path):
    file = tmp_path / "a.toml"
    write_text(file, "old")
    file.chmod(0o640)
    write_text(file, "new ö")
    assert [(path.name, path.read_text(encoding="utf-8")) for path in tmp_path.iterdir()] == [("a.toml", "new ö")]
    assert file.stat().st_mode & 0o777 == 0o640


def test_what_a_link_leads_to_is_replaced(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a").write_text("old")
    (tmp_path / "link").symlink_to("deep/a")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "deep" / "a").read_text() == "new"


def test_a_pipe_is_written_to(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_text(pipe, "text")
    assert os.read(reader, 99) == b"text"
    os.close(reader)
    assert pipe.is_fifo()


@pytest.mark.parametrize("when", ["written", "durable", "interrupted"])
def test_after_an_error_all_files_are_as_they_were(tmp_path, monkeypatch, when):
    files = [tmp_path / name for name in "ab"]
    for file in files:
        file.write_text("old")
    if when == "durable":
        monkeypatch.setattr(durable, "sync", full)
    with pytest.raises((OSError, KeyboardInterrupt)), replacing(*files) as (a, b):  # noqa: PT012 - what is interrupted
        a.write_text("new")
        if when == "interrupted":
            raise KeyboardInterrupt
        b.write_text("ne")
        if when == "written":
            full()
    assert sorted((path.name, path.read_text()) for path in tmp_path.iterdir()) == [("a", "old"), ("b", "old")]


def test_files_take_their_places_in_order_once_all_are_durable(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(durable, "sync", lambda path: done.append(("sync", path.name.split(".")[-2:][0])))
    replace = type(tmp_path).replace
    monkeypatch.setattr(type(tmp_path), "replace", lambda part, path: done.append(path.name) or replace(part, path))
    with replacing(tmp_path / "b", tmp_path / "a") as parts:
        for part in parts:
            part.write_text("")
    assert done == [("sync", "b"), ("sync", "a"), "b", "a", ("sync", tmp_path.name)]
    done.clear()
    with replacing(tmp_path / "b", is_durable=False) as (part,):
        part.write_text("")
    assert done == ["b"]


def test_two_writers_of_one_file_write_apart(tmp_path):
    with replacing(tmp_path / "a") as (one,), replacing(tmp_path / "a") as (two,):
        one.write_text("1")
        two.write_text("2")
    assert (tmp_path / "a").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_place_where_no_file_can_be_made_is_named_with_what_it_would_hold(tmp_path):
    (tmp_path / "file").write_text("")
    for path, is_folder, found in (
        (tmp_path / "file" / "page", False, f"Not a directory, in {tmp_path / 'file'}"),
        (tmp_path / "file", True, f"Not a directory, in {tmp_path / 'file'}"),
        (tmp_path, False, f"Is a directory, in {tmp_path.parent}"),
    ):
        with pytest.raises(OSError, match=f"^{path}: expected a place to write the page to, found: {found}$"):
            check_writable(path, "the page", is_folder=is_folder)
    os.mkfifo(tmp_path / "pipe")
    for name in ("file", "pipe", "new", "deep/new"):
        check_writable(tmp_path / name, "the page")
    for name in ("", "new/deep"):
        check_writable(tmp_path / name, "pages", is_folder=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "pipe"]

"""Files that were cut short or changed: what is read was written, and what is left out is counted."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from scheduler.decisions.record.arrow import END, Encoder, decoded
from scheduler.decisions.record.columns import Ragged, cut, fitted, joined, kinds_of, n_rows, padded, ragged
from scheduler.decisions.record.read import SegmentReader, Torn, read_segments, typed_id
from scheduler.decisions.record.segment import FORMAT, Segment, SegmentManifest, TableFile
from scheduler.errors import RecordError
from tests.record_world import interrupt_write

TABLE = "nodes"


def rows(first, n):
    return {
        "id": np.arange(first, first + n),
        "x": np.arange(2.0 * first, 2.0 * (first + n)).reshape(n, 2).astype(np.float32),
        "name": [f"ö{k}" for k in range(first, first + n)],
        "names": ragged([[str(k)] * (k % 3) for k in range(first, first + n)]),
        "lists": ragged([np.full((k % 2, 3), k, np.uint64) for k in range(first, first + n)]),
        "is": np.arange(first, first + n) % 2 == 0,
    }


def manifest(**parts):
    settings = {"stream": "00c0ffee", "number": 1, "seed": 0, "begun": time.time(), "hashed": False, "outcomes": ()}
    return SegmentManifest(format=FORMAT, **settings | parts)


@pytest.fixture
def segment(tmp_path):
    """A segment of three batches that was not closed."""
    made = Segment(tmp_path / "records", manifest())
    for first in (0, 4, 8):
        made.append(TABLE, rows(first, 4))
    return made


def read_ids(path):
    (segment,) = read_segments(path)
    return [id_ for batch in segment.batches(TABLE) for id_ in batch["id"].tolist()], segment.torn(TABLE)


def test_what_is_written_is_read(segment, tmp_path):
    segment.close()
    (found,) = read_segments(tmp_path / "records")
    assert found.manifest.closed
    assert found.torn(TABLE) == Torn(0, 0)
    back, wrote = joined(list(found.batches(TABLE))), joined([rows(first, 4) for first in (0, 4, 8)])
    for name, column in wrote.items():
        if isinstance(column, Ragged):
            np.testing.assert_array_equal(back[name].starts, column.starts)
            np.testing.assert_array_equal(back[name].values, column.values)
        else:
            np.testing.assert_array_equal(back[name], column)


def test_polars_reads_a_closed_table(segment):
    pl = pytest.importorskip("polars")
    segment.close()
    frame = pl.read_ipc_stream(segment.path / f"{TABLE}.arrows")
    assert frame["id"].to_list() == list(range(12))
    assert frame["names"].to_list()[2] == ["2", "2"]


@pytest.mark.slow
@pytest.mark.parametrize("which", [".arrows", ".sums"])
def test_a_file_that_is_cut_short_at_any_byte_gives_whole_batches_and_counts_the_rest(segment, tmp_path, which):
    file = (segment.path / TABLE).with_suffix(which)
    whole = file.read_bytes()
    lines = (segment.path / f"{TABLE}.sums").read_bytes().splitlines()
    before = int(lines[-2].split()[0]) if which == ".arrows" else sum(len(line) + 1 for line in lines[:-1])
    for end in range(before, len(whole)):
        file.write_bytes(whole[:end])
        ids, torn = read_ids(tmp_path / "records")
        assert ids == list(range(8))
        if which == ".arrows":
            assert torn == Torn(4, end - before)
        else:
            assert torn.rows == 0
            assert torn.bytes > 0


@pytest.mark.slow
def test_a_changed_byte_anywhere_is_never_read_as_good(segment, tmp_path):
    segment.close()
    file = segment.path / f"{TABLE}.arrows"
    whole, random = file.read_bytes(), np.random.default_rng(0)
    for at in random.choice(len(whole) - len(END), 300, replace=False).tolist():
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << random.integers(8)]) + whole[at + 1 :])
        ids, torn = read_ids(tmp_path / "records")
        assert len(ids) + torn.rows == 12
        assert torn.rows in {4, 12}
        assert set(ids) <= set(range(12))


def test_changed_sums_end_the_reading(segment, tmp_path):
    file = segment.path / f"{TABLE}.sums"
    whole = file.read_bytes()
    file.write_bytes(whole + b"\0" * 64 + b"\n12 4 00000000\n")
    assert read_ids(tmp_path / "records")[0] == list(range(12))


def test_a_segment_whose_process_was_killed_before_it_had_begun_is_passed_over(segment, tmp_path):
    assert segment.is_sound
    (tmp_path / "records" / "20000101T000000-00c0ffee-000009").mkdir()
    assert read_ids(tmp_path / "records")[0] == list(range(12))


def test_records_that_are_none_are_refused_by_name(tmp_path, segment):
    with pytest.raises(RecordError, match="expected a folder of records, found none"):
        list(read_segments(tmp_path / "nowhere"))
    path = segment.path / "segment.json"
    path.write_bytes(path.read_bytes().replace(b'"format": 1', b'"format": 9'))
    with pytest.raises(RecordError, match="expected records of format 1, found 9"):
        list(read_segments(tmp_path / "records"))
    with pytest.raises(RecordError, match="expected an Arrow IPC stream"):
        list(decoded(Encoder({"id": ("int64",)}).schema[:-9]))


def test_what_could_not_be_written_whole_is_taken_back(segment, tmp_path, monkeypatch):
    from scheduler.decisions.record import segment as module  # noqa: PLC0415

    def half(handle, data):
        module.os.write(handle, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_all", half)
        with pytest.raises(OSError, match="No space"):
            segment.append(TABLE, rows(12, 4))
    assert read_ids(tmp_path / "records") == (list(range(12)), Torn(0, 0))
    segment.append(TABLE, rows(12, 4))
    segment.close()
    assert read_ids(tmp_path / "records") == (list(range(16)), Torn(0, 0))


@pytest.mark.parametrize("at", range(4))
def test_what_an_interrupt_cut_short_is_taken_back(segment, tmp_path, monkeypatch, at):
    with monkeypatch.context() as patch:
        interrupt_write(patch, at)
        with pytest.raises(KeyboardInterrupt):
            segment.append(TABLE, rows(12, 4))
    assert segment.is_sound
    assert read_ids(tmp_path / "records") == (list(range(12)), Torn(0, 0))
    segment.append(TABLE, rows(12, 4))
    segment.close()
    assert read_ids(tmp_path / "records") == (list(range(16)), Torn(0, 0))


def test_an_interrupt_is_raised_also_where_nothing_can_be_taken_back(segment, monkeypatch):
    from scheduler.decisions.record import segment as module  # noqa: PLC0415

    def interrupt(*_):
        raise KeyboardInterrupt

    def refuse(*_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_all", interrupt)
        patch.setattr(module.os, "ftruncate", refuse)
        with pytest.raises(KeyboardInterrupt):
            segment.append(TABLE, rows(12, 4))
    assert not segment.is_sound


def test_a_segment_whose_beginning_is_interrupted_is_not_there(tmp_path, monkeypatch):
    from scheduler.decisions.record import segment as module  # noqa: PLC0415

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_all", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Segment(tmp_path / "records", manifest())
    assert list((tmp_path / "records").iterdir()) == []


def test_all_tables_are_closed_whatever_happens_to_one(segment, monkeypatch):
    from scheduler.decisions.record import segment as module  # noqa: PLC0415

    segment.append("outcomes", rows(0, 4))
    closed, close = [], module.os.close

    def interrupt(handle, data):
        if data == END and not closed:
            raise KeyboardInterrupt
        module.os.write(handle, data)

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_all", interrupt)
        patch.setattr(module.os, "close", lambda handle: (closed.append(handle), close(handle)))
        with pytest.raises(KeyboardInterrupt):
            segment.close()
    assert len(closed) == 4


@pytest.mark.parametrize("refused", [".sums", "folder"])
def test_a_table_that_could_not_be_made_is_made_by_the_next_append(segment, tmp_path, monkeypatch, refused):
    from scheduler.decisions.record import segment as module  # noqa: PLC0415

    def unless_refused(call):
        def then(path, *parts):
            if Path(path).suffix == refused or (path == segment.path and refused == "folder"):
                raise OSError(28, "No space left on device")
            return call(path, *parts)

        return then

    n_open = len(list(Path("/proc/self/fd").iterdir()))
    with monkeypatch.context() as patch:
        patch.setattr(module.os, "open", unless_refused(module.os.open))
        patch.setattr(module, "sync", unless_refused(module.sync))
        with pytest.raises(OSError, match="No space"):
            segment.append("outcomes", rows(0, 4))
    assert len(list(Path("/proc/self/fd").iterdir())) == n_open
    assert not list(segment.path.glob("outcomes.*"))
    segment.append("outcomes", rows(0, 4))
    segment.close()
    (found,) = read_segments(tmp_path / "records")
    assert [n_rows(batch) for batch in found.batches("outcomes")] == [4]


def test_large_tables_are_cut_into_batches(tmp_path):
    table = TableFile(tmp_path / "t.arrows", kinds_of(rows(0, 1)))
    table.append(rows(0, 10), 4)
    table.close()
    reader = SegmentReader(tmp_path, manifest())
    assert [n_rows(batch) for batch in reader.batches("t")] == [4, 4, 2]


def test_columns_are_joined_cut_and_padded():
    parts = [rows(0, 3), rows(3, 2)]
    whole = joined(parts)
    again = joined([cut(whole, 0, 3), cut(whole, 3, 5)])
    for name, column in whole.items():
        if isinstance(column, Ragged):
            assert [list(map(str, column.row(i))) for i in range(5)] == [
                list(map(str, again[name].row(i))) for i in range(5)
            ]
        else:
            np.testing.assert_array_equal(column, again[name])
    assert padded(np.ones((1, 1), np.int32), 3).tolist() == [[1, -1, -1]]
    assert np.isnan(padded(np.ones((1, 1)), 2)[0, 1])
    assert joined([{"x": np.ones((1, 1), np.uint64)}, {"x": np.ones((1, 2), np.uint64)}])["x"].tolist() == [
        [1, 0],
        [1, 1],
    ]
    assert fitted({"x": np.ones((1, 2))}, {"x": ("float64", 1)}) is None
    assert fitted({"x": np.ones((1, 1))}, {"x": ("float64", 2)})["x"].shape == (1, 2)


def test_ids_come_back_as_what_they_were():
    from scheduler.columns.ids import id_key  # noqa: PLC0415

    for id_ in (5, "5", -1, 2**64 - 1, "box", "007", "\ud800"):
        assert typed_id(str(id_), id_key(id_)) == id_
    assert typed_id("", 0) is None
    assert typed_id("1" * 30, 1) == "1" * 30


def test_a_closed_folder_of_other_things_is_no_segment(tmp_path, segment):
    shutil.copytree(segment.path, tmp_path / "records" / "copy")
    assert read_ids(tmp_path / "records")[0] == list(range(12))

"""A recorder: segments that rotate and go, disks that are slow or full, ids that are hashed."""

import contextlib
import errno
import os
import sys
import threading
import time

import pytest
from numba import config

from scheduler.decisions.record import folder as folder_module
from scheduler.decisions.record import recorder as recorder_module
from scheduler.decisions.record import segment as segment_module
from scheduler.decisions.record.arrow import nanoarrow
from scheduler.decisions.record.folder import segment_paths
from scheduler.decisions.record.names import CategoryKeys
from scheduler.decisions.record.read import read_segments
from scheduler.decisions.record.recording import Recording
from scheduler.decisions.record.ring_reader import RingReader
from scheduler.decisions.record.watch_feed import WatchFeed
from scheduler.errors import InputError, RecordError
from tests.record_world import count, ids_of, interrupt_write, recorded, recording, rows_of, serve, torn
from tests.waiting import PATIENCE, wait_for

SLOW = 0.3
"""Seconds of a write to a slow disk in tests."""


def full_disk(room):
    """Return a writer for a disk that has room for so many bytes yet, and that room."""
    left = [room]

    def write(handle, data):
        part = data[: max(left[0], 0)]
        left[0] -= len(data)
        os.write(handle, part)
        if len(part) < len(data):
            raise OSError(errno.ENOSPC, "No space left on device")

    return write, left


def test_a_segment_is_closed_when_it_is_large_and_the_next_goes_on(model, tmp_path):
    sched = recorded(model, tmp_path, segment_bytes=1)
    with recording(sched) as recorder:
        for k in range(3):
            serve(sched, 3, first=3 * k)
            recorder.flush()
    segments = list(read_segments(tmp_path))
    assert [segment.manifest.number for segment in segments] == [1, 2, 3]
    assert all(segment.manifest.closed for segment in segments)
    assert len({segment.manifest.stream for segment in segments}) == 1
    assert ids_of(tmp_path) == list(range(9))
    assert all(segment.manifest.arms for segment in segments)


def test_a_segment_is_closed_when_it_is_old(model, tmp_path):
    sched = recorded(model, tmp_path, segment_seconds=1e-6)
    with recording(sched) as recorder:
        for k in range(2):
            serve(sched, 1, first=k)
            recorder.flush()
    assert len(list(read_segments(tmp_path))) == 2


def test_the_oldest_segments_go_when_there_are_too_many_bytes(model, tmp_path):
    sched = recorded(model, tmp_path, segment_bytes=1, most_bytes=100_000)
    with recording(sched) as recorder:
        for k in range(12):
            serve(sched, 3, first=3 * k)
            status = recorder.flush()
    sizes = [folder_module.look_at(path).size for path in segment_paths(tmp_path)]
    assert sum(sizes) <= 100_000
    assert status.deleted > 0
    kept = ids_of(tmp_path)
    assert kept == list(range(kept[0], 36))


def test_segments_go_when_their_time_is_over(model, tmp_path):
    sched = recorded(model, tmp_path, segment_bytes=1, retention=1_000.0)
    with recording(sched) as recorder:
        serve(sched, 3)
        recorder.flush()
        (old,) = segment_paths(tmp_path)
        long_ago = time.time() - 2_000.0
        for path in (*old.iterdir(), old):
            os.utime(path, (long_ago, long_ago))
        serve(sched, 3, first=3)
        recorder.flush()
    assert ids_of(tmp_path) == [3, 4, 5]


def test_what_another_process_writes_stays_until_it_is_abandoned(model, tmp_path):
    other = recorded(model, tmp_path)
    with recording(other) as theirs:
        serve(other, 3)
        theirs.flush()
        (open_one,) = segment_paths(tmp_path)
        sched = recorded(model, tmp_path, segment_bytes=1, most_bytes=1)
        with recording(sched) as recorder:
            serve(sched, 3)
            recorder.flush()
            assert open_one.is_dir()
            long_ago = time.time() - 2 * folder_module.ABANDONED
            for path in (*open_one.iterdir(), open_one):
                os.utime(path, (long_ago, long_ago))
            recorder.flush()
            assert not open_one.is_dir()
        serve(other, 3, first=3)
        assert theirs.flush().segments == 2
    assert ids_of(tmp_path)[-3:] == [3, 4, 5]


def test_rows_become_durable_every_so_many_seconds_without_being_asked(model, tmp_path):
    sched = recorded(model, tmp_path, every=0.05)
    with recording(sched) as recorder:
        serve(sched, 3)
        wait_for(lambda: count(tmp_path) >= 3)
        assert ids_of(tmp_path) == [0, 1, 2]
        assert recorder.status.lag < PATIENCE


@pytest.mark.parametrize("room", [0, 3_000, 7_000])
def test_a_full_disk_loses_rows_and_counts_them_and_writing_resumes_when_there_is_room(
    model, tmp_path, monkeypatch, room
):
    sched = recorded(model, tmp_path, full=1.0)
    with recording(sched) as recorder:
        serve(sched, 2)
        recorder.flush()
        with monkeypatch.context() as patch:
            patch.setattr(segment_module, "write_all", full_disk(room)[0])
            serve(sched, 5, first=2)
            status = recorder.flush()
        assert status.failures > 0
        assert "No space left on device" in status.last_error
        assert sum(status.lost.values()) > 0
        serve(sched, 2, first=7)
        status = recorder.flush()
        assert status.is_on
    kept = set(ids_of(tmp_path))
    assert len(kept) == 9 - status.lost["decisions"]
    assert {0, 1, 7, 8} <= kept
    assert torn(tmp_path) == (0, 0)


def test_a_disk_that_was_full_from_the_first_is_used_once_it_has_room(model, tmp_path, monkeypatch):
    sched = recorded(model, tmp_path)
    with recording(sched) as recorder:
        with monkeypatch.context() as patch:
            patch.setattr(segment_module, "write_all", full_disk(0)[0])
            serve(sched, 3)
            assert recorder.flush().lost["decisions"] == 3
            assert segment_paths(tmp_path) == []
        serve(sched, 3, first=3)
        assert recorder.flush().written["decisions"] == 3
    assert ids_of(tmp_path) == [3, 4, 5]


@pytest.mark.skipif(sys.platform == "win32", reason="resource limits are of Unix")
def test_a_real_limit_on_files_tears_nothing(model, tmp_path):
    import resource  # noqa: PLC0415 - of Unix
    import signal  # noqa: PLC0415

    sched = recorded(model, tmp_path, full=1.0)
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with recording(sched) as recorder:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
            for k in range(8):
                serve(sched, 5, first=5 * k)
                status = recorder.flush()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        assert status.lost["full"] > 0
        assert status.written["full"] > 0
    assert torn(tmp_path) == (0, 0)
    assert count(tmp_path, "full") == status.written["full"]


def test_what_cannot_be_taken_back_ends_the_segment_and_no_more(model, tmp_path, monkeypatch):
    sched = recorded(model, tmp_path)
    with recording(sched) as recorder:
        serve(sched, 2)
        recorder.flush()
        with monkeypatch.context() as patch:
            patch.setattr(segment_module, "write_all", full_disk(100)[0])
            patch.setattr(segment_module.os, "ftruncate", _refuse)
            serve(sched, 2, first=2)
            recorder.flush()
        serve(sched, 2, first=4)
        recorder.flush()
    assert ids_of(tmp_path) == [0, 1, 4, 5]
    first, second = read_segments(tmp_path)
    assert not first.manifest.closed
    assert second.manifest.closed
    assert torn(tmp_path)[1] == 100


@pytest.mark.parametrize("at", range(0, 20, 2))
@pytest.mark.parametrize("call", ["flush", "stop"])
def test_an_interrupted_write_is_made_up_for_by_the_next(model, tmp_path, monkeypatch, call, at):
    sched, watched = recorded(model, tmp_path, full=1.0), []
    add = WatchFeed.add

    def watch(feed, decisions, outcomes):
        watched.extend([] if decisions is None else decisions["id"].tolist())
        return add(feed, decisions, outcomes)

    monkeypatch.setattr(WatchFeed, "add", watch)
    with recording(sched) as recorder:
        serve(sched, 2)
        recorder.flush()
        serve(sched, 3, first=2)
        with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
            interrupt_write(patch, at)
            getattr(recorder, call)()
        if call == "flush":
            serve(sched, 1, first=5)
        n = 6 if call == "flush" else 5
        status = recorder.stop()
    assert not any(status.lost.values())
    assert torn(tmp_path) == (0, 0)
    assert ids_of(tmp_path) == list(range(n))
    assert count(tmp_path, "full") == status.written["full"] == status.written["decisions"] == n
    assert count(tmp_path, "outcomes") == status.written["outcomes"] == n - 1 - n // 5
    assert watched == list(range(n))


def test_names_that_could_not_be_written_lose_no_rows_and_are_tried_again(model, tmp_path, monkeypatch):
    append = segment_module.Segment.append

    def refuse_names(segment, table, columns):
        if table == "names":
            raise OSError(errno.ENOSPC, "No space left on device")
        append(segment, table, columns)

    sched = recorded(model, tmp_path)
    with recording(sched) as recorder:
        with monkeypatch.context() as patch:
            patch.setattr(segment_module.Segment, "append", refuse_names)
            serve(sched, 3)
            status = recorder.flush()
        assert status.written["decisions"] == 3
        assert {table for table, n in status.lost.items() if n} == {"names"}
        assert "No space left on device" in status.last_error
        (segment,) = read_segments(tmp_path)
        assert segment.names() == {}
        serve(sched, 3, first=3)
        status = recorder.flush()
    assert {"live", "bulk"} <= set(segment.names().values())
    assert count(tmp_path, "names") == status.written["names"] == len(segment.names())
    assert ids_of(tmp_path) == list(range(6))


@pytest.mark.parametrize("where", ["joined", "Segment"])
def test_rows_are_lost_and_counted_whatever_goes_wrong_with_them(model, tmp_path, monkeypatch, where):
    def no_memory(*_):
        raise MemoryError

    sched = recorded(model, tmp_path)
    with recording(sched) as recorder:
        with monkeypatch.context() as patch:
            patch.setattr(recorder_module, where, no_memory)
            serve(sched, 3)
            status = recorder.flush()
        assert (status.lost["decisions"], status.lost["outcomes"], status.lost["nodes"]) == (3, 2, 5)
        assert status.last_error == "MemoryError"
        assert recorder.flush().lost == status.lost
        serve(sched, 3, first=3)
    assert ids_of(tmp_path) == [3, 4, 5]


def test_names_that_cannot_be_looked_up_lose_no_rows(model, tmp_path, monkeypatch):
    sched = recorded(model, tmp_path)
    with recording(sched) as recorder:
        with monkeypatch.context() as patch:
            patch.setattr(CategoryKeys, "of", _refuse)
            serve(sched, 3)
            status = recorder.flush()
        assert status.last_error == "[Errno 5] Input/output error"
        assert not any(status.lost.values())
        assert ids_of(tmp_path) == [0, 1, 2]
        assert count(tmp_path, "names") == 0
        serve(sched, 3, first=3)
    assert count(tmp_path, "names") > 0


def test_a_fault_while_the_recorder_stops_closes_the_segment_all_the_same(model, tmp_path, monkeypatch):
    sched = recorded(model, tmp_path)
    with recording(sched) as recorder:
        serve(sched, 3)
        with monkeypatch.context() as patch:
            patch.setattr(RingReader, "nodes", _refuse)
            with pytest.raises(OSError, match="Input/output error"):
                recorder.stop()
        (segment,) = read_segments(tmp_path)
        assert segment.manifest.closed
        assert ids_of(tmp_path) == [0, 1, 2]
        assert recorder.stop().written["nodes"] == 5
    assert count(tmp_path, "nodes") == 5


def test_a_change_of_nodes_is_not_forgotten_until_it_is_taken(model, tmp_path, monkeypatch):
    sched = recorded(model, tmp_path)
    with recording(sched) as recorder:
        with monkeypatch.context() as patch:
            patch.setattr(Recording, "node_names", _refuse)
            with pytest.raises(OSError, match="Input/output error"):
                recorder.flush()
        status = recorder.flush()
    assert count(tmp_path, "nodes") == status.written["nodes"] == 5


def _refuse(*_):
    raise OSError(errno.EIO, "Input/output error")


@pytest.mark.slow
def test_decisions_go_on_beside_a_slow_disk_and_drops_are_counted(model, tmp_path, monkeypatch):
    writes = []

    def slow(handle, data):
        writes.append(len(data))
        time.sleep(SLOW)
        os.write(handle, data)

    monkeypatch.setattr(segment_module, "write_all", slow)
    sched = recorded(model, tmp_path, every=0.01, ring=8)
    n = 20 if config.DISABLE_JIT else 200
    with recording(sched) as recorder:
        serve(sched, 2)
        while not writes:
            time.sleep(0.01)
        begun = time.monotonic()
        serve(sched, n, first=2)
        took = time.monotonic() - begun
        status = recorder.stop()
    assert config.DISABLE_JIT or took < len(writes) * SLOW
    dropped = status.dropped["decisions"]
    assert dropped > 0
    assert len(ids_of(tmp_path)) == status.written["decisions"] == n + 2 - dropped


def test_a_fault_of_the_recorder_is_told_and_stops_nothing(model, tmp_path, monkeypatch):
    sched = recorded(model, tmp_path, every=0.01)
    with recording(sched) as recorder:
        with monkeypatch.context() as patch:
            patch.setattr(recorder, "_drain", _refuse)
            wait_for(lambda: recorder.status.failures)
        assert recorder.status.last_error == "[Errno 5] Input/output error"
        serve(sched, 3)
    assert ids_of(tmp_path) == [0, 1, 2]


def test_hashed_records_name_nobody_and_still_tell_ids_apart(model, tmp_path):
    plain, hashed = tmp_path / "plain", tmp_path / "hashed"
    for where, key in ((plain, None), (hashed, b"sixteen bytes or more")):
        sched = recorded(model, where, full=1.0, key=key)
        with recording(sched):
            sched.fleet.upsert(["secret-node"], {"uplink": [9e6]})
            sched.decide({"client_id": "secret-client", "kbps": 10.0}, ["secret-node", 1], now=0.0)
            sched.learn({"client_id": "secret-client"}, "secret-node", {"ok": False}, now=1.0)
            sched.decide({"client_id": "secret-client", "kbps": 10.0}, ["secret-node", 1], now=2.0)
    for where, is_hashed in ((plain, False), (hashed, True)):
        (segment,) = read_segments(where)
        assert segment.manifest.hashed == is_hashed
        data = b"".join(file.read_bytes() for file in segment.path.iterdir())
        assert (b"secret" not in data) == is_hashed
    open_, shut = rows_of(plain), rows_of(hashed)
    assert shut["client"][0] == shut["client"][1] != open_["client"][0]
    assert len(shut["client"][0]) == 32
    assert shut["request_keys"][0, 0] != open_["request_keys"][0, 0]
    keys = {rows_of(hashed, "outcomes")["node_keys"][0, 0].item(), rows_of(hashed, "nodes")["key"][-1].item()}
    assert len(keys) == 1
    (record, _) = next(iter(read_segments(hashed))).full_records()
    assert record.node_keys[0, 0] in keys
    assert record.nodes[0] in rows_of(hashed, "nodes")["node"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"full": 1.5}, "full: expected a share from 0 to 1, found 1.5"),
        ({"full": True}, "full: expected a share"),
        ({"every": 0}, "every: expected seconds"),
        ({"ring": 0}, "ring: expected an integer from 1 to 1,048,576, found 0"),
        ({"segment_bytes": 1.0}, "segment_bytes: expected an integer"),
        ({"segment_seconds": -1}, "segment_seconds: expected seconds, more than 0"),
        ({"most_bytes": "1"}, "most_bytes: expected an integer"),
        ({"retention": float("nan")}, "retention: expected seconds"),
        ({"key": b"short"}, "key: expected 16 to 64 bytes, found 5 bytes"),
        ({"key": "text"}, "key: expected 16 to 64 bytes, found str"),
        ({"folder": 7}, "folder: expected a path, found 7"),
    ],
)
def test_wrong_settings_are_refused_and_nothing_is_recorded(sched, tmp_path, wrong, message):
    with pytest.raises(InputError, match=message):
        sched.record(**{"folder": tmp_path} | wrong)
    assert sched.state.recording is None
    assert sched.status().recording is None


def test_two_recorders_at_once_are_refused(model, tmp_path):
    sched = recorded(model, tmp_path)
    with recording(sched) as first:
        with pytest.raises(InputError, match="found a recorder at work"):
            sched.record(tmp_path)
        assert sched.recorder is first
        assert sched.status().recording.is_on


def test_a_folder_that_cannot_be_made_is_refused(sched, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="expected one that can be made"):
        sched.record(tmp_path / "file" / "records")


def test_without_nanoarrow_the_extra_is_named(sched, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nanoarrow", None)
    with pytest.raises(RecordError, match=r"pip install 'fogline\[records\]'"):
        sched.record(tmp_path)
    with pytest.raises(RecordError, match="expected nanoarrow"):
        nanoarrow()


def test_the_recorder_ends_while_others_decide(model, tmp_path):
    sched, done = recorded(model, tmp_path, every=0.01), threading.Event()
    decided = []

    def decide():
        while not done.is_set():
            decided.append(sched.decide({"client_id": 17}, now=0.0).id)

    with recording(sched) as recorder:
        threads = [threading.Thread(target=decide) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(0.1)
        status = recorder.stop()
        done.set()
        for thread in threads:
            thread.join()
    kept = ids_of(tmp_path)
    assert len(kept) == len(set(kept)) == status.written["decisions"]
    assert len(kept) + status.dropped["decisions"] <= len(decided)
    assert set(kept) <= set(decided)

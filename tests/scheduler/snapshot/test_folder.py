"""Snapshots on disk: whole or not there, and refused by name where they are damaged."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scheduler import Model, Scheduler, SnapshotError, SnapshotWarning
from scheduler.snapshot import folder as folders
from scheduler.snapshot.manifest import MANIFEST
from tests import models
from tests.scheduler.snapshot.conftest import used
from tests.thorough import THOROUGH

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def saved(rich, tmp_path):
    return used(rich, n=12).save(tmp_path)


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.slow
def test_each_damaged_file_is_refused_by_name(rich, saved):
    files = sorted(path for path in saved.iterdir() if path.stat().st_size)
    assert len(files) > 30
    for path in files:
        whole = path.read_bytes()
        for damage in (
            lambda p: flip(p, p.stat().st_size // 2),
            lambda p: p.write_bytes(whole[:-1]),  # noqa: B023 - called at once
            lambda p: p.write_bytes(whole + b"\0"),  # noqa: B023
            lambda p: p.unlink(),
        ):
            damage(path)
            with pytest.raises(SnapshotError, match=path.name):
                Scheduler.restore(saved.parent, rich)
            path.write_bytes(whole)
    Scheduler.restore(saved.parent, rich)


def test_each_region_of_a_manifest_is_protected(rich, saved):
    path = saved / MANIFEST
    whole = path.read_bytes()
    for at in range(0, len(whole), max(len(whole) // 60, 1)):
        flip(path, at)
        with pytest.raises(SnapshotError, match=MANIFEST):
            Scheduler.restore(saved.parent, rich)
        path.write_bytes(whole)


def test_a_manifest_that_lists_another_place_or_a_huge_file_asks_for_no_memory(rich, saved):
    manifest = json.loads((saved / MANIFEST).read_bytes())
    for name, value in (("file", "../x.bin"), ("shape", [2**50, 1]), ("dtype", "|O"), ("shape", [-1])):
        changed = json.loads(json.dumps(manifest))
        changed["columns"]["history.rows"][name] = value
        (saved / MANIFEST).write_text(json.dumps(changed))
        with pytest.raises(SnapshotError):
            Scheduler.restore(saved.parent, rich)


def test_the_one_before_a_damaged_snapshot_is_used_with_a_warning(rich, tmp_path):
    first, second = used(rich, n=4), used(rich, n=8)
    first.save(tmp_path)
    newest = second.save(tmp_path)
    flip(newest / "000.bin", 0)
    with pytest.warns(SnapshotWarning, match=r"snapshot-00000002.*000\.bin.*snapshot-00000001 is used"):
        twin = Scheduler.restore(tmp_path, rich)
    assert twin.counters()["decisions"] == 4


def test_a_folder_without_a_snapshot_is_refused(rich, tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(SnapshotError, match="expected a snapshot, found none"):
            Scheduler.restore(path, rich)


def test_a_snapshot_of_another_fingerprint_is_refused(model, saved):
    with pytest.raises(SnapshotError, match="expected a snapshot of fingerprint"):
        Scheduler.restore(saved.parent, model)


def test_as_many_as_asked_for_stay_and_what_was_left_unfinished_goes(rich, tmp_path):
    alive, elsewhere = tmp_path / f"{folders.TEMPORARY}{os.getpid()}-abc", tmp_path / "unfinished-elsewhere-999999999-x"
    for path in (tmp_path / f"{folders.TEMPORARY}999999999-abc", alive, elsewhere):
        path.mkdir()
    sched = used(rich, n=2)
    paths = [sched.save(tmp_path, keep=2) for _ in range(4)]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        path.name for path in (*paths[2:], alive, elsewhere)
    )


def test_a_full_disk_leaves_the_earlier_snapshot_and_nothing_else(rich, tmp_path, monkeypatch):
    sched = used(rich, n=2)
    path = sched.save(tmp_path)

    def full(_self, _rows):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folders.ColumnWriter, "append", full)
    with pytest.raises(SnapshotError, match="No space left on device"):
        sched.save(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_is_full_when_columns_are_closed_is_named_too(rich, tmp_path):
    """Small columns are written when their files are closed: that fails once more while the writer cleans up."""
    sched = used(rich, n=2)
    path = sched.save(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, hard))
    try:
        with pytest.raises(SnapshotError, match="expected room for a snapshot"):
            sched.save(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_named(rich, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SnapshotError, match="expected a folder that can be written"):
        used(rich, n=1).save(tmp_path / "file" / "deeper")


SAVING = """
import sys, itertools
from scheduler import Model, Scheduler
sched = Scheduler(Model.load(sys.argv[1]), remember=1_000)
sched.fleet.upsert(list(range(2_000)), {"uplink": [1e6] * 2_000})
for i in itertools.count():
    for j in range(50):
        d = sched.decide({"client_id": j, "kbps": 1.0}, now=float(i))
        sched.observe(d.id, {"ok": False}, now=float(i), node=d.nodes[0])
    sched.save(sys.argv[2])
    print(i, flush=True)
"""


@pytest.mark.slow
def test_a_process_killed_at_any_moment_of_saving_leaves_a_whole_snapshot(tmp_path):
    """What was acknowledged, a save that returned, is there; what was not is whole or not there."""
    artifact = models.write_small(tmp_path / "model")
    model = Model.load(artifact)
    kills = 50 if THOROUGH else 6
    for n in range(kills):
        folder = tmp_path / f"snapshots{n % 2}"
        if n % 2 == 0:
            shutil.rmtree(folder, ignore_errors=True)
        process = subprocess.Popen(
            [sys.executable, "-c", SAVING, artifact, folder], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "0\n"
        time.sleep(0.55 * n / kills)
        process.send_signal(signal.SIGKILL)
        rest = process.communicate()[0]
        acknowledged = int(rest.split()[-1]) if rest.split() else 0
        twin = Scheduler.restore(folder, model)
        assert twin.counters()["decisions"] >= 50 * (acknowledged + 1)
        assert twin.counters()["nodes"] == 2_000
        twin.decide({"client_id": 1}, now=1e6)

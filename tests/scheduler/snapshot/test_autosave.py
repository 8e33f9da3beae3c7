"""Saving by itself: a thread that goes on whatever happens, and says how it goes."""

import pytest

from scheduler import InputError, Scheduler
from tests.scheduler.snapshot.conftest import used
from tests.waiting import wait_for


def test_it_saves_every_so_often_and_a_last_time_when_it_is_stopped(rich, tmp_path):
    sched = used(rich, n=4)
    saving = sched.autosave(tmp_path, every=0.05, keep=2)
    wait_for(lambda: saving.status.saves >= 2)
    sched.fleet.upsert(["last"], {})
    status = saving.stop()
    assert (status.failures, status.last_error) == (0, None)
    assert len(list(tmp_path.iterdir())) == 2
    assert "last" in Scheduler.restore(tmp_path, rich).fleet


def test_what_goes_wrong_is_counted_told_and_tried_again(rich, tmp_path):
    folder = tmp_path / "snapshots"
    folder.touch()
    saving = used(rich, n=1).autosave(folder, every=0.02)
    wait_for(lambda: saving.status.failures >= 2)
    assert "expected a folder that can be written" in saving.status.last_error
    folder.unlink()
    wait_for(lambda: saving.status.saves >= 1)
    assert saving.stop(save=False).last_path.parent == folder


@pytest.mark.parametrize("every", [0.0, -1.0, float("nan"), float("inf"), "1"])
def test_a_wrong_interval_is_refused(rich, tmp_path, every):
    with pytest.raises(InputError, match="every"):
        used(rich, n=1).autosave(tmp_path, every=every)


def test_another_autosave_takes_the_place_of_one_that_runs(rich, tmp_path):
    sched = used(rich, n=1)
    first = sched.autosave(tmp_path / "first", every=0.02)
    wait_for(lambda: first.status.saves)
    second = sched.autosave(tmp_path / "second", every=0.02)
    at_the_change = first.status.saves
    wait_for(lambda: second.status.saves > 2)
    sched.close()
    assert first.status.saves == at_the_change

"""A process that is killed at any moment loses no more than the seconds that were not written."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from scheduler import Scheduler
from tests import models
from tests.scheduler.snapshot.conftest import request_of, used
from tests.scheduler.snapshot.test_catch_up import assert_same_history
from tests.thorough import THOROUGH

EVERY = 0.2
SLACK = 1.0
"""Seconds that a write may take besides, on a machine that does other things too."""

MOMENTS = 50 if THOROUGH else 3


def killed(model_folder, folder, moment):
    """Run the child, kill it some seconds after it began to serve, and return its diary and when it was killed."""
    folder.mkdir()
    diary = folder / "diary"
    command = [sys.executable, "-m", "tests.scheduler.snapshot.killed_child", model_folder, folder, diary, str(EVERY)]
    child = subprocess.Popen(list(map(str, command)))
    try:
        while not (diary.exists() and diary.stat().st_size):
            assert child.poll() is None
            time.sleep(0.01)
        time.sleep(moment)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    when = time.monotonic()
    lines = [line.split() for line in diary.read_text().split("\n")[:-1]]
    return [(int(id_), float(at), int(i)) for id_, at, i in lines], when


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(MOMENTS))
def test_a_killed_process_loses_what_was_not_written_yet_and_nothing_else(rich, tmp_path_factory, tmp_path, seed):
    artifact = models.write_small(tmp_path_factory.mktemp("killed") / "model", models.with_sets(models.EXTENDED))
    diary, when = killed(artifact, tmp_path / "run", float(np.random.default_rng(seed).uniform(0.05, 1.5)))
    restored = Scheduler.restore(tmp_path / "run" / "snapshots", rich, records=tmp_path / "run" / "records")
    assert restored.caught_up.missing == 0
    n_known = restored.counters()["outcomes"] - used(rich, remember=512).counters()["outcomes"]
    assert n_known <= len(diary) + 1  # the last line may not have been written
    lost = diary[n_known:]
    assert not lost or when - lost[0][1] <= EVERY + SLACK
    twin, i = used(rich, remember=512, first_id=5_000), 40
    while twin.counters()["outcomes"] < restored.counters()["outcomes"]:
        decision = twin.decide(request_of(i), now=float(i))
        for node in decision.nodes[:1] if i % 4 else ():
            outcome = {"ok": i % 5 != 0, "rtt_ms": 10.0 + i % 7, "speed": 2.0}
            twin.observe(decision.id, outcome, now=i + 0.5, node=node)
        i += 1
    assert_same_history(twin, restored)
    # Decisions that were made and answered while the snapshot was written are known by their outcomes alone.
    ids = {*restored.state.log.arrays.id.tolist(), *(id_ for id_, _ in restored.state.seen.pairs())}
    assert {id_ for id_, _, _ in diary[:n_known][-100:]} <= ids

"""A process that is killed while it records: what is read is what it decided, and no more is lost than was said."""

import os
import signal
import time

import numpy as np
import pytest

from tests.record_world import ids_of, recorded, rows_of, torn
from tests.schedulers import OK
from tests.thorough import THOROUGH

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
    pytest.mark.slow,
]

KILLS = 50 if THOROUGH else 10

EVERY = 0.05
"""Seconds between two writes of the child."""

SLACK = 1.0
"""Seconds that a write may take on a busy machine, beyond those between two of them."""


def decide_for_ever(model, folder, diary):
    """Record and decide until killed; write down each decision and when it was made, by the pace of some hundred a
    millisecond at most."""
    sched = recorded(model, folder / "records", every=EVERY, full=0.1, segment_bytes=60_000)
    k = 0
    while True:
        d = sched.decide({"client_id": 17, "kbps": 100.0}, now=0.001 * k)
        os.write(diary, b"%d %r %s\n" % (d.id, time.monotonic(), ",".join(map(str, d.nodes)).encode()))
        if d.nodes:
            sched.observe(d.id, OK, now=0.001 * k, node=d.nodes[0])
        k += 1
        time.sleep(0.0005)


def killed(model, folder, after):
    """Kill a recording child so many seconds after its first decision; return its diary and when it was killed."""
    folder.mkdir()
    file = folder / "diary"
    diary = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    pid = os.fork()
    if pid == 0:
        try:
            decide_for_ever(model, folder, diary)
        finally:
            os._exit(1)
    os.close(diary)
    while not file.stat().st_size:
        time.sleep(0.001)
    time.sleep(after)
    when = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    lines = [line.split(" ") for line in file.read_text().split("\n")[:-1]]
    return [(int(id_), float(at), nodes) for id_, at, nodes in lines], when


def test_a_killed_process_loses_its_last_seconds_and_tears_nothing_that_is_read(model, tmp_path):
    random = np.random.default_rng(0)
    for n, after in enumerate(random.uniform(0.0, 0.6, KILLS).tolist()):
        folder = tmp_path / str(n)
        diary, when = killed(model, folder, after)
        records = folder / "records"
        ids = ids_of(records) if records.is_dir() else []
        assert ids == list(range(len(ids)))  # nothing is missing before the end
        said = {id_: nodes for id_, _, nodes in diary}
        if ids:
            rows = rows_of(records)
            for i, id_ in enumerate(ids):
                slate = ",".join(rows["nodes"].row(i)[: rows["n_slate"][i]])
                assert said.get(id_, slate) == slate  # of the last one it may not have come to say it
        lost = [at for id_, at, _ in diary if id_ >= len(ids)]
        assert not lost or min(lost) >= when - EVERY - SLACK
        rows_torn, _ = torn(records) if records.is_dir() else (0, 0)
        assert rows_torn == 0

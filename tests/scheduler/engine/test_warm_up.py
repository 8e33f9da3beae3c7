"""After a warm-up nothing is compiled or loaded any more, and nothing has changed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scheduler.spec import Candidates, Tier
from tests.models import write_small
from tests.schedulers import LEDGER, new, same, state

ROOT = Path(__file__).resolve().parents[3]

SCRIPT = """
import json
import sys
import tempfile
from importlib import import_module

from numba.core import event
from numba.core.dispatcher import Dispatcher

from scheduler import Model, Scheduler
from tests.kernel_modules import KERNEL_MODULES

sched = Scheduler(Model.load(sys.argv[1]), seed=1, forget_after=10.0)
sched.warm_up()


def versions():
    modules = map(import_module, KERNEL_MODULES)
    return sum(len(f.signatures) for m in modules for f in vars(m).values() if isinstance(f, Dispatcher))


before = versions()
with event.install_recorder("numba:compile") as compiled:
    recorder = sched.record(tempfile.mkdtemp(), full=1.0)
    nodes = list(range(100, 400))
    sched.fleet.upsert(nodes, {"isp": nodes, "uplink": [5_000.0] * 300, "load": [0.1] * 300})
    sched.clients.upsert([17], {"isp": [101], "lat": [1.0], "lon": [2.0]})
    for candidates in (None, [100, 101, 102]):
        decision = sched.decide({"client_id": 17, "kbps": 1_000.0}, candidates, now=1.0)
        sched.observe(decision.id, {"ok": True, "rtt_ms": 30.0}, now=1.5)
    many = sched.decide_batch({"client_id": [17, 18, 19]}, now=2.0)
    sched.observe_batch(many.id, {"ok": [True] * 3, "rtt_ms": [1.0, 2.0, 3.0]}, now=3.0)
    sched.score({"client_id": [17, 18]}, [[100, 101], [102, 103]], now=3.0)
    sched.fleet.quarantine([100, 101], until=4.0)
    sched.fleet.heartbeat([102, 103], alive_until=6.0)
    for now in (5.0, 5.05, 7.0, 20.0):
        sched.decide({"client_id": 17}, now=now)
    sched.fleet.remove([100, 399])
    sched.refresh()
    for candidates in (None, [104, 105, 106]):
        sched.explain({"client_id": 17}, candidates, now=21.0)
        sched.why_not({"client_id": 17}, 104, candidates, now=21.0)
    sched.save(tempfile.mkdtemp())
    written = recorder.stop().written
    assert written["decisions"] == written["full"] == 9, written
print(json.dumps([len(compiled.buffer), versions() - before]))
"""


@pytest.mark.slow
def test_after_a_warm_up_a_fresh_process_compiles_and_loads_nothing(tmp_path):
    artifact = write_small(tmp_path / "small")
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SCRIPT, artifact]
    result = subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, text=True)
    assert json.loads(result.stdout) == [0, 0]


def test_a_warm_up_changes_nothing(model):
    sched = new(model)
    sched.decide({"client_id": 17}, now=1.0)
    before = state(sched)
    sched.warm_up()
    assert same(before, state(sched))


def test_decisions_are_those_of_a_scheduler_that_was_not_warmed_up(model):
    warmed, other = (new(model, ledger=LEDGER) for _ in range(2))
    requests = {"client_id": [17, "tv", 17], "kind": ["live"] * 3, "kbps": [500.0] * 3}
    for sched in (warmed, other):
        sched.decide({"client_id": 17, "kbps": 500.0}, now=1.0)
    warmed.warm_up()
    assert warmed.counters() == other.counters()
    for now in (1.0, 2.0):
        ours, theirs = (sched.decide_batch(requests, now=now) for sched in (warmed, other))
        for field, mine in zip(ours._fields, ours, strict=True):
            np.testing.assert_array_equal(mine, getattr(theirs, field))
    assert same(state(warmed), state(other))


def test_it_works_where_no_tier_finds_anybody_for_a_client_that_is_made_up(model):
    sched = new(model, candidates=Candidates(limit=24, tiers=(Tier(name="carrier", match={"isp": "isp"}),)))
    sched.warm_up()
    assert sched.decide({"client_id": 17}, now=1.0).nodes

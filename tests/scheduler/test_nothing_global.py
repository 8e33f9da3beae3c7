"""What belongs to the process is as it was: environment, log levels, signal handlers, warnings, threads."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from scheduler.model.mlflow_client import registry_call
from tests.models import write_small

ROOT = Path(__file__).resolve().parents[2]
LOOK = """
import json, logging, os, signal, sys, threading, warnings
import numpy, numba, msgspec

def look():
    return {
        "environment": dict(os.environ),
        "levels": [logging.getLogger(name).level for name in (None, "numba", "mlflow", "alembic")],
        "handlers": len(logging.root.handlers),
        "signals": [str(signal.getsignal(number)) for number in signal.valid_signals()],
        "filters": [str(each) for each in warnings.filters],
        "threads": threading.active_count(),
        "errors": numpy.geterr(),
        "hooks": [str(sys.excepthook), str(threading.excepthook), str(sys.unraisablehook)],
    }

before = look()
"""
USE = """
from scheduler import Model, Scheduler
sched = Scheduler(Model.load(sys.argv[1]))
sched.fleet.upsert([1, 2], {})
decision = sched.decide({"client_id": 1}, now=1.0)
sched.observe(decision.id, {"ok": False}, now=2.0, node=decision.nodes[0])
sched.warm_up()
print(json.dumps([before, look()]))
"""
ASK = """
from scheduler.model.mlflow_client import load_mlflow
load_mlflow()
import mlflow.telemetry
assert mlflow.telemetry.get_telemetry_client() is None
before["levels"] = before["signals"] = before["filters"] = before["handlers"] = None
after = look() | {"levels": None, "signals": None, "filters": None, "handlers": None}
print(json.dumps([before, after]))
"""


def looked(program, *words):
    command = [sys.executable, "-c", LOOK + program, *map(str, words)]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


@pytest.mark.slow
def test_a_scheduler_leaves_the_process_as_it_was(tmp_path):
    before, after = looked(USE, write_small(tmp_path / "small"))
    assert after == before


@pytest.mark.slow
def test_mlflow_is_loaded_without_usage_reports_and_without_a_trace_in_the_environment():
    before, after = looked(ASK)
    # Of the allocator of polars, which mlflow may load; of an mlflow in the process that started this one.
    for name in ("_RJEM_MALLOC_CONF", "_MLFLOW_TELEMETRY_SESSION_ID"):
        before["environment"].pop(name, None)
        after["environment"].pop(name, None)
    assert after["environment"] == before["environment"]
    assert after["threads"] == before["threads"]


def test_the_environment_comes_back_after_the_last_of_calls_that_overlap():
    """Each used to put back what it had found, which was what the other had set."""
    before, inside, leave = dict(os.environ), threading.Event(), threading.Event()

    def ask():
        with registry_call("x", "y"):
            inside.set()
            leave.wait(60)

    other = threading.Thread(target=ask)
    with registry_call("x", "y"):
        other.start()
        inside.wait(60)
        assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1"
    leave.set()
    other.join()
    assert dict(os.environ) == before

"""Kernels compiled beforehand: what the command makes, and a container's life with it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from numba import config

from scheduler.runtime.compiled_folder import MANIFEST
from tests.models import write_small
from tests.small_world import fogline
from tests.thorough import THOROUGH

ROOT = Path(__file__).resolve().parents[3]
ADDRESS_SPACE = 4_000_000
"""Kilobytes, as ``ulimit -v`` takes them."""

MEMORY = 1 << 30
"""Bytes of memory of the smallest container that the documents name."""

START = """
import json, resource, sys, time
from numba.core import event
begun = time.perf_counter()
with event.install_recorder("numba:compile") as compiled:
    from scheduler import Model, Scheduler
    sched = Scheduler(Model.load(sys.argv[1]))
    sched.fleet.upsert(list(range(1_000)), {"isp": [7] * 1_000})
    decision = sched.decide({"client_id": 1, "isp": 7}, now=1.0)
    took, usage = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF)
    sched.observe(decision.id, {"ok": True, "rtt_ms": 3.0}, now=2.0, node=decision.nodes[0])
    batch = sched.decide_batch({"client_id": [1, 2]}, now=2.0, exclude=[[1], [2]], block={"isp": [["x"], None]})
    sched.observe_batch(batch.id, {"ok": [False] * 2}, now=3.0, nodes=batch.nodes[:, 0].tolist())
    sched.score({"client_id": [1]}, [[1, 2]], now=3.0)
    sched.features({"client_id": [1]}, [[1, 2]], now=3.0)
    sched.clients.upsert([1], {"lat": [1.0]})
    sched.fleet.heartbeat([1], alive_until=9.0)
    sched.fleet.quarantine([1], until=9.0)
    sched.fleet.remove([2])
    sched.refresh()
    sched.warm_up()
status = open("/proc/self/status").read()  # ru_maxrss counts what the parent had before exec, too
print(json.dumps({
    "nodes": len(decision.nodes), "compiled": len(compiled.buffer), "seconds": took,
    "processor": usage.ru_utime + usage.ru_stime,
    "memory": int(status.partition("VmHWM:")[2].split()[0]) * 1024,
}))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--cpu", "z80"],
            "cpu: expected generic, native, a level such as x86-64-v3 or LLVM's name of a processor, found 'z80'",
        ),
        (["--model", "nowhere"], "nowhere: expected the folder of an artifact"),
    ],
)
def test_what_cannot_be_compiled_for_is_named_and_leaves_nothing(words, message, tmp_path, capfd):
    ran = fogline(capfd, "compile", "--out", tmp_path / "kernels", *words)
    assert ran.code in {1, 2}
    assert message in ran.err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_not_replaced(tmp_path, capfd):
    (tmp_path / "precious.txt").touch()
    ran = fogline(capfd, "compile", "--out", tmp_path)
    assert ran.code == 2
    assert "out: expected a new folder, an empty one or one of compiled kernels" in ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


@pytest.fixture(scope="module")
def image():
    """What an image would carry: the package, an artifact, and kernels for the types of all models; all read-only."""
    if config.DISABLE_JIT:
        pytest.skip("without the JIT nothing is compiled")
    if not THOROUGH:
        pytest.skip("compiling everything takes two minutes: make soak does")
    folder = Path(tempfile.mkdtemp(prefix="image-"))  # pytest's own folders are open to their owner only
    shutil.copytree(ROOT / "scheduler", folder / "site" / "scheduler", ignore=shutil.ignore_patterns("__pycache__"))
    write_small(folder / "model")
    command = [sys.executable, "-m", "training.cli", "compile", "--out", folder / "kernels", "--json"]
    made = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert json.loads(made.stdout)["folder"] == str(folder / "kernels")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield folder
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        path.chmod(0o755)
    shutil.rmtree(folder)


def start(image, **environment):
    """Start a container: another user without a home, who can write nothing, in little address space."""
    limited = ["bash", "-c", f'ulimit -v {ADDRESS_SPACE}; exec "$@"', "-"]
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    run = [sys.executable, "-W", "error", "-c", START, image / "model"]
    command = [*limited, *(user if os.geteuid() == 0 else []), *run]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(image / "site")} | environment
    done = subprocess.run(command, cwd="/", env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root writes anywhere")
def test_the_first_decision_of_a_container_takes_less_than_three_seconds_and_compiles_nothing(image):
    start(image, NUMBA_CACHE_DIR=str(image / "kernels"))  # a first one, to have the files read
    found = start(image, NUMBA_CACHE_DIR=str(image / "kernels"))
    assert found["nodes"] > 0
    assert found["compiled"] == 0
    assert found["memory"] < MEMORY
    # Of the processor's time where other work runs beside.
    assert min(found["processor"], found["seconds"]) < 3.0


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root writes anywhere")
def test_kernels_in_the_package_itself_need_no_setting(image):
    inside = image / "site" / "scheduler" / "compiled"
    inside.parent.chmod(0o755)
    shutil.copytree(image / "kernels", inside)
    assert (inside / MANIFEST).is_file()
    inside.parent.chmod(0o555)
    assert start(image)["compiled"] == 0

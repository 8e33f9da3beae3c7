"""A scheduler follows an alias: new versions take over while it decides; what goes wrong is told and harms nobody."""

import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from scheduler import InputError, LockTimeoutError, Model, RegistryError, Scheduler
from scheduler.engine import engine, warm_up
from scheduler.engine import trial as trials
from scheduler.engine.trial import check_trial, dry_run
from scheduler.rollout import follow as following
from tests.models import SPEC, write_small
from tests.registries import DATA, new_registry
from tests.thorough import THOROUGH
from tests.waiting import wait_for
from training.pipeline.promotion import promote
from training.tracking.runs import track

URI = "models:/small@champion"
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A registry of three versions of one fingerprint and a fourth of another; the first is champion."""
    folder = tmp_path_factory.mktemp("followed")
    registry = new_registry(tmp_path_factory.getbasetemp(), folder / "registry")
    other = SPEC.replace('half_lives = ["1m", "1h"]', 'half_lives = ["1m", "1h", "2h"]')
    for seed, text in ((1, SPEC), (2, SPEC), (3, SPEC), (4, other)):
        artifact = write_small(folder / f"artifact-{seed}", text, seed=seed)
        track(artifact, params={"rounds": 10}, data=DATA, registry=registry)
    promote("small", "1", registry=registry)
    return folder


@pytest.fixture
def registry(filled, tmp_path):
    shutil.copytree(filled / "registry", tmp_path / "registry")
    return f"sqlite:///{tmp_path / 'registry' / 'mlflow.db'}"


@pytest.fixture
def sched(filled):
    made = Scheduler(Model.load(filled / "artifact-1"))
    made.fleet.upsert(list(range(20)), {"isp": [7] * 20})
    made.clients.upsert([1, 2], {"isp": [7, 8]})
    yield made
    made.close()


def version(filled, n):
    return Model.load(filled / f"artifact-{n}").version


def follow(sched, registry, tmp_path, **words):
    follower = sched.follow(URI, every=0.05, registry=registry, cache=tmp_path / "cache", **words)
    wait_for(lambda: follower.status.checks >= 1 and (follower.status.version or follower.status.failures))
    return follower


@pytest.mark.slow
def test_a_champion_that_is_in_charge_already_is_not_loaded_again(sched, registry, tmp_path, monkeypatch):
    monkeypatch.setattr(Model, "load", None)
    status = follow(sched, registry, tmp_path).stop()
    assert (status.version, status.swaps, status.failures) == ("1", 0, 0)


@pytest.mark.slow
def test_a_new_version_is_tried_once(sched, registry, tmp_path, monkeypatch):
    follow(sched, registry, tmp_path)
    tried, before = [], sched.state.arms[0]

    def counted(state, arm, *rest):
        tried.append(arm)
        return dry_run(state, arm, *rest)

    for module in (trials, warm_up):
        monkeypatch.setattr(module, "dry_run", counted)
    promote("small", "2", force=True, registry=registry)
    wait_for(lambda: sched.status().following.version == "2")
    assert tried == [sched.state.arms[0], before]


@pytest.mark.slow
def test_a_new_champion_takes_over_while_decisions_go_on(filled, sched, registry, tmp_path):
    follower = follow(sched, registry, tmp_path)
    assert (follower.status.version, follower.status.swaps) == ("1", 0)
    stop, seen, failed = threading.Event(), [], []

    def work():
        try:
            while not stop.is_set():
                decision = sched.decide({"client_id": 1}, now=1.0)
                sched.observe(decision.id, {"ok": True, "rtt_ms": 5.0}, now=1.0, node=decision.nodes[0])
                seen.append(decision.model_version)
        except Exception as error:  # noqa: BLE001 - of any kind
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for n in ("2", "3", "1"):
            promote("small", n, force=True, registry=registry)
            wait_for(lambda n=n: sched.status().following.version == n)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failed == []
    assert set(seen) == {version(filled, n) for n in (1, 2, 3)}
    assert sched.counters()["outcomes"] == len(seen)
    status = sched.status()
    assert (status.model_version, status.following.swaps, status.following.failures) == (version(filled, 1), 3, 0)
    assert status.arms == 2  # the one in charge, and the way back


@pytest.mark.slow
def test_a_version_of_another_fingerprint_is_refused_once_and_the_next_one_is_taken(filled, sched, registry, tmp_path):
    follower = follow(sched, registry, tmp_path)
    promote("small", "4", force=True, registry=registry)
    wait_for(lambda: follower.status.refused == "4")
    checks = follower.status.checks
    wait_for(lambda: follower.status.checks > checks + 2)
    status = sched.status().following
    assert (status.failures, status.version) == (1, "1")
    assert "fingerprint" in status.last_error
    assert status.last_failed is not None
    assert sched.model.version == version(filled, 1)
    promote("small", "2", force=True, registry=registry)
    wait_for(lambda: follower.status.version == "2")
    assert follower.status.refused == ""


@pytest.mark.slow
def test_a_registry_that_is_down_is_told_and_asked_again(filled, sched, registry, tmp_path):
    database = Path(registry.removeprefix("sqlite:///"))
    away = database.rename(database.with_suffix(".away"))
    follower = follow(sched, registry, tmp_path)
    wait_for(lambda: follower.status.failures >= 2)
    assert "registry" in sched.status().following.last_error
    assert sched.model.version == version(filled, 1)
    promote_to = away.rename(database)
    assert promote_to.is_file()
    promote("small", "3", force=True, registry=registry)
    wait_for(lambda: follower.status.version == "3")
    assert follower.stop().swaps == 1


@pytest.mark.slow
def test_a_damaged_download_is_refused_and_tried_again(filled, sched, registry, tmp_path, monkeypatch):
    follower = follow(sched, registry, tmp_path)
    from scheduler.model import registry as fetching  # noqa: PLC0415

    whole = fetching.download

    def damage(uri, place, where, folder):
        whole(uri, place, where, folder)
        (folder / "golden.npz").write_bytes(b"torn")

    monkeypatch.setattr(fetching, "download", damage)
    promote("small", "2", force=True, registry=registry)
    wait_for(lambda: follower.status.failures >= 1)
    assert "golden.npz" in follower.status.last_error
    assert sched.model.version == version(filled, 1)
    monkeypatch.undo()
    promote("small", "3", force=True, registry=registry)
    wait_for(lambda: follower.status.version == "3")


@pytest.mark.slow
@pytest.mark.parametrize("error", [LockTimeoutError("a thread held the scheduler"), OSError(24, "Too many open files")])
def test_an_error_that_passes_refuses_no_version(sched, registry, tmp_path, monkeypatch, error):
    follower, prepare, failed = follow(sched, registry, tmp_path), following.prepare_tried, []

    def fail_once(*args):
        if not failed:
            failed.append(error)
            raise error
        return prepare(*args)

    monkeypatch.setattr(following, "prepare_tried", fail_once)
    promote("small", "2", force=True, registry=registry)
    wait_for(lambda: follower.status.version == "2")
    status = follower.stop()
    assert (status.failures, status.swaps, status.refused) == (1, 1, "")


@pytest.mark.slow
def test_a_file_that_cannot_be_read_at_first_refuses_no_version(sched, registry, tmp_path, monkeypatch):
    follower, check, failed = follow(sched, registry, tmp_path), following.check_files, []

    def fail_once(folder):
        if not failed:
            failed.append(folder)
            with monkeypatch.context() as patch:
                patch.setattr(Path, "iterdir", lambda _: (_ for _ in ()).throw(OSError(24, "Too many open files")))
                return check(folder)
        return check(folder)

    monkeypatch.setattr(following, "check_files", fail_once)
    promote("small", "2", force=True, registry=registry)
    wait_for(lambda: follower.status.version == "2")
    assert (follower.stop().refused, failed != []) == ("", True)


SERVING = """
import sys
from scheduler import Model, Scheduler
sched = Scheduler(Model.load("models:/small@champion", registry=sys.argv[1]))
sched.fleet.upsert(list(range(20)))
sched.follow("models:/small@champion", every=0.01, registry=sys.argv[1], cache=sys.argv[2])
while True:
    for i in range(500):
        sched.decide({"client_id": i}, now=1.0)
    print(sched.model.version, flush=True)
"""


@pytest.mark.slow
def test_processes_killed_while_they_follow_leave_a_cache_that_serves(filled, registry, tmp_path, monkeypatch):
    """Two processes share a cache; each is killed at some moment of a swap, and the next start serves."""
    monkeypatch.chdir(tmp_path)
    cache = tmp_path / "cache"
    times = 6 if THOROUGH else 2
    for n in range(times):
        promote("small", str(1 + n % 3), force=True, registry=registry)
        command = [sys.executable, "-c", SERVING, registry, cache]
        processes = [
            subprocess.Popen(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": ""}, stdout=subprocess.PIPE)
            for _ in range(2)
        ]
        assert [process.stdout.readline() != b"" for process in processes] == [True, True]
        promote("small", str(1 + (n + 1) % 3), force=True, registry=registry)
        time.sleep(0.3 * n / times)
        for process in processes:
            process.kill()
            process.communicate()
    assert Model.load(URI, registry=registry).version == version(filled, 1 + times % 3)


@pytest.mark.slow
@pytest.mark.parametrize(("scores", "nodes", "message"), [
    ({"latency": float("nan")}, (1,), "expected finite scores in a trial, found {'latency': nan}"),
    ({"latency": 1.0}, (), "expected nodes for some of 256 requests in a trial"),
])  # fmt: skip
def test_an_arm_that_scores_or_serves_wrongly_is_refused_in_a_trial(sched, monkeypatch, scores, nodes, message):
    arm, decide_over = sched.prepare(sched.model), engine.decide_over
    check_trial(sched.state, arm, dry_run(sched.state, arm))

    def wrong(state, by, *rest):
        decision = decide_over(state, by, *rest)
        return decision._replace(nodes=nodes, scores=(scores,)) if by is arm else decision

    monkeypatch.setattr(engine, "decide_over", wrong)
    with pytest.raises(InputError, match=re.escape(message)):
        check_trial(sched.state, arm, dry_run(sched.state, arm))
    sched.release(arm)


@pytest.mark.parametrize(("words", "kind"), [({"every": 0.0}, InputError), ({"every": "1"}, InputError)])
def test_a_wrong_interval_is_named(sched, words, kind):
    with pytest.raises(kind, match="every"):
        sched.follow(URI, **words)
    assert sched.status().following is None


def test_what_is_no_uri_is_named(sched):
    with pytest.raises(RegistryError, match="models:/NAME@ALIAS"):
        sched.follow("small", every=1.0)


def test_the_status_tells_what_runs(sched, tmp_path):
    status = sched.status()
    assert (status.model, status.model_version) == ("small", sched.model.version)
    assert (status.arms, status.following, status.saving) == (1, None, None)
    sched.autosave(tmp_path, every=60.0)
    sched.close()
    assert sched.status().saving.saves == 1

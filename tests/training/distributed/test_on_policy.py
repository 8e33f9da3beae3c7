"""A rehearsal on a worker, which reads ranges of a few slices, is the one of one machine."""

import os
import signal
import threading
import time

import msgspec
import numpy as np
import pytest
from distributed import Client

from scheduler.model.model import Model
from tests.registries import new_registry
from tests.small_world import UNTIL
from tests.training.distributed.test_dataset import assert_same, changed
from training.distributed import connect, serve_on_cluster
from training.distributed import slice_ranges as under_test
from training.evaluation.on_policy import serve_on_policy
from training.pipeline.options import TrainingOptions
from training.pipeline.pipeline import train_and_register
from training.pipeline.train import train_model
from training.telemetry import read_telemetry
from training.telemetry.read import slice_counts, slice_middles

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def here():
    """A worker in a thread of this process."""
    with Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0") as client:
        yield client


def rehearsing(spec):
    evaluation = msgspec.structs.replace(spec.evaluation, requests=1)
    return msgspec.structs.replace(changed(spec, rehearse=0.5, rows=20_000), evaluation=evaluation)


def both(client, trained, **options):
    """Rehearse on a cluster and on one machine."""
    data, spec = trained.world.data, rehearsing(trained.world.spec)
    rows = read_telemetry(data, spec, until=UNTIL)
    middles = slice_middles(data, spec, start=None, until=UNTIL)
    slices = under_test.Slices(slice_counts(data, spec, UNTIL), UNTIL, middles, np.unique(rows.slice))
    made = serve_on_cluster(client, data, spec, [(0, trained.artifact)], slices, seed=3, **options)
    return made, serve_on_policy(rows, spec, [(0, Model.load(trained.artifact))], seed=3)


@pytest.mark.parametrize("range_rows", [2_000_000, 3_000])
def test_what_the_model_saw_is_what_it_sees_on_one_machine(here, trained, range_rows, monkeypatch):
    monkeypatch.setattr(under_test, "RANGE_ROWS", range_rows)
    made, expected = both(here, trained)
    assert len(made.x) > 1_000
    assert_same(made, expected)


def test_a_killed_worker_does_not_lose_the_rehearsal(trained):
    with connect("local:2") as client:
        pids = client.run(os.getpid)
        killed = []

        def kill():
            while not killed:
                busy = [worker for worker, tasks in client.processing().items() if tasks]
                for worker in busy[:1]:
                    os.kill(pids[worker], signal.SIGKILL)
                    killed.append(worker)
                time.sleep(0.05)

        killing = threading.Thread(target=kill)
        made, expected = both(client, trained, progress=lambda _, done, __: done or killing.start())
        killing.join()
    assert killed
    assert_same(made, expected)


def test_a_model_trained_on_a_cluster_has_rehearsed(trained, tmp_path, tmp_path_factory):
    spec, data = rehearsing(trained.world.spec), trained.world.data
    told = []
    registry = new_registry(tmp_path_factory.getbasetemp(), tmp_path / "registry")
    options = TrainingOptions(registry, UNTIL, tmp_path, threads=1, cluster="local:2", scratch=tmp_path / "scratch")
    there = train_and_register(data, spec, options, progress=lambda what, _, __: told.append(what))
    assert "rehearse on a worker" in told
    assert list((tmp_path / "scratch").iterdir()) == []
    rows = read_telemetry(data, spec, until=UNTIL)
    here = train_model(rows, spec, tmp_path / "here", threads=1)
    for name, head in here.heads.items():
        assert there.summary.heads[name].n_rows == head.n_rows
    figures = there.summary.metrics()
    for figure in ("failure.log_loss", "latency.mae", "throughput.mae"):
        assert figures[figure] == pytest.approx(here.metrics()[figure], rel=0.05)

"""Heads fitted on workers are as good as those of one machine, and outlive a killed worker."""

import os
import signal
import threading

import lightgbm as lgb
import msgspec
import numpy as np
import pytest

from tests.evaluation_world import SPEC, telemetry
from tests.small_world import UNTIL, fogline
from tests.training.heads import test_offset as offsets
from training.distributed import connect
from training.distributed import fit as distributed_fit
from training.distributed.fit import StopRows, WorkersLostError, best_round, fit_heads_on_cluster
from training.distributed.workers import PATIENCE
from training.features.dataset import build_dataset
from training.heads.fit import fit_heads
from training.heads.lightgbm_params import head_params, used_params
from training.telemetry import read_telemetry
from training.tuning.objective import prediction_loss


def with_training(spec, **changes):
    return msgspec.structs.replace(spec, training=msgspec.structs.replace(spec.training, **changes))


def test_the_round_to_stop_at_is_the_one_that_lightgbm_finds():
    spec = with_training(SPEC, rounds=60, patience=5, lightgbm={"num_leaves": 8, "min_data_in_leaf": 5})
    heads = {name: msgspec.structs.replace(head, offset="none") for name, head in SPEC.heads.items()}
    spec = msgspec.structs.replace(spec, heads=heads)
    dataset = build_dataset(telemetry(3_000), spec, seed=0)
    stopped = fit_heads(dataset, spec, seed=0, threads=1)
    endless = fit_heads(dataset, with_training(spec, patience=1_000), seed=0, threads=1)
    for name, head in stopped.items():
        y = dataset.targets[name]
        stop = np.flatnonzero(~np.isnan(y))
        stop = stop[(stop >= dataset.split) & (stop < dataset.calibrate)]
        whole = lgb.Booster(model_str=endless[name].booster.model_to_string(num_iteration=-1))
        assert best_round(whole, StopRows(dataset.x[stop], y[stop]), spec, name) == head.booster.best_iteration


class _Climbing:
    """A booster whose every round adds a tenth to the score of any row."""

    def num_trees(self):
        return 60

    def predict(self, x, **_):
        return np.full(len(x), 0.1)


def test_a_quantile_stops_at_its_own_loss_on_a_cluster_too():
    """By squared error it would stop at the mean."""
    y = np.random.default_rng(0).normal(2.0, 1.0, 20_000)
    rounds = []
    for quantile in (0.9, None):
        head = msgspec.structs.replace(SPEC.heads["latency"], quantile=quantile)
        spec = msgspec.structs.replace(SPEC, heads={"latency": head})
        rounds.append(best_round(_Climbing(), StopRows(np.zeros((y.size, 1)), y), spec, "latency"))
    assert rounds == [round(10 * np.quantile(y, 0.9)), round(10 * y.mean())] == [33, 20]


@pytest.fixture(scope="module")
def dataset(small_world):
    return build_dataset(read_telemetry(small_world.data, small_world.spec, until=UNTIL), small_world.spec, seed=0)


@pytest.mark.slow
def test_a_cluster_fits_as_well_as_one_machine_and_outlives_a_killed_worker(dataset, small_world):
    spec = with_training(small_world.spec, rounds=60, patience=10)
    seeds = [prediction_loss(fit_heads(dataset, spec, seed=seed, threads=1), spec) for seed in range(3)]
    with connect("local:2") as client:
        pid = next(iter(client.run(os.getpid).values()))
        killing = threading.Timer(0.5, os.kill, (pid, signal.SIGKILL))

        def kill_in_the_second_head(_, done, __):
            if done == 1:
                killing.start()

        fitted = fit_heads_on_cluster(client, dataset, spec, seed=0, threads=1, progress=kill_in_the_second_head)
        killing.join()
    assert fitted.keys() == spec.heads.keys()
    for name, head in fitted.items():
        asked = head_params(name, spec, 0)
        text = head.booster.model_to_string()
        del asked["objective"]  # of which LightGBM writes another name
        assert used_params(text, asked) == asked
    assert prediction_loss(fitted, spec) == pytest.approx(np.mean(seeds), abs=0.02)


@pytest.mark.slow
def test_a_cluster_starts_from_the_same_offset_and_chooses_by_the_same_losses():
    data, spec = offsets.dataset(), offsets.spec()
    here = fit_heads(data, spec, seed=0, threads=1)
    with connect("local:1") as client:
        there = fit_heads_on_cluster(client, data, spec, seed=0, threads=1)
    for name, head in here.items():
        other = there[name]
        assert other.offset == head.offset
        assert other.losses.keys() == head.losses.keys()
        for start, losses in head.losses.items():
            assert other.losses[start] == pytest.approx(losses, rel=0.02)
        np.testing.assert_allclose(other.judge.raw, head.judge.raw, atol=0.2)
    assert there["latency"].offset is not None


@pytest.mark.slow
def test_a_head_without_trees_is_the_same_line_on_a_cluster():
    data, spec = offsets.dataset(), offsets.without_trees()
    spec = msgspec.structs.replace(spec, heads={"latency": spec.heads["latency"]})
    here = fit_heads(data, spec, seed=0, threads=1)["latency"]
    with connect("local:1") as client:
        there = fit_heads_on_cluster(client, data, spec, seed=0, threads=1)["latency"]
    assert there.offset == here.offset
    np.testing.assert_array_equal(there.judge.raw, here.judge.raw)


def test_a_round_to_stop_at_counts_what_scores_start_from():
    y = np.full(50, 5.0)
    spec = msgspec.structs.replace(SPEC, heads={"latency": SPEC.heads["latency"]})
    start = np.full(50, 4.0)
    assert best_round(_Climbing(), StopRows(np.zeros((50, 1)), y, start=start), spec, "latency") == 10
    assert start.tolist() == [4.0] * 50


def test_workers_that_do_not_come_back_are_a_named_error():
    class Lost:
        """A client whose workers are gone after the first look."""

        looks = 0

        def scheduler_info(self, n_workers):
            self.looks += 1
            return {"workers": {"tcp://a:1": n_workers} if self.looks == 1 else {}}

        def restart(self, timeout):
            raise TimeoutError(timeout)

    def fit():
        raise OSError("Connection reset by peer")

    with pytest.raises(WorkersLostError, match="expected 1 workers back within 60 s of a restart, found 0"):
        distributed_fit._persistently(Lost(), fit)  # noqa: SLF001 - no cluster of this machine loses its nannies


@pytest.mark.slow
def test_train_on_a_cluster_prints_one_object_and_says_what_the_workers_took(trained, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    words = ["train", trained.world.data, "--spec", trained.world.spec_file, "--until", UNTIL, "--threads", 1]
    words += ["--cluster", "local:2", "--registry", trained.registry, "--out", tmp_path / "artifacts", "--json"]
    ran = fogline(capfd, *words)
    assert ran.code == 0
    assert ran.json["window"] == trained.result["window"]
    assert ran.json["workers"]["n"] == 2
    assert ran.json["workers"]["evicted"] == 0
    assert 0 < ran.json["workers"]["peak_bytes"] < 2**31
    for figure in ("failure.log_loss", "latency.mae", "throughput.mae"):
        assert ran.json["metrics"][figure] == pytest.approx(trained.result["metrics"][figure], rel=0.05)
    assert "mean cost " in ran.json["reason"]


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nowhere://x", "local:none"])
def test_a_cluster_that_is_not_there_was_a_wrong_call(address, small_world, monkeypatch, capfd):
    assert PATIENCE >= 5
    monkeypatch.setattr("training.distributed.workers.PATIENCE", 0.1)
    ran = fogline(capfd, "train", small_world.data, "--spec", small_world.spec_file, "--cluster", address, "--json")
    assert ran.code == 2
    assert ran.json["error"]["message"].startswith("cluster: expected the address of a Dask scheduler such as tcp://")

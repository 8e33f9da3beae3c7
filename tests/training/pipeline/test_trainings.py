"""Several trainings of a spec, each of which decides the draws of its own seed."""

import shutil

import msgspec
import polars as pl
import pytest

from scheduler.errors import DataError, InputError
from tests.small_world import fogline
from training.evaluation.evaluate import run_evaluation
from training.pipeline import trainings
from training.pipeline.train import train_model
from training.pipeline.trainings import evaluate_trainings
from training.telemetry import read_telemetry

WITHOUT = ("vowpal_wabbit", "greedy_lightgbm", "low_rank", "linucb")


@pytest.mark.slow
def test_each_seed_is_decided_by_the_model_that_was_trained_with_it(small_world, tmp_path):
    data, spec = small_world.data, small_world.spec
    found = evaluate_trainings(data, spec, 2, start=46, seed=3, threads=1, requests=1, without=WITHOUT)
    past = read_telemetry(data, spec, until=46)
    alone = [
        run_evaluation(
            data,
            spec,
            train_model(past, spec, tmp_path / str(seed), seed=seed, threads=1).folder,
            start=46,
            seed=seed,
            requests=1,
            without=WITHOUT,
        ).policies["learned"]
        for seed in (3, 4)
    ]
    assert found.policies["learned"].mean == pytest.approx((alone[0].mean + alone[1].mean) / 2)
    assert found.seeds == 2
    assert "learned is 2 models, trained with seeds 3 to 4 before slice 46" in found.warnings()


def test_without_a_first_slice_nothing_is_trained(small_world):
    spec = small_world.spec
    spec = msgspec.structs.replace(spec, evaluation=msgspec.structs.replace(spec.evaluation, start=None))
    with pytest.raises(InputError, match="start: expected a slice"):
        evaluate_trainings(small_world.data, spec, 2)


def test_where_each_client_has_one_node_a_slice_nothing_is_trained(small_world, tmp_path, monkeypatch):
    def never(*_args, **_options):
        raise AssertionError("a model was trained")

    rows = pl.read_parquet(small_world.data / "telemetry.parquet")
    data = shutil.copytree(small_world.data, tmp_path / "data")
    rows.unique(["client_id", "slice"], maintain_order=True).write_parquet(data / "telemetry.parquet")
    monkeypatch.setattr(trainings, "train_model", never)
    with pytest.raises(DataError, match="expected a client with outcomes of two nodes in a slice"):
        evaluate_trainings(data, small_world.spec, 2, start=46)


@pytest.mark.parametrize("options", [("--model", "some"), ("--seeds", 2), ("--cold", "nodes")])
def test_what_names_a_model_is_refused_beside_trainings(small_world, capfd, options):
    ran = fogline(capfd, "evaluate", small_world.data, "--spec", small_world.spec_file, "--trainings", 2, *options)
    assert ran.code != 0
    assert f"{options[0].strip('-')}: expected none beside --trainings" in ran.err

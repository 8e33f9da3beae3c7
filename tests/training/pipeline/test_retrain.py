"""A model trained anew every so often: when it takes over, what it knows, and how ageing is told."""

import dataclasses
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from scheduler.errors import DataError
from scheduler.model.model import Model
from tests import evaluation_world as world
from training.evaluation.evaluate import evaluate
from training.evaluation.measured_requests import measured_requests
from training.evaluation.metrics import Picks
from training.evaluation.seeds import pooled
from training.pipeline import retrain
from training.pipeline.retrain import Age, Retrained, ageing
from training.policies import Learned, Random

TINY = msgspec.structs.replace(
    world.SPEC,
    training=msgspec.structs.replace(world.SPEC.training, rounds=3, lightgbm={"num_leaves": 4, "min_data_in_leaf": 5}),
)


@pytest.mark.slow
def test_a_new_model_of_all_earlier_slices_takes_over_every_so_often(tmp_path, monkeypatch):
    rows, ends, models = world.telemetry(3_000), [], []
    real = retrain.train_model

    def watched(before, *args, **options):
        ends.append(int(before.slice.max()))
        return real(before, *args, **options)

    monkeypatch.setattr(retrain, "train_model", watched)
    setting = world.setting()._replace(spec=TINY)
    first = Model.load(world.write_model(tmp_path / "tiny"))
    policy = Retrained(setting, first, rows, start=50, every=4, threads=1)
    pick = policy.pick
    policy.pick = lambda question: (pick(question), models.append(policy.scheduler.model.version))[0]
    batches = measured_requests(rows, TINY, start=50, requests=1, candidates=4, seed=0)
    evaluate(batches, {"random": Random(setting), "retrained": policy}, TINY, rows.where(rows.slice < 50))
    assert ends == [53, 57]
    assert models[:4] == [first.version] * 4
    assert len(set(models[4:8])) == len(set(models[8:])) == 1
    assert len(set(models)) == 3


def test_slices_without_a_request_count_in_neither_the_trainings_nor_their_table(tmp_path, monkeypatch):
    """In slices 52, 53 and 55 a single node was measured, so nobody asks."""
    rows, begun = world.telemetry(3_000), []
    rows = rows.where(~np.isin(rows.slice, [52, 53, 55]) | (rows.node == 0))
    monkeypatch.setattr(Retrained, "_renew", lambda _self, number: begun.append(number))
    setting, model = world.setting(), Model.load(world.write_model(tmp_path / "tiny"))
    policies = {
        "random": Random(setting),
        "learned": Learned(setting, model),
        "retrained": Retrained(setting, model, rows, start=50, every=3),
    }
    batches = measured_requests(rows, world.SPEC, start=50, requests=2, candidates=4, seed=0)
    found = evaluate(batches, policies, world.SPEC, rows.where(rows.slice < 50))
    assert np.unique(found.slice).tolist() == [50, 51, 54, 56, 57, 58, 59]
    assert [one.first_slice for one in ageing(found, 3)] == [50, 56, 59]
    assert begun == [56, 59]


def test_where_a_training_fails_the_former_model_goes_on_and_the_figures_say_so(tmp_path, monkeypatch):
    def failing(*_args, **_options):
        raise DataError("no head has rows")

    monkeypatch.setattr(retrain, "train_model", failing)
    rows, setting = world.telemetry(3_000), world.setting()._replace(spec=TINY)
    first = Model.load(world.write_model(tmp_path / "tiny"))
    policy = Retrained(setting, first, rows, start=50, every=4, threads=1)
    batches = measured_requests(rows, TINY, start=50, requests=1, candidates=4, seed=0)
    policies = {"random": Random(setting), "retrained": policy}
    found = evaluate(batches, policies, TINY, rows.where(rows.slice < 50))
    assert policy.scheduler.model.version == first.version
    assert [note for note in found.warnings() if "failed" in note] == [
        f"retrained: training before slice {number} with seed {setting.seed} failed, {first.version} went on: "
        "no head has rows"
        for number in (54, 58)
    ]
    pooled_twice = pooled([found, dataclasses.replace(found, notes=("another",))])
    assert pooled_twice.notes == (*found.notes, "another")


def test_regret_is_told_by_stretches_of_slices_and_the_retrained_model_is_no_baseline():
    slices = np.repeat(np.array([7, 8, 9], np.int32), 2)

    def picks(*costs):
        return Picks(np.zeros(6, np.int32), np.ones(6, np.bool_), np.repeat(np.float32(costs), 2))

    found = SimpleNamespace(
        slice=slices,
        picks={
            "random": picks(9, 9, 9),
            "pair_average": picks(3, 3, 5),
            "learned": picks(2, 2, 4),
            "retrained": picks(2, 2, 2),
            "oracle": picks(1, 1, 1),
        },
    )
    two, four = np.log(2) / np.log(3), np.log(4) / np.log(5)
    expected = [Age(7, 4, 0.5, 0.5, two, two), Age(9, 2, 0.75, 0.25, four, np.log(2) / np.log(5))]
    for age, wanted in zip(ageing(found, 2), expected, strict=True):
        assert age == pytest.approx(wanted)

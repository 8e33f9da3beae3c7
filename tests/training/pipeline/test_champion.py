"""What the comparison with a champion is made of: which logs are replayed, and what is said of simple averages."""

import dataclasses
from types import SimpleNamespace

import msgspec
import numpy as np

from scheduler.spec import TrainedMean
from tests import evaluation_world as world
from training.evaluation.paired_intervals import Interval
from training.evaluation.verdict import BETTER, Verdict, untold
from training.pipeline import pipeline
from training.pipeline.champion import _with_simple, replayable
from training.pipeline.pipeline import contest_start, fitted_on_few, unrehearsed


def one_node_a_slice():
    """A log in which every client uses one node a slice."""
    rows = world.telemetry(2_000)
    return dataclasses.replace(rows, node=((rows.client + rows.slice) % world.N_NODES).astype(np.int32))


def test_a_log_of_one_node_a_slice_is_not_replayed_for_one_row_that_is_another():
    rows = one_node_a_slice()
    assert not replayable(rows, 0)
    node = rows.node.copy()
    node[-1] = (node[-1] + 1) % world.N_NODES
    assert not replayable(dataclasses.replace(rows, node=node), 0)
    assert replayable(world.telemetry(2_000), 0)


def test_a_model_that_may_be_no_better_than_an_average_is_told_how_many_decisions_would_tell():
    found = _with_simple(Verdict(BETTER, "cost"), "pair_average", Interval(-0.005, -0.02, 0.01), 1_000)
    assert found.outcome == "cannot be told"
    assert found.more == 8_000
    assert found.reason.endswith("so it may be no better than pair_average; about 8,000 more decisions would tell")


def test_decisions_that_would_tell_are_enough_for_the_average_too():
    found = _with_simple(untold("cost", [500]), "pair_average", Interval(-0.002, -0.02, 0.016), 1_000)
    assert (found.outcome, found.more) == ("cannot be told", 80_000)
    assert found.reason.endswith(
        "against pair_average, which it has to beat too; about 80,000 more decisions would tell"
    )


def test_a_contest_after_a_cluster_reads_all_slices_that_there_is_room_for(monkeypatch):
    counts = dict.fromkeys(range(10), 100)
    assert contest_start(counts, 7) == 0
    monkeypatch.setattr(pipeline, "CONTEST_ROWS", 550)
    assert contest_start(counts, 7) == 5
    assert contest_start(counts, 3) == 3


def test_a_head_that_was_fitted_on_few_rows_is_a_guess():
    heads = {"failure": SimpleNamespace(n_rows=18), "latency": SimpleNamespace(n_rows=10_000)}
    assert fitted_on_few(SimpleNamespace(heads=heads)).endswith("found failure on 18: the model is a guess")
    heads["failure"].n_rows = 200
    assert not fitted_on_few(SimpleNamespace(heads=heads))


def test_means_of_training_without_a_rehearsal_are_warned_of():
    spec = world.SPEC
    mean = TrainedMean(keys=tuple(spec.history.keys)[:1], value=spec.history.values[0])
    with_mean = msgspec.structs.replace(spec, features={**spec.features, "trained": mean})
    assert not unrehearsed(spec)
    assert "training.rehearse above 0" in unrehearsed(with_mean)
    rehearsed = msgspec.structs.replace(with_mean.training, rehearse=0.6)
    assert not unrehearsed(msgspec.structs.replace(with_mean, training=rehearsed))

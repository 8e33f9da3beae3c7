"""Means of training on their whole way: telemetry, artifact, registry, decisions, ONNX Runtime, evaluation."""

import dataclasses

import msgspec
import numpy as np
import onnxruntime
import pytest

from scheduler import Scheduler
from scheduler.features.trained_means import means_by_key
from scheduler.model.model import Model
from scheduler.spec import TrainedMean, parse_spec
from tests.registries import new_registry
from tests.small_world import UNTIL, spec_text
from training.evaluation.evaluate import run_evaluation
from training.evaluation.metrics import LEARNED, RANDOM
from training.features.dataset import build_dataset
from training.features.trained_means import as_of
from training.features.warm import warm
from training.pipeline.options import TrainingOptions
from training.pipeline.pipeline import train_and_register
from training.telemetry import read_telemetry

pytestmark = pytest.mark.slow

MEAN = TrainedMean(keys=("client_node", "node"), value="log1p(latency_ms)")


def starting_from_it():
    """The small spec, whose latency starts from a mean of training."""
    spec = parse_spec(spec_text())
    latency = msgspec.structs.replace(spec.heads["latency"], offset="trained")
    return msgspec.structs.replace(
        spec, features={**spec.features, "trained": MEAN}, heads={**spec.heads, "latency": latency}
    )


def test_a_registered_model_decides_by_the_means_that_it_was_trained_with(small_world, tmp_path, tmp_path_factory):
    spec, registry = starting_from_it(), new_registry(tmp_path_factory.getbasetemp(), tmp_path / "registry")
    options = TrainingOptions(registry=registry, until=UNTIL, out=tmp_path / "artifacts", threads=1)
    made = train_and_register(small_world.data, spec, options)
    model = Model.load("models:/demo@champion", registry, cache=tmp_path / "cache")
    rows = read_telemetry(small_world.data, spec, until=UNTIL)
    means = build_dataset(rows, spec, seed=0).means.all
    found = means_by_key(model.features.program.trained)
    np.testing.assert_array_equal(found.keys, means.keys)
    np.testing.assert_array_equal(found.rows, means.rows)
    assert model.manifest.heads["latency"].offset.feature == "trained"

    sched = Scheduler(model, history_capacity=64)
    warm(sched, rows)
    np.testing.assert_array_equal(model.features.program.trained.rows[:, 0].sum(), means.rows[:, 0].sum())
    client, nodes = rows.clients.ids[rows.client[0]], rows.nodes.ids[:8].tolist()
    sched.fleet.upsert(nodes)
    request = {spec.telemetry.client: [client]}
    x = sched.features(request, [nodes], now=rows.time[-1])[0]
    assert np.isfinite(x[:, model.features.names.index("trained")]).all()  # every node was met
    scores = sched.score(request, [nodes], now=rows.time[-1])
    session = onnxruntime.InferenceSession(made.summary.folder / "latency.onnx")
    raw = np.ravel(session.run(None, {session.get_inputs()[0].name: x})[0])
    at = model.heads.index("latency")
    np.testing.assert_allclose(raw, model.raw(x)[:, at], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(scores["latency"][0], model.predict(x)["latency"], rtol=1e-4)

    start = model.manifest.window["first_judged_slice"]
    earlier = as_of(model, rows, start)
    expected = build_dataset(rows.where(rows.slice < start), spec, seed=0).means.all
    known = means_by_key(earlier.features.program.trained)
    assert 0 < known.rows[:, 0].sum() < found.rows[:, 0].sum()
    np.testing.assert_array_equal(known.keys, expected.keys)
    np.testing.assert_allclose(known.rows, expected.rows, rtol=1e-4)  # summed in another order
    assert as_of(model, rows, UNTIL) is model
    # What earlier slices tell only after the slice has begun is not known then.
    begin = rows.time[rows.slice >= start].min() // rows.slice_seconds * rows.slice_seconds
    late = dataclasses.replace(rows, arrival=rows.arrival + 3_600.0)
    told = late.where((late.arrival < begin) | (late.slice >= start))
    told, late = (means_by_key(as_of(model, one, start).features.program.trained).rows for one in (told, late))
    np.testing.assert_array_equal(told, late)
    assert 0 < late[:, 0].sum() < known.rows[:, 0].sum()

    judged = run_evaluation(small_world.data, spec, made.summary.folder, start=UNTIL, without=("vowpal_wabbit",))
    assert judged.policies[LEARNED].mean < judged.policies[RANDOM].mean

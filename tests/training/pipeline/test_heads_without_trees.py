"""A head that is a plain mean on its whole way: telemetry, artifact, registry, decisions, ONNX Runtime, explanation."""

import msgspec
import numpy as np
import onnxruntime
import pytest

from scheduler import Scheduler
from scheduler.model.model import Model
from scheduler.spec import Head, ShrunkMean, parse_spec
from tests.registries import new_registry
from tests.small_world import UNTIL, spec_text
from training.features.warm import warm
from training.pipeline.options import TrainingOptions
from training.pipeline.pipeline import train_and_register
from training.telemetry import read_telemetry

pytestmark = pytest.mark.slow

MEAN = ShrunkMean(keys=("client_node", "node"), value="log1p(latency_ms)", half_life="6h")
AVERAGE = Head(target="log1p(latency_ms)", link="log", unit="ms", offset="plain_mean", trees=False)


def weighing_a_mean():
    """The small spec, whose utility is a mean alone."""
    spec = parse_spec(spec_text())
    utility = msgspec.structs.replace(spec.utility, heads={"average": -1.0}, load=0.0, price_weight=0.0, profiles=())
    return msgspec.structs.replace(
        spec,
        features={**spec.features, "plain_mean": MEAN},
        heads={**spec.heads, "average": AVERAGE},
        utility=utility,
        policy=msgspec.structs.replace(spec.policy, explore="none"),
    )


def test_decisions_follow_the_mean_that_a_head_without_trees_is(small_world, tmp_path, tmp_path_factory):
    spec, registry = weighing_a_mean(), new_registry(tmp_path_factory.getbasetemp(), tmp_path / "registry")
    options = TrainingOptions(registry=registry, until=UNTIL, out=tmp_path / "artifacts", threads=1)
    made = train_and_register(small_world.data, spec, options)
    model = Model.load("models:/demo@champion", registry, cache=tmp_path / "cache")
    at, column = model.heads.index("average"), model.features.names.index("plain_mean")
    assert model.manifest.heads["average"].offset.feature == "plain_mean"
    assert model.trees[at].feature.size == 0

    rows = read_telemetry(small_world.data, spec, until=UNTIL)
    sched = Scheduler(model)
    warm(sched, rows)
    nodes, now = rows.nodes.ids[:8].tolist(), rows.time[-1]
    sched.fleet.upsert(nodes)
    requests = {spec.telemetry.client: rows.clients.ids[:20].tolist()}
    x = sched.features(requests, [nodes] * 20, now=now)
    means = x[:, :, column]
    assert np.isfinite(means).all()
    scores = sched.score(requests, [nodes] * 20, now=now)["average"]
    np.testing.assert_array_equal(np.argsort(scores, axis=1), np.argsort(means, axis=1))
    np.testing.assert_allclose(scores.ravel(), model.predict(x.reshape(-1, x.shape[2]))["average"], rtol=1e-6)

    session = onnxruntime.InferenceSession(made.summary.folder / "average.onnx")
    raw = np.ravel(session.run(None, {session.get_inputs()[0].name: x[0]})[0])
    np.testing.assert_allclose(raw, model.raw(x[0])[:, at], rtol=1e-4)

    decided = sched.decide_batch(requests, [nodes] * 20, now=now)
    np.testing.assert_array_equal(decided.position[:, 0], means.argmin(axis=1))

    one = {spec.telemetry.client: requests[spec.telemetry.client][0]}
    told = sched.explain(one, nodes, now=now)
    assert [part.feature for part in told.parts if part.share] == ["plain_mean"]

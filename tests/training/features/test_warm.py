"""A scheduler that is warmed from telemetry knows what one that served it would know."""

import numpy as np
import pytest

from scheduler import Model, Scheduler
from training.features.warm import warm
from training.telemetry import read_telemetry


@pytest.mark.slow
def test_a_warm_scheduler_sees_what_replay_saw(trained):
    world = trained.world
    model = Model.load(trained.artifact)
    cold, first, second = (Scheduler(model) for _ in range(3))
    n = warm(first, world.data, until=20)
    telemetry = read_telemetry(world.data, model.spec, until=20)
    assert n == telemetry.time.size == warm(second, telemetry)
    assert cold.counters()["history_entries"] == 0
    assert first.counters()["history_entries"] == second.counters()["history_entries"] > 0
    ids, now = (
        [str(id_) if isinstance(id_, str) else int(id_) for id_ in telemetry.nodes.ids[:20]],
        telemetry.time.max(),
    )
    for sched in (cold, first, second):
        sched.fleet.upsert(ids)
    request = {model.spec.telemetry.client: [telemetry.clients.ids[0]]}
    known, again, empty = (s.features(request, [ids], now=now) for s in (first, second, cold))
    np.testing.assert_array_equal(known, again)
    assert np.isnan(known).sum() < np.isnan(empty).sum()

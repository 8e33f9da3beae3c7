"""A scheduler that has seen some traffic, with sets, reservations, latent factors and change points."""

import pytest

from scheduler import Model, Scheduler
from scheduler.spec import parse_spec
from tests import models
from tests.schedulers import COLUMNS, HELD, IDS


@pytest.fixture(scope="session")
def rich(tmp_path_factory) -> Model:
    """A model with latent factors, change points and sets of categories."""
    folder = tmp_path_factory.mktemp("rich") / "model"
    return Model.load(models.write_small(folder, models.with_sets(models.EXTENDED)))


def request_of(i):
    return {
        "client_id": [17, "tv", -3, 2**64 - 1][i % 4],
        "kind": ["film", "song", None][i % 3],
        "kbps": 50.0 * (i % 5),
    }


def used(model, n=40, **settings):
    """A scheduler after ``n`` decisions, most of them with their outcomes."""
    sched = Scheduler(model, **{"seed": 3, "remember": 64, "first_id": 1_000} | settings)
    sched.fleet.upsert([*IDS, -9, 2**64 - 2, "\ud800"], {name: [*v, *v[:3]] for name, v in COLUMNS.items()})
    sched.fleet.update(IDS, {"content": HELD})
    sched.clients.upsert([17, "tv"], {"isp": [7, "mobile"], "lat": [1, 2], "lon": [3, 4], "taste": [[1, 0, 0]] * 2})
    sched.fleet.heartbeat(["1", -9], alive_until=500.0)
    sched.fleet.quarantine([2], until=300.0)
    for i in range(n):
        decision = sched.decide(request_of(i), now=float(i))
        for node in decision.nodes[:1] if i % 4 else ():
            sched.observe(decision.id, {"ok": i % 5 != 0, "rtt_ms": 10.0 + i % 7, "speed": 2.0}, now=i + 0.5, node=node)
    return sched


def parsed(text):
    return parse_spec(text)

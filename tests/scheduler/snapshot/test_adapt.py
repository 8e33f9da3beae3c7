"""A state is carried over to a model of another fingerprint: what both specs define alike stays."""

import numpy as np
import pytest

from scheduler import Model, Scheduler
from scheduler.snapshot.carried import compare
from tests import models
from tests.scheduler.snapshot.conftest import parsed, used

REORDERED = (
    models.EXTENDED.replace(
        '[history.keys]\nisp = ["request.isp"]\nnode_isp = ["node.isp"]\nnode = ["node"]\nclient = ["client"]\n',
        '[history.keys]\nby_client = ["client"]\nfresh_key = ["client", "request.kind"]\nnode = ["node"]\n'
        'isp = ["request.isp"]\nnode_isp = ["node.isp"]\n',
    )
    .replace('key = "client"', 'key = "by_client"')
    .replace('"client", "isp"', '"by_client", "isp"')
    .replace('client = "isp"', 'client = "isp"')
    .replace('half_lives = ["1m", "1h"]', 'half_lives = ["10m", "1h", "1m"]')
    .replace("load = { min = 0, max = 1 }\n", "load = { min = 0, max = 1 }\nage = { min = 0 }\n")
    .replace('value = "log1p(rtt_ms)"\nrank = 3', 'value = "log1p(rtt_ms)"\nclient = "by_client"\nrank = 3')
    .replace("tolerance = 0.5\n", 'tolerance = 0.5\ngroup = "by_client"\n')
)
"""The same under other names, in another order, with a history key, a half-life and a column more."""


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    folder = tmp_path_factory.mktemp("other") / "model"
    return Model.load(models.write_small(folder, models.with_sets(REORDERED)))


def shared(model, other):
    """Numbers of the features that both models have by the same name."""
    names = [name for name in model.features.names if name in other.features.names]
    return [model.features.names.index(n) for n in names], [other.features.names.index(n) for n in names]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["in memory", "on disk"])
def test_what_two_specs_define_alike_is_carried_over(rich, other, tmp_path, way):
    sched = used(rich, n=60)
    assert rich.spec.fingerprint() != other.spec.fingerprint()
    if way == "in memory":
        twin = sched.adapt(other)
    else:
        sched.save(tmp_path)
        twin = Scheduler.restore(tmp_path, other, adapt=True)
    batch, nodes = {"client_id": [17, "tv"], "kind": ["film", "song"]}, [[1, 3, "box", "1"]] * 2
    mine, theirs = shared(rich, other)
    known = sched.features(batch, nodes, now=70.0)[:, :, mine]
    np.testing.assert_array_equal(twin.features(batch, nodes, now=70.0)[:, :, theirs], known)
    assert (~np.isnan(known)).mean() > 0.6
    carried = twin.carried
    assert carried.new["history.keys"] == ("fresh_key",)
    assert carried.new["history.half_lives"] == ("10m",)
    assert carried.new["node"] == ("age",)
    assert set(carried.kept["latent_factors"]) == {"rtt", "carriers_speed"}
    assert set(carried.kept["change_points"]) == {"calm", "carrier"}
    assert 0.0 < carried.share_new < 0.2


def test_open_decisions_go_along(rich, other):
    sched = used(rich, n=4)
    decision = sched.decide({"client_id": 17, "kbps": 100.0}, [1], now=5.0)
    twin = sched.adapt(other)
    assert twin.fleet.get(1).reserved == sched.fleet.get(1).reserved >= 100.0
    twin.observe(decision.id, {"ok": False}, now=6.0)
    assert twin.fleet.get(1).reserved == sched.fleet.get(1).reserved - 100.0


def test_a_value_of_another_meaning_starts_empty():
    text = models.with_sets(models.EXTENDED)
    carried = compare(parsed(text), parsed(text.replace("rank = 3", "rank = 4")))
    assert carried.new["latent_factors"] == ("rtt",)
    assert carried.new["history.values"] == ("residual(rtt)",)
    same = compare(parsed(text), parsed(text.replace("capacity = 1_024", "capacity = 2_048")))
    assert same.share_new == 0.0

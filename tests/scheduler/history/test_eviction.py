"""A node's forest row follows when history lets its entry go."""

import numpy as np
import pytest

from scheduler import Scheduler
from tests import models

N = 200


@pytest.fixture(scope="module")
def small_history(tmp_path_factory):
    return models.load_small(tmp_path_factory, models.SPEC.replace("capacity = 4_096", "capacity = 48"))


def fresh_rows(sched):
    """Every node's row as its columns and history say now."""
    kept = sched.state.arms[0].arrays.content.node_rows.copy()
    sched.refresh()
    now = sched.state.arms[0].arrays.content.node_rows.copy()
    sched.state.arms[0].arrays.content.node_rows[:] = kept
    return now


@pytest.mark.slow
def test_a_row_forgets_what_history_forgot(small_history):
    sched, random = Scheduler(small_history), np.random.default_rng(0)
    sched.fleet.upsert(range(N), {"isp": [7] * N, "load": random.random(N)})
    for now in range(300):
        if now % 10 == 5:  # some leave, and come back to other slots
            some = random.choice(N, 20, replace=False).tolist()
            sched.fleet.remove(some)
            sched.fleet.upsert(random.permutation(some).tolist(), {"isp": [8] * 20})
        ids = random.choice(N, 8, replace=False).tolist()
        made = sched.decide_batch({"client_id": random.integers(0, 50, 8)}, [[id_] for id_ in ids], now=float(now)).id
        sched.observe_batch(made, {"ok": [True] * 8, "rtt_ms": random.uniform(1, 900, 8)}, now=float(now))
        live = sched.fleet.arrays.alive_until > -np.inf
        np.testing.assert_array_equal(sched.state.arms[0].arrays.content.node_rows[live], fresh_rows(sched)[live])
    assert sched.counters()["history_evicted"] > 1_000


def test_a_scheduler_may_have_history_of_another_size_than_its_model_was_trained_with(small_history):
    trained, roomy = Scheduler(small_history), Scheduler(small_history, history_capacity=10_000)
    for sched in (trained, roomy):
        sched.fleet.upsert(range(N), {"isp": [7] * N})
        made = sched.decide_batch({"client_id": range(N)}, [[id_] for id_ in range(N)], now=0.0).id
        sched.observe_batch(made, {"ok": [False] * N}, now=0.0)
    few, many = trained.counters(), roomy.counters()
    assert (few["history_capacity"], many["history_capacity"]) == (48, 10_000)
    assert few["history_evicted"] > 0 == many["history_evicted"]
    assert few["history_entries"] + few["history_evicted"] == many["history_entries"]
    roomy.warm_up()
    assert roomy.counters() == many


def test_what_factors_and_regimes_let_go_is_counted(tmp_path_factory):
    text = models.EXTENDED.replace("capacity = 1_024", "capacity = 16").replace("capacity = 64", "capacity = 16")
    text = text.replace("rank = 2\n", "rank = 2\ncapacity = 16\n").replace(
        'member = "node"', 'member = "node"\ncapacity = 16'
    )
    sched = Scheduler(models.load_small(tmp_path_factory, text))
    sched.fleet.upsert(range(N), {"isp": list(range(N))})
    for first in range(0, 10 * N, N):
        clients = {"client_id": range(first, first + N)}
        made = sched.decide_batch(clients, [[id_] for id_ in range(N)], now=0.0).id
        sched.observe_batch(made, {"ok": [True] * N, "rtt_ms": range(N)}, now=0.0)
    found = sched.counters()
    assert found["latent_factors_evicted"] > 1_000
    assert found["change_points_evicted"] > 1_000


def test_the_row_of_a_node_that_came_back_to_another_slot_follows(model):
    sched, ok = Scheduler(model), {"ok": True, "rtt_ms": 900.0}
    sched.fleet.upsert([1, 2], {"isp": [7, 8]})
    first, late = (sched.decide({"client_id": 5}, [1], now=0.0) for _ in range(2))
    sched.observe(first.id, {"ok": True, "rtt_ms": 3.0}, now=1.0)
    old = sched.fleet.table.slot(1)
    sched.fleet.remove([1])
    sched.fleet.upsert([3, 1], {"isp": [7, 7]})
    assert sched.fleet.table.slot(1) != old
    sched.observe(late.id, ok, now=2.0)
    np.testing.assert_array_equal(sched.state.arms[0].arrays.content.node_rows[:4], fresh_rows(sched)[:4])


def test_the_first_outcome_of_all_finds_the_node_that_came_back(model):
    sched = Scheduler(model)
    sched.fleet.upsert([1, 2], {"isp": [7, 8]})
    late, later = (sched.decide({"client_id": 5}, [1], now=0.0) for _ in range(2))
    sched.fleet.remove([1])
    sched.fleet.upsert([3, 1], {"isp": [7, 7]})
    for d in (late, later):
        sched.observe(d.id, {"ok": True, "rtt_ms": 900.0}, now=2.0)
        np.testing.assert_array_equal(sched.state.arms[0].arrays.content.node_rows[:4], fresh_rows(sched)[:4])

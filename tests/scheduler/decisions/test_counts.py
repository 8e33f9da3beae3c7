"""Decisions, drops and latencies are counted by version, whichever thread and arm decides."""

import threading
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler import Model
from scheduler.decisions.arrays import DROPS, LEAST_LATENCY, N_LATENCIES, REASONS
from scheduler.decisions.counts import MOST_VERSIONS, OLDER, VersionCounts, latency_bounds, new_counts
from scheduler.decisions.kernels.counting import latency_bucket
from scheduler.runtime.jit import kernel
from scheduler.runtime.monotonic import monotonic_ns
from scheduler.spec import Policy
from tests import models
from tests.schedulers import IDS, LEDGER, new

SOFTMAX = Policy(explore="softmax", temperature=1e6)


@kernel
def clock():
    return monotonic_ns()


@kernel
def bucket_of(nanoseconds):
    return latency_bucket(nanoseconds)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return Model.load(models.write_small(tmp_path_factory.mktemp("other") / "small", seed=9))


def served(sched, n, now=0.0, arm=None):
    """Decide among nodes of which one is full, one quarantined; return the decisions."""
    return [
        sched.decide({"client_id": 17, "kbps": 900.0 * (i % 3)}, IDS[: i % 6] or None, now=now + i, arm=arm)
        for i in range(n)
    ]


def by_version(sched):
    return dict(sched.state.counts.items())


def check(counts, decisions):
    """Counts are those of decisions, counted by hand."""
    reasons = Counter(d.reason for d in decisions)
    assert counts.reasons.tolist() == [reasons[name] for name in REASONS]
    dropped = sum((Counter(d.dropped) for d in decisions), Counter())
    assert counts.dropped.tolist() == [dropped[name] for name in DROPS]
    assert counts.latencies.sum() == len(decisions)


def test_the_clock_of_kernels_is_the_system_s_monotonic_one():
    before = time.monotonic_ns()
    times = [before, *(clock() for _ in range(100)), time.monotonic_ns()]
    assert times == sorted(times)


@given(st.integers(0, 2**62) | st.sampled_from([b + d for b in latency_bounds().tolist() for d in (-1, 0, 1)]))
def test_a_latency_is_counted_in_the_first_bucket_that_bounds_it(nanoseconds):
    bounds = latency_bounds()
    assert bounds.size == N_LATENCIES
    assert (bounds[0], bounds[1], bounds[-1]) == (LEAST_LATENCY, LEAST_LATENCY * 3 // 2, 2**30)
    assert bucket_of(nanoseconds) == np.searchsorted(bounds, nanoseconds, side="left")


def test_decisions_and_drops_are_counted_by_reason(model):
    sched = new(model, ledger=LEDGER, policy=SOFTMAX)
    sched.fleet.quarantine([2], until=50.0)
    decisions = served(sched, 60)
    check(by_version(sched)[model.version], decisions)
    assert {"best", "explored"} <= {d.reason for d in decisions}


def test_batches_are_counted_as_single_decisions_are(model):
    sched = new(model, ledger=LEDGER, policy=SOFTMAX)
    ds = sched.decide_batch({"client_id": [17, "tv"] * 20, "kbps": [400.0] * 40}, now=0.0)
    counts = by_version(sched)[model.version]
    assert counts.reasons.tolist() == np.bincount(ds.reason, minlength=len(REASONS)).tolist()
    assert counts.dropped.tolist() == ds.dropped.sum(axis=0).tolist()
    assert counts.latencies.sum() == 40


def test_counted_latencies_add_up_to_less_than_the_calls_took(model):
    sched = new(model)
    sched.decide({"client_id": 17}, now=0.0)
    counts = by_version(sched)[model.version]
    before, begun = counts.nanoseconds[0], time.perf_counter_ns()
    for i in range(20):
        sched.decide({"client_id": 17}, now=float(i))
    assert 0 < counts.nanoseconds[0] - before < time.perf_counter_ns() - begun


@pytest.mark.slow
def test_a_swap_counts_by_version_and_keeps_what_the_released_arm_counted(model, other):
    sched = new(model, ledger=LEDGER)
    first = served(sched, 7)
    challenger = sched.prepare(models.changed(other, ledger=LEDGER))
    second = served(sched, 5, 10.0, challenger)
    earlier = sched.swap(challenger)
    second += served(sched, 4, 20.0)
    sched.release(earlier)
    found = by_version(sched)
    check(found[model.version], first)
    check(found[other.version], second)
    sched.swap(models.changed(model, ledger=LEDGER))
    first += served(sched, 3, 30.0)
    check(by_version(sched)[model.version], first)


def test_another_policy_of_the_same_model_counts_on(model):
    sched = new(model)
    decisions = served(sched, 6)
    sched.set_policy(models.changed(model, policy=SOFTMAX).spec)
    decisions += served(sched, 30, 10.0)
    assert "explored" in {d.reason for d in decisions}
    check(by_version(sched)[model.version], decisions)


def test_dry_runs_of_a_warm_up_are_not_counted(model):
    sched = new(model)
    sched.warm_up()
    assert not by_version(sched)[model.version].reasons.any()


def test_threads_lose_no_count(model):
    sched, decisions = new(model, policy=SOFTMAX, ledger=LEDGER), []

    def run(t):
        found = [sched.decide({"client_id": 17, "kbps": 300.0 * t}, now=0.0) for _ in range(50)]
        decisions.extend(found)

    threads = [threading.Thread(target=run, args=(t,)) for t in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(decisions) == 200
    check(by_version(sched)[model.version], decisions)


def test_versions_beyond_the_last_ones_are_counted_together_and_none_is_lost():
    counts, arms = VersionCounts(), ["0"]
    for i in range(MOST_VERSIONS + 5):
        counts.of(str(i), arms).reasons[0] += i + 1
    found = dict(counts.items())
    assert len(found) <= MOST_VERSIONS + 1
    assert found["0"].reasons[0] == 1  # its arm still decides
    assert OLDER in found
    total = sum(of.reasons[0] for of in found.values())
    assert total == sum(range(1, MOST_VERSIONS + 6))
    assert counts.of("0", arms) is found["0"]


def test_new_counts_are_of_nothing():
    assert not any(array.any() for array in new_counts())

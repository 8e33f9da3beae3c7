"""Off-policy estimates on measured logs whose truth is known, where those are at hand."""

import numpy as np
import pytest

from benchmarks.ope import coverage, draw_clients, draw_requests, each_from_the_other, population, unsupported

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def probes(shared_data):
    return population(shared_data / "hbrp")


def test_each_policy_of_the_open_bandit_data_is_estimated_from_the_log_of_the_other(shared_data):
    found = list(each_from_the_other(shared_data / "obd"))
    assert len(found) == 4
    for one in found:
        assert one["refused"] is None
        for name in ("ips", "snips", "dr"):
            _, low, high = one["estimates"][name]
            assert low <= one["truth"] <= high, (one["campaign"], one["target"], name)


def test_intervals_over_requests_cover_the_truth_of_uniformly_logged_probes(probes):
    found = coverage(probes, draw_requests, range(200), model=False)
    for name in ("ips", "snips"):
        assert 91.0 <= found[name]["rows"]["of 100"] <= 99.0


def test_the_doubly_robust_estimate_is_nearer_to_the_truth_than_weights_alone(probes):
    found = coverage(probes, draw_requests, range(4), model=True)
    assert found["dr"]["rows"]["width"] < found["ips"]["rows"]["width"]


def test_where_clients_are_drawn_only_intervals_over_clients_cover(probes):
    found = coverage(probes, draw_clients, range(100), model=False)
    for name in ("ips", "snips"):
        assert found[name]["clients"]["of 100"] >= 85.0
        assert found[name]["rows"]["of 100"] < found[name]["clients"]["of 100"]


def test_a_target_that_the_log_leaves_out_is_refused(probes):
    assert unsupported(probes).startswith("support is too thin")
    assert np.isfinite(probes.truth)

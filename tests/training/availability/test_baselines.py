"""Running means against plain loops, and Kaplan-Meier against lifetimes whose truth is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.availability.baselines import Gaps, Groups, Stream, kaplan_meier, known, running_means
from training.heads.metrics import squared_error


def stream(at, value, lag=0, **parts):
    value = np.array(value, float)
    defaults = {"target": value, "past": np.ones(value.size, bool)} | parts
    return Stream(np.array(at, np.int64), value, lag, **defaults)


def groups(node, client=None, **categories):
    return Groups(categories, node, np.zeros_like(node) if client is None else client)


ROWS = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 2), st.sampled_from([0.0, 1.0, 5.0, float("nan")])), min_size=1
)


@pytest.mark.slow
@given(ROWS, st.integers(0, 3))
def test_what_is_known_is_what_a_loop_over_earlier_rows_finds(rows, lag):
    at, key, value = map(list, zip(*rows, strict=True))
    n, total = known(stream(at, value, lag), np.array(key, np.int64))
    for i, (now, mine, _) in enumerate(rows):
        found = [v for a, k, v in rows if k == mine and a + lag <= now and not np.isnan(v)]
        assert n[i] == len(found)
        assert total[i] == pytest.approx(sum(found))


def test_a_group_never_seen_is_predicted_as_all_are_and_one_seen_often_by_its_own_mean():
    at = np.arange(400)
    group = np.where(at == 399, 2, at % 2)
    value = np.where(group == 1, 0.9, 0.1)
    means = running_means(stream(at, value, 1), groups(np.arange(400), kind=group), squared_error)
    assert means["kind"][399] == pytest.approx(means["global"][399])
    assert means["kind"][398] == pytest.approx(0.1, abs=0.02)
    assert means["kind"][397] == pytest.approx(0.9, abs=0.02)


def test_before_anything_is_known_the_start_is_predicted():
    means = running_means(stream([0, 1], [1.0, 1.0], 1), groups(np.zeros(2, np.int64)), squared_error, start=0.25)
    assert means["global"].tolist() == [0.25, 1.0]


def test_values_from_after_a_row_do_not_change_what_it_is_predicted():
    rng = np.random.default_rng(0)
    at, value = np.sort(rng.integers(0, 50, 300)), (rng.random(300) < 0.3).astype(float)
    node, past = rng.integers(0, 9, 300), at < 25
    one = running_means(stream(at, value, 3, past=past), groups(node), squared_error)
    late = stream(at, np.where(at > 40, 1 - value, value), 3, past=past)
    two = running_means(late, groups(node), squared_error)
    for name, mean in one.items():
        assert mean[at <= 43].tolist() == two[name][at <= 43].tolist()


def test_what_a_client_saw_of_a_node_is_predicted_where_clients_see_different_things():
    """As where a node's uplink is fast for its neighbours alone: by node each pair is as good as the other."""
    rng = np.random.default_rng(0)
    at, node, client = np.arange(2_000), rng.integers(0, 10, 2_000), rng.integers(0, 2, 2_000)
    value = np.where((node + client) % 2, 0.9, 0.1)
    means = running_means(stream(at, value, 1), groups(node, client), squared_error)
    late = at > 500
    errors = {name: squared_error(mean[late], value[late]) for name, mean in means.items()}
    assert errors["pair"] < 0.001
    assert errors["node"] > 0.1


def test_a_single_client_has_no_pairs_beside_its_nodes():
    means = running_means(stream(np.arange(4), np.ones(4)), groups(np.arange(4)), squared_error)
    assert set(means) == {"global", "node"}


def censored_world(n, rng):
    """Gaps with a chance of 0.2 a snapshot, watched for 1 to 10 snapshots: the truth is geometric."""
    gap, watched = rng.geometric(0.2, n), rng.integers(1, 11, n)
    return Gaps(np.minimum(gap, watched), gap <= watched)


@pytest.mark.parametrize("horizon", [1, 4, 8])
def test_kaplan_meier_finds_the_truth_behind_censored_gaps_where_counting_them_does_not(horizon):
    gaps = censored_world(20_000, np.random.default_rng(1))
    truth = 1 - 0.8**horizon
    found = kaplan_meier(gaps, horizon)(np.zeros(3, np.int64))
    assert found == pytest.approx(truth, abs=0.015)
    if horizon > 1:
        assert np.mean(gaps.seen & (gaps.duration <= horizon)) < truth - 0.05


def test_kaplan_meier_is_the_product_over_those_still_watched():
    gaps = Gaps(np.array([1, 2, 2, 3, 5]), np.array([True, True, False, True, False]))
    survival = (1 - 1 / 5) * (1 - 1 / 4) * (1 - 1 / 2)
    assert kaplan_meier(gaps, 4)(np.array([0])) == pytest.approx(1 - survival)


def test_groups_have_curves_of_their_own_and_thin_ones_that_of_all():
    gaps = Gaps(np.ones(101, np.int64), np.arange(101) < 50)
    group = np.where(np.arange(101) < 50, 0, 1)
    group[100] = 2
    found = kaplan_meier(gaps, 1, group)(np.array([0, 1, 2, 9]))
    assert found == pytest.approx([1.0, 0.0, 50 / 101, 50 / 101])

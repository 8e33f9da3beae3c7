"""Factor models: what they learn of clients, nodes and pairs, and what they may not do."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from scheduler.history.arrays import LEVEL_MEAN, LEVEL_NOISE, PARTS, VECTOR, WAYS
from scheduler.history.kernels.hash_table import find
from scheduler.history.kernels.latent_factors import entity_key, part, update
from scheduler.history.store import new_history
from tests import models

HALF_LIFE = 60.0
RANK = 3

measured = st.floats(-3e38, 3e38) | st.sampled_from([math.nan, 0.0, 1.0])
steps = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3), measured, st.floats(-1e9, 1e10)), max_size=40)


def fresh(text=models.EXTENDED):
    return new_history(models.spec(text)).latent_factors


def key(side, number):
    return np.uint64(entity_key(np.uint64(1_000 * (side + 1) + number), np.uint64(1)))


def tell(factors, client, node, x, now):
    return update(factors, 0, key(0, client), key(1, node), float(x), float(now))


def ask(factors, which, client, node, now):
    slots = find(factors, key(0, client)), find(factors, key(1, node))
    return part(factors, 0, PARTS.index(which), *slots, float(now))


def stream(n, seed, *, clients=12, nodes=15, rank=2, noise=0.1):
    """Outcomes of a made-up low-rank world, one a second: client, node, value."""
    rng = np.random.default_rng(seed)
    of_client, of_node = rng.normal(5, 1, clients), rng.normal(0, 1, nodes)
    u, v = rng.normal(size=(clients, rank)), rng.normal(size=(nodes, rank))
    truth = of_client[:, None] + of_node + u @ v.T
    client, node = rng.integers(0, clients, n), rng.integers(0, nodes, n)
    return truth, client, node, truth[client, node] + rng.normal(0, noise, n)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(steps)
def test_no_run_of_finite_outcomes_leaves_anything_that_is_not_finite(outcomes):
    factors = fresh()
    for client, node, x, now in outcomes:
        tell(factors, client, node, x, now)
    held = factors.keys != 0
    assert np.isfinite(factors.rows[held, 2 : VECTOR + RANK]).all()
    assert np.isfinite(factors.seen[held]).all()
    assert np.isfinite(factors.levels).all()
    assert (factors.rows[held, 3] > 0).all(), "an uncertainty of zero would begin anew"


@pytest.mark.slow
def test_it_finds_what_is_low_rank():
    truth, client, node, x = stream(20_000, 0)
    factors = fresh()
    for t in range(x.size):
        tell(factors, client[t], node[t], x[t], t / 100)
    found = np.array([[ask(factors, "prediction", c, n, 200.0) for n in range(15)] for c in range(12)])
    assert np.sqrt(np.mean((found - truth) ** 2)) < 0.15
    assert np.sqrt(np.mean((truth - truth.mean()) ** 2)) > 1.5


def test_it_follows_bits_of_the_same_outcomes_to_the_same_state():
    _, client, node, x = stream(500, 1)
    both = fresh(), fresh()
    for factors in both:
        for t in range(x.size):
            tell(factors, client[t], node[t], x[t], t)
    for a, b in zip(*both, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_first_outcome_is_no_surprise_and_later_ones_are_what_was_not_foreseen():
    factors = fresh()
    assert math.isnan(ask(factors, "prediction", 1, 1, 0))
    assert math.isnan(tell(factors, 1, 1, 4.0, 0))
    assert tell(factors, 1, 2, 6.0, 0) == pytest.approx(2.0)  # above the only value yet
    before = ask(factors, "prediction", 1, 1, 1)
    assert tell(factors, 1, 1, 7.0, 1) == pytest.approx(7.0 - before, abs=0.1)  # new vectors speak too


def test_parts_add_up_to_the_prediction():
    _, client, node, x = stream(300, 2)
    factors = fresh()
    for t in range(x.size):
        tell(factors, client[t], node[t], x[t], t)
    parts = [ask(factors, which, 3, 4, 300) for which in ("client", "node", "pair")]
    assert ask(factors, "prediction", 3, 4, 300) == pytest.approx(factors.levels[0, LEVEL_MEAN] + sum(parts))


def test_who_was_never_seen_counts_as_average_and_has_no_part():
    _, client, node, x = stream(300, 3)
    factors = fresh()
    for t in range(x.size):
        tell(factors, client[t], node[t], x[t], t)
    mean = factors.levels[0, LEVEL_MEAN]
    assert ask(factors, "prediction", 99, 99, 300) == mean
    of_node = ask(factors, "prediction", 99, 4, 300)
    assert of_node == pytest.approx(mean + ask(factors, "node", 99, 4, 300))
    assert [math.isnan(ask(factors, which, 99, 4, 300)) for which in ("client", "node", "pair")] == [True, False, True]


def test_a_slow_node_is_known_to_clients_that_never_asked_it_and_is_not_blamed_on_those_who_did():
    _, client, node, x = stream(5_000, 4)
    factors = fresh()
    for t in range(x.size):
        tell(factors, client[t], node[t], x[t], t)
    now = float(x.size)
    before = [ask(factors, "prediction", c, 0, now) for c in range(12)]
    biases, spread = [ask(factors, side, 3, 0, now) for side in ("client", "node")], x.std()
    for t in range(6):
        tell(factors, 3 + t % 2, 0, before[3 + t % 2] + spread, now + t)
    after = [ask(factors, "prediction", c, 0, now + 6) for c in range(12)]
    assert np.median(np.subtract(after, before)) > 0.3 * spread
    blamed = [ask(factors, side, 3, 0, now + 6) - bias for side, bias in zip(("client", "node"), biases, strict=True)]
    assert blamed[1] > 1.2 * blamed[0]


def test_part_of_a_surprise_is_forgotten_after_some_half_lives():
    _, client, node, x = stream(5_000, 5)
    factors = fresh()
    for t in range(x.size):
        tell(factors, client[t], node[t], x[t], t)
    now = float(x.size)
    calm = ask(factors, "node", 0, 0, now + 20 * HALF_LIFE)
    tell(factors, 3, 0, ask(factors, "prediction", 3, 0, now) + x.std(), now)
    alarmed = ask(factors, "node", 0, 0, now)
    later = ask(factors, "node", 0, 0, now + 20 * HALF_LIFE)
    assert alarmed - calm > 1.5 * abs(later - calm)


def test_one_timeout_moves_no_more_than_a_few_standard_errors():
    _, client, node, x = stream(5_000, 6)
    factors = fresh()
    for t in range(x.size):
        tell(factors, client[t], node[t], x[t], t)
    before = ask(factors, "node", 0, 0, x.size)
    tell(factors, 0, 0, 1e6, x.size)
    assert abs(ask(factors, "node", 0, 0, x.size) - before) < 2 * x.std()


@pytest.mark.parametrize(("client", "node", "x"), [(0, 5, 1.0), (5, 0, 1.0), (5, 5, math.nan)])
def test_without_a_key_or_a_value_nothing_is_learned(client, node, x):
    factors = fresh()
    assert math.isnan(update(factors, 0, np.uint64(client), np.uint64(node), x, 0.0))
    assert not factors.keys.any()
    assert not factors.levels.any()


def test_models_of_one_table_know_nothing_of_each_other():
    factors = fresh()
    pair = np.uint64(5), np.uint64(6)
    update(factors, 0, *(np.uint64(entity_key(np.uint64(k), np.uint64(1))) for k in pair), 1.0, 0.0)
    assert not factors.levels[1].any()
    assert [find(factors, np.uint64(entity_key(np.uint64(k), np.uint64(2)))) for k in pair] == [-1, -1]
    assert entity_key(np.uint64(0), np.uint64(2)) == 0


def test_memory_is_bounded_and_a_client_never_shares_a_row_with_its_node():
    text = models.EXTENDED.replace("capacity = 1_024", "capacity = 16").replace(
        "rank = 2\n", "rank = 2\ncapacity = 16\n"
    )
    factors = fresh(text)
    size = factors.keys.size
    assert size == 4 * WAYS
    rng = np.random.default_rng(0)
    for t in range(2_000):
        client, node = rng.integers(1, 2**63, 2, dtype=np.uint64)
        update(factors, 0, client, node, rng.normal(), float(rng.integers(0, 100) + t))
    assert factors.keys.size == size
    assert factors.counters[1] > 0
    assert np.isfinite(factors.rows[:, 2 : VECTOR + RANK]).all()


def test_values_that_never_vary_are_predicted_as_they_are():
    factors = fresh()
    for t in range(50):
        tell(factors, t % 3, t % 5, 2.5, t)
    assert ask(factors, "prediction", 0, 0, 50) == 2.5


def test_noise_is_what_neither_client_nor_node_explains():
    shares = []
    for noise in (0.05, 2.0):
        _, client, node, x = stream(20_000, 7, noise=noise)
        factors = fresh()
        for t in range(x.size):
            tell(factors, client[t], node[t], x[t], t / 100)
        shares.append(factors.levels[0, LEVEL_NOISE])
    assert shares[0] < 0.1
    assert 0.3 < shares[1] < 1

"""Retrieval from the index against a scan of all nodes, and the index's arrays against dicts of sets."""

import sys

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from scheduler.columns.arrays import MISSING_KEY
from scheduler.columns.ids import id_keys
from scheduler.retrieval.arrays import LIST_SIZE
from scheduler.retrieval.index import FIRST_ARENA, FIRST_LISTS, Index
from scheduler.retrieval.kernels.retrieve import FULL_SCAN_RATIO, sample
from scheduler.spec import Candidates, Tier
from tests.index_world import ANY, CARRIER, CLOSE, SCHEMA, World, check, check_arrays, listed

places = st.tuples(st.sampled_from([1, 2, "1", None]), st.sampled_from(["n", "s", None]))
many_places = st.tuples(st.integers(0, 40) | st.none(), st.integers(0, 40) | st.none())
batches = st.dictionaries(st.integers(0, 60), places, max_size=20)
wide_batches = st.dictionaries(st.integers(0, 150), many_places, max_size=60)


def steps(batches, last):
    leaves = st.lists(st.integers(0, last), unique=True, max_size=30)
    return st.lists(st.tuples(st.just("put"), batches) | st.tuples(st.just("drop"), leaves), max_size=25)


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(steps(batches, 60), places, st.integers(1, 30), st.integers(0, 2**63 - 1))
def test_it_finds_what_a_scan_finds_tier_by_tier(changes, asked, limit, seed):
    world = World(CLOSE, CARRIER, ANY, limit=limit)
    for what, batch in changes:
        getattr(world, what)(batch)
    for found in world.ask(asked, n=5, seed=seed):
        check(world, asked, found.tolist())
    check_arrays(world)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(steps(wide_batches, 150), many_places, st.integers(0, 2**63 - 1))
def test_with_many_small_groups_nothing_is_lost_or_held_twice(changes, asked, seed):
    world = World(CLOSE, CARRIER, ANY)
    for what, batch in changes:
        getattr(world, what)(batch)
        check_arrays(world)
    check(world, asked, world.one(asked, seed=seed))


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.permutations([CLOSE, CARRIER, ANY]), st.integers(0, 300), st.integers(0, 2**32))
def test_large_tiers_are_cut_to_their_limits_in_any_order(tiers, n, seed):
    random = np.random.default_rng(seed)
    slots = random.permutation(n).tolist()
    world = World(*tiers).put({slot: (int(random.integers(2)), "ns"[random.integers(2)]) for slot in slots})
    for found in world.ask((1, "n"), n=5, seed=seed):
        check(world, (1, "n"), found.tolist())


def test_a_tier_without_a_limit_fills_what_is_left():
    world = World(CARRIER, Tier(name="any"), limit=40).put({slot: (slot % 2, "n") for slot in range(100)})
    found = world.one((1, "n"))
    assert len(found) == 40
    check(world, (1, "n"), found)


def test_without_tiers_nothing_is_found():
    world = World().put({0: (1, "n")})
    assert world.one((1, "n")) == []


def test_a_node_is_not_found_where_it_was_before_it_moved():
    world = World(CARRIER).put({3: (1, "n")}).put({3: (2, "n")})
    assert world.one((1, "n")) == []
    assert world.one((2, "n")) == [3]


def test_a_node_whose_categories_stay_keeps_its_place():
    world = World(CLOSE, CARRIER, ANY).put(dict.fromkeys(range(40), (1, "n")))
    before = world.index.arrays.held.copy()
    world.put(dict.fromkeys(range(39, -1, -1), (1, "n")))
    np.testing.assert_array_equal(world.index.arrays.held, before)
    world.put({7: (1, "s")})
    moved = (world.index.arrays.held != before).any(axis=2)
    assert moved[:, 0].nonzero()[0].tolist() == [7, 39]  # the last one took its place
    assert not moved[:, 1:].any()


def test_a_null_category_matches_nothing():
    world = World(CARRIER).put({3: (None, "n")})
    assert world.one((None, "n")) == []
    assert (world.index.retrieve(np.array([[1, MISSING_KEY, 1]], np.uint64), 0, 0) == -1).all()
    world.put({3: (1, "n")}).put({3: (None, "n")})
    assert world.one((1, "n")) == []
    check_arrays(world)


def test_tiers_on_the_same_value_of_different_columns_do_not_mix():
    world = World(CARRIER, Tier(name="region", match={"region": "region"}, limit=6))
    world.put({0: ("x", "y"), 1: ("y", "x"), 2: ("y", "y")})
    assert world.one(("x", None)) == [0]
    assert world.one((None, "x")) == [1]


def test_removed_nodes_are_never_found_again():
    world = World(CLOSE, ANY).put(dict.fromkeys(range(50), (1, "n")))
    world.drop(range(0, 50, 2))
    world.drop([0, 0, 7000])  # twice, or what was never there, does no harm
    assert {s for found in world.ask((1, "n"), n=200) for s in found.tolist()} == set(range(1, 50, 2))
    check_arrays(world)


def test_each_decision_can_be_retrieved_again_from_its_seed_and_number():
    world = World(CARRIER, ANY).put({slot: (slot % 3, "n") for slot in range(500)})
    batch = world.ask((1, "n"), n=20, seed=5, first=100)
    alone = [world.one((1, "n"), seed=5, first=100 + i) for i in range(20)]
    assert [found.tolist() for found in batch] == alone
    assert len(set(map(tuple, alone))) > 15
    assert alone != [found.tolist() for found in world.ask((1, "n"), n=20, seed=6, first=100)]


def chi_square(counts):
    expected = counts.mean()
    return ((counts - expected) ** 2 / expected).sum()


def bound(n):
    """Five standard deviations above the mean of chi-square with ``n`` - 1 degrees of freedom."""
    return n - 1 + 5 * np.sqrt(2 * (n - 1))


@pytest.mark.slow
@pytest.mark.parametrize(("n", "limit"), [(200, 16), (17, 16), (1000, 1), (33, 32), (97, 64)])
def test_every_node_of_a_tier_has_the_same_chance(n, limit):
    world = World(Tier(name="any"), limit=limit).put(dict.fromkeys(range(n), (1, "n")))
    draws = 200_000 // limit
    found = world.ask((1, "n"), n=draws, seed=1)
    assert all(len(set(row.tolist())) == limit for row in found)
    counts = np.bincount(np.concatenate(found), minlength=n)
    assert counts.sum() == draws * limit
    assert chi_square(counts) < bound(n)


@pytest.mark.parametrize("order", ["in blocks", "in turn", "shuffled"])
@pytest.mark.parametrize("n", [60, 300, 3000])
def test_those_left_over_by_an_earlier_tier_have_the_same_chance(order, n):
    near = n // 3
    slots = {
        "in blocks": np.arange(n),
        "in turn": np.arange(n).reshape(3, near).T.ravel(),
        "shuffled": np.random.default_rng(3).permutation(n),
    }[order]
    tiers = Tier(name="carrier", match={"isp": "isp"}, limit=8), Tier(name="any", limit=16)
    world = World(*tiers, limit=24).put({slot: (int(slot < near), "n") for slot in slots.tolist()})
    found = np.array(world.ask((1, "n"), n=20_000, seed=2))
    counts = np.bincount(found.ravel(), minlength=n)
    assert counts.sum() == 20_000 * 24
    assert chi_square(np.bincount(found[:, :8].ravel(), minlength=near)) < bound(near)
    assert chi_square(counts[:near]) < bound(near)
    assert chi_square(counts[near:]) < bound(n - near)


def test_a_sample_full_of_nodes_found_before_is_filled_from_elsewhere():
    """The nodes of the first tier stand exactly where some starts of the second tier's sample lead."""
    n, near, wanted = 10_000, 32, 64
    assert n > FULL_SCAN_RATIO * (near + wanted)
    aligned = {int((0.5 + c) * n / wanted) for c in range(near)}
    tiers = Tier(name="carrier", match={"isp": "isp"}, limit=near), Tier(name="any", limit=wanted)
    world = World(*tiers, limit=near + wanted).put({slot: (int(slot in aligned), "n") for slot in range(n)})
    found = np.array(world.ask((1, "n"), n=4000))
    assert all(set(row) == aligned for row in found[:, :near].tolist())
    assert all(len(set(row)) == near + wanted for row in found.tolist())
    # Otherwise the second tier's slots stand one step apart.
    steps = np.diff(found[:, near:], axis=1)
    refilled = ((steps < n // wanted) | (steps > n // wanted + 1)).any(axis=1)
    assert 0.3 < refilled.sum() / (4000 * wanted / n) < 3.0


@pytest.mark.slow
def test_the_last_draw_there_is_stays_inside():
    n = 50
    world = World(ANY).put(dict.fromkeys(range(n), (1, "n")))
    out = np.empty(n, np.int32)
    for limit in range(1, n):
        assert sample(world.index.arrays, 0, limit, 1.0 - 2.0**-53, out) == limit
        assert len(set(out[:limit].tolist())) == limit
        assert out[:limit].max() == n - 1


def test_growth_keeps_every_node():
    """Both kinds of room run out: many lists of one node, and one list of all."""
    n = 40 * FIRST_LISTS
    world = World(CARRIER, ANY, limit=20)
    for first in range(0, n, 700):
        world.put({slot: (slot, "n") for slot in range(first, min(first + 700, n))})
    arrays = world.index.arrays
    assert len(arrays.lists) > FIRST_LISTS
    assert len(arrays.arena) > FIRST_ARENA
    check_arrays(world)
    for slot in range(0, n, 97):
        assert world.one((slot, "n"))[0] == slot


@pytest.mark.slow
def test_room_does_not_add_up_while_all_nodes_move_from_group_to_group():
    world, n = World(CARRIER, limit=8), 600
    world.put(dict.fromkeys(range(n), (0, "n")))
    for group in range(1, 60):
        world.put(dict.fromkeys(range(n), (group, "n")))
    assert len(world.index.arrays.arena) <= 16 * n
    assert len(world.index.arrays.lists) == FIRST_LISTS
    check_arrays(world)


def python_calls(function, *arguments):
    """Return how many Python functions a call enters, itself included."""
    calls = []
    sys.setprofile(lambda frame, event, _: calls.append(frame.f_code.co_name) if event == "call" else None)
    try:
        function(*arguments)
    finally:
        sys.setprofile(None)
    return len(calls)


def test_filling_100_000_nodes_costs_python_a_few_calls_for_each_doubling():
    n = 100_000
    index = Index(Candidates(tiers=(CLOSE, CARRIER, ANY), limit=12), SCHEMA, SCHEMA)
    random = np.random.default_rng(0)
    rows = np.column_stack([id_keys(np.arange(n)), *(id_keys(random.integers(0, k, n)) for k in (20, 500))])
    slots = np.arange(n, dtype=np.int32)
    index.put(slots[:2000], rows)  # compiles
    index.drop(slots)
    assert python_calls(index.put, slots, rows) < 500
    assert python_calls(index.put, slots, rows) < 10  # nothing has changed
    assert python_calls(index.retrieve, rows[:1000], 0, 0) < 10
    counts = np.unique(rows[:, 1], return_counts=True)[1]
    sizes = index.arrays.lists[listed(index.arrays), LIST_SIZE]
    assert sorted(sizes.tolist())[-21:] == [*sorted(counts.tolist()), n]
    assert index.arrays.arena.size < 12 * 3 * n

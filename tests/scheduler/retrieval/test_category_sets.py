"""Sets of categories of nodes: what tiers find in them against a scan, and their arrays against dicts of sets."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from scheduler.columns.ids import id_keys
from scheduler.retrieval.arrays import ARENA_END, FIRST_ROOM, SET_CLASS
from scheduler.retrieval.index import FIRST_ARENA, FIRST_LISTS
from scheduler.spec import Tier
from tests.index_world import ANY, CARRIER, CLOSE, World, check, check_arrays

HOLDERS = Tier(name="holders", match={"content": "content"}, limit=6)
NEAR = Tier(name="near holders", match={"content": "content", "region": "region"}, limit=4)
PLAYERS = Tier(name="players", match={"game": "game", "isp": "isp"}, limit=5)

slots = st.integers(0, 40)
parts = st.sampled_from([1, 2, None]), st.sampled_from(["n", "s", None])
places = st.tuples(*parts)
contents = st.sampled_from([*range(30), "1", "a"])
pairs = st.lists(st.tuples(slots, contents), max_size=80)
columns = st.integers(0, 1)
calls = st.one_of(
    st.tuples(st.just("put"), st.dictionaries(slots, places, max_size=20)),
    st.tuples(st.just("drop"), st.lists(slots, unique=True, max_size=15)),
    st.tuples(st.just("add"), pairs, columns),
    st.tuples(st.just("discard"), pairs, columns),
    st.tuples(st.just("replace"), st.dictionaries(slots, st.lists(contents, max_size=40), max_size=10), columns),
)


@pytest.mark.slow
@settings(max_examples=120, deadline=None)
@given(
    st.permutations([HOLDERS, NEAR, PLAYERS, CLOSE, CARRIER, ANY]),
    st.lists(calls, max_size=30),
    st.lists(st.tuples(*parts, contents, contents), max_size=8),
    st.integers(1, 30),
    st.integers(0, 2**32),
)
def test_it_finds_what_a_scan_finds_tier_by_tier(tiers, changes, asked, limit, seed):
    world = World(*tiers[:4], limit=limit)
    world.put(dict.fromkeys(range(20), (1, "n")))
    for what, *batch in changes:
        getattr(world, what)(*batch)
        check_arrays(world)
    for place in asked:
        for found in world.ask(place, n=3, seed=seed):
            check(world, place, found.tolist())


@pytest.mark.slow
def test_a_large_random_world_stays_whole():
    """Long lists, large sets and many of both: all kinds of room run out, and are given back."""
    random = np.random.default_rng(0)
    world = World(NEAR, HOLDERS, CARRIER, limit=40)
    world.put({slot: (slot % 3, "ns"[slot % 2]) for slot in range(300)})
    for step in range(12):
        n = 3_000
        drawn = list(zip(random.integers(0, 300, n).tolist(), random.zipf(1.3, n).clip(max=900).tolist(), strict=True))
        if step % 3 == 2:
            world.discard(drawn + [(slot, content) for slot, held in world.held.items() for content in held[0]][::2])
        else:
            world.add(drawn)
        world.put({slot: (int(random.integers(3)), "ns"[random.integers(2)]) for slot in range(step, 300, 7)})
        world.drop(range(step, 300, 50))
        world.put(dict.fromkeys(range(step, 300, 50), (1, "n")))
        check_arrays(world)
    for content in (1, 2, 3, 50, 899, 5_000):
        check(world, (1, "n", content), world.one((1, "n", content)))
    assert len(world.index.arrays.lists) > FIRST_LISTS
    assert len(world.index.arrays.arena) > FIRST_ARENA
    world.drop(range(300))
    check_arrays(world)
    whole = world.index.arrays
    free = sum((FIRST_ROOM << c) * n for c, n in enumerate(free_blocks(whole)))
    assert free == whole.marks[ARENA_END]


def free_blocks(arrays):
    """How many blocks of each class are free, by their tags."""
    tags = arrays.tags[: int(arrays.marks[ARENA_END]) // FIRST_ROOM]
    return np.bincount(tags[tags > 0] - 1, minlength=1).tolist()


def test_blocks_given_back_join():
    """Contents come, are held by all, and go, one after another: the arena ends no larger than after the first."""
    world = World(HOLDERS).put(dict.fromkeys(range(500), (1, "n")))
    used = []
    for content in range(20):
        world.add([(slot, content) for slot in range(500)])
        world.discard([(slot, content) for slot in range(500)])
        used.append(int(world.index.arrays.marks[ARENA_END]))
    assert used[-1] == used[0]
    check_arrays(world)


def test_what_a_node_holds_moves_with_it():
    world = World(NEAR, limit=20).put({3: (1, "n"), 4: (1, "n")}).add([(3, c) for c in range(100)] + [(4, 7)])
    assert sorted(world.one((1, "n", 7))) == [3, 4]
    world.put({3: (1, "s")})
    assert world.one((1, "n", 7)) == [4]
    assert world.one((1, "s", 7)) == [3]
    world.put({3: (1, None)})
    assert world.one((1, "s", 7)) == []
    world.discard([(3, 7)])
    world.put({3: (2, "n")})
    assert world.one((1, "n", 7)) == [4]
    assert world.one((1, "n", 8)) == [3]
    check_arrays(world)


@pytest.mark.slow
def test_a_sets_move_that_runs_out_of_room_goes_on_where_it_stopped():
    world = World(NEAR, HOLDERS, limit=20).put(dict.fromkeys(range(3), (1, "n")))
    world.add([(slot, c) for slot in range(3) for c in range(2_000)])
    for region in "sns":
        world.put(dict.fromkeys(range(3), (1, region)))
        check_arrays(world)


def test_the_next_node_in_a_slot_holds_nothing():
    world = World(HOLDERS, limit=20).put({3: (1, "n")}).add([(3, c) for c in range(100)])
    world.drop([3])
    world.put({3: (1, "n")})
    assert world.one((1, "n", 7)) == []
    check_arrays(world)


def test_a_set_that_no_tier_asks_for_is_kept():
    world = World(ANY).put({3: (1, "n")}).add([(3, "a")]).add([(3, "b")], column=1)
    held = world.index.holds(0, np.array([3, 3], np.int32), id_keys(["a", "b"]))
    assert held.tolist() == [True, False]
    check_arrays(world)


def test_a_set_gives_back_its_block():
    world = World(HOLDERS).put({3: (1, "n")}).add([(3, c) for c in range(1_000)])
    largest = int(world.index.arrays.sets.heads[3, 0, SET_CLASS])
    world.discard([(3, c) for c in range(2, 1_000)])
    assert world.index.arrays.sets.heads[3, 0, SET_CLASS] < largest - 5
    world.replace({3: []})
    assert world.index.arrays.sets.heads[3, 0, SET_CLASS] == -1
    check_arrays(world)


@pytest.mark.parametrize(("n", "limit"), [(200, 16), (33, 32)])
def test_every_holder_has_the_same_chance(n, limit):
    world = World(Tier(name="holders", match={"content": "content"}), limit=limit)
    world.put(dict.fromkeys(range(2 * n), (1, "n"))).add([(slot, "film") for slot in range(0, 2 * n, 2)])
    draws = 100_000 // limit
    counts = np.bincount(np.concatenate(world.ask((1, "n", "film"), n=draws, seed=1)), minlength=2 * n)
    assert counts[1::2].sum() == 0
    expected = draws * limit / n
    assert ((counts[::2] - expected) ** 2 / expected).sum() < n - 1 + 5 * np.sqrt(2 * (n - 1))


@pytest.mark.parametrize("n", [1, 7, 14, 15, 16, 40, 300])
def test_any_number_of_tiers_may_ask_for_one_set(n):
    """With 15, a category and its places once had no room in a set's first block, and a look-up no end."""
    tiers = [Tier(name=f"t{i}", match={"content": "content"}, limit=2) for i in range(n)]
    world = World(*tiers, limit=600).put(dict.fromkeys(range(6), (1, "n")))
    world.replace({slot: ["x", "y", "z"] for slot in range(5)})
    check_arrays(world)
    check(world, (1, "n", "y"), world.one((1, "n", "y")))
    world.discard([(slot, "y") for slot in range(4)])
    world.add([(slot, content) for slot in range(3) for content in range(40)])
    check_arrays(world)
    world.drop(range(6))
    check_arrays(world)


def test_a_node_that_is_not_listed_stands_in_no_list_and_keeps_its_sets():
    world = World(HOLDERS, CARRIER, ANY, limit=20).put(dict.fromkeys(range(6), (1, "n")))
    world.add([(slot, "film") for slot in range(6)])
    listed = np.arange(len(world.keys)) >= 3
    world.index.put(np.arange(3, dtype=np.int32), world.keys, listed)
    assert sorted(world.one((1, "n", "film"))) == [3, 4, 5]
    world.index.add(0, np.arange(2, dtype=np.int32), id_keys(["song", "song"]))
    world.index.discard(0, np.array([2], np.int32), id_keys(["film"]))
    assert world.one((9, "n", "song")) == world.one((9, "n", "none"))
    world.index.put(np.arange(3, dtype=np.int32), world.keys)
    for slot, content in ((0, "song"), (1, "song")):
        world.held[slot][0].add(content)
    world.held[2][0].discard("film")
    check_arrays(world)
    check(world, (1, "n", "film"), world.one((1, "n", "film")))

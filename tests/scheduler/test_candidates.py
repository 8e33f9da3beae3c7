"""Retrieval from the index against a scan of all nodes."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from scheduler.candidates import FIRST_POSTINGS, Index, Postings
from scheduler.columns import Schema, id_key
from scheduler.layout import MISSING_KEY
from scheduler.spec import Candidates, Column, Tier

CATEGORIES = {"isp": Column(type="category"), "region": Column(type="category")}
SCHEMA = Schema(CATEGORIES, {})
CLOSE = Tier(name="both", match={"isp": "isp", "region": "region"}, limit=4)
CARRIER = Tier(name="carrier", match={"isp": "isp"}, limit=6)
ANY = Tier(name="any", limit=8)


def index(*tiers, limit=12):
    return Index(Candidates(tiers=tiers, limit=limit), SCHEMA, SCHEMA)


def keys(place, id_=1):
    return np.array([id_key(id_), *map(id_key, place)], np.uint64)


def eligible(tier, nodes, asked):
    """By a scan: the nodes whose matched categories equal the request's, none of them null."""
    at = {"isp": 0, "region": 1}
    pairs = [(at[left], at[right]) for left, right in tier.match.items()]
    return {
        slot
        for slot, place in nodes.items()
        if all(asked[left] is not None and repr(asked[left]) == repr(place[right]) for left, right in pairs)
    }


def check(tiers, limit, nodes, asked, found):
    """Tier by tier: as many as there are and fit, all of them eligible, none twice."""
    left = list(found)
    taken = set()
    for tier in tiers:
        fresh = eligible(tier, nodes, asked) - taken
        n = min(tier.limit, limit - len(taken), len(fresh))
        part, left = left[:n], left[n:]
        assert set(part) <= fresh
        assert len(set(part)) == n
        taken |= set(part)
    assert left == []


places = st.tuples(st.sampled_from([1, 2, "1", None]), st.sampled_from(["n", "s", None]))
changes = st.lists(st.tuples(st.integers(0, 60), places | st.just("gone")), max_size=120)


@settings(max_examples=80, deadline=None)
@given(changes, places, st.integers(1, 30), st.integers(0, 2**32))
def test_it_finds_what_a_scan_finds_tier_by_tier(steps, asked, limit, seed):
    tiers = [CLOSE, CARRIER, ANY]
    held, nodes = index(*tiers, limit=limit), {}
    for slot, place in steps:
        if place == "gone":
            held.drop(slot)
            nodes.pop(slot, None)
        else:
            held.put(slot, keys(place))
            nodes[slot] = place
    found = held.retrieve(keys(asked), np.random.default_rng(seed))
    check(tiers, limit, nodes, asked, found.tolist())


@settings(max_examples=40, deadline=None)
@given(st.permutations([CLOSE, CARRIER, ANY]), st.integers(0, 300), st.integers(0, 2**32))
def test_large_tiers_are_cut_to_their_limits_in_any_order(tiers, n, seed):
    held, nodes = index(*tiers), {}
    random = np.random.default_rng(seed)
    for slot in random.permutation(n).tolist():
        nodes[slot] = (int(random.integers(2)), "ns"[random.integers(2)])
        held.put(slot, keys(nodes[slot]))
    for _ in range(5):
        check(tiers, 12, nodes, (1, "n"), held.retrieve(keys((1, "n")), random).tolist())


def test_a_node_is_not_found_where_it_was_before_it_moved():
    held = index(CARRIER)
    held.put(3, keys((1, "n")))
    held.put(3, keys((2, "n")))
    random = np.random.default_rng(0)
    assert held.retrieve(keys((1, "n")), random).tolist() == []
    assert held.retrieve(keys((2, "n")), random).tolist() == [3]


def test_a_null_category_matches_nothing():
    held = index(CARRIER)
    held.put(3, keys((None, "n")))
    random = np.random.default_rng(0)
    assert held.retrieve(keys((None, "n")), random).tolist() == []
    assert held.retrieve(np.array([1, MISSING_KEY, 1], np.uint64), random).tolist() == []


def test_removed_nodes_are_never_found_again():
    held = index(CLOSE, ANY)
    for slot in range(50):
        held.put(slot, keys((1, "n")))
    for slot in range(0, 50, 2):
        held.drop(slot)
    held.drop(0)  # twice does no harm
    random = np.random.default_rng(0)
    seen = {s for _ in range(200) for s in held.retrieve(keys((1, "n")), random).tolist()}
    assert seen == set(range(1, 50, 2))


def test_the_same_seed_finds_the_same_nodes():
    held = index(CARRIER, ANY)
    for slot in range(500):
        held.put(slot, keys((slot % 3, "n")))
    a, b = (np.random.default_rng(5) for _ in range(2))
    for _ in range(20):
        np.testing.assert_array_equal(held.retrieve(keys((1, "n")), a), held.retrieve(keys((1, "n")), b))


def chi_square(counts):
    expected = counts.mean()
    return ((counts - expected) ** 2 / expected).sum()


def bound(n):
    """Five standard deviations above the mean of chi-square with ``n`` - 1 degrees of freedom."""
    return n - 1 + 5 * np.sqrt(2 * (n - 1))


@pytest.mark.parametrize(("n", "limit"), [(200, 16), (17, 16), (1000, 1), (33, 32), (97, 64)])
def test_every_node_of_a_tier_has_the_same_chance(n, limit):
    postings = Postings()
    for slot in range(n):
        postings.add(slot)
    random = np.random.default_rng(1)
    counts = np.zeros(n)
    draws = 200_000 // limit
    for _ in range(draws):
        found = postings.sample(limit, random)
        assert len(set(found.tolist())) == limit
        counts[found] += 1
    assert counts.sum() == draws * limit
    assert chi_square(counts) < bound(n)


@pytest.mark.parametrize("order", ["in blocks", "in turn", "shuffled"])
def test_those_left_over_by_an_earlier_tier_have_the_same_chance(order):
    near, n = 100, 300
    slots = {
        "in blocks": np.arange(n),
        "in turn": np.arange(n).reshape(3, 100).T.ravel(),
        "shuffled": np.random.default_rng(3).permutation(n),
    }[order]
    held = index(Tier(name="carrier", match={"isp": "isp"}, limit=8), Tier(name="any", limit=16), limit=24)
    for slot in slots.tolist():
        held.put(slot, keys((int(slot < near), "n")))
    random = np.random.default_rng(2)
    counts = np.zeros(n)
    for _ in range(8000):
        counts[held.retrieve(keys((1, "n")), random)] += 1
    assert counts.sum() == 8000 * 24
    assert chi_square(counts[:near]) < bound(near)
    assert chi_square(counts[near:]) < bound(n - near)


class AlmostOne:
    def random(self):
        return 1.0 - 2.0**-53


def test_the_last_draw_there_is_stays_inside():
    postings = Postings()
    for slot in range(3 * FIRST_POSTINGS):
        postings.add(slot)
    for limit in range(1, 3 * FIRST_POSTINGS):
        found = postings.sample(limit, AlmostOne())
        assert len(set(found.tolist())) == limit
        assert found.max() == 3 * FIRST_POSTINGS - 1

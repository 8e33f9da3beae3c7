"""A scheduler whose nodes hold contents: who may serve one, what calls change it, and what is refused."""

import copy

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from scheduler import InputError, Scheduler, UnknownNodeError
from scheduler.spec import parse_spec
from tests import schedulers
from tests.models import SPEC
from tests.scheduler.runtime.test_locks import in_threads
from tests.schedulers import COLUMNS, IDS, same, state

TIERS = """
[[candidates.tiers]]
name = "holders of the client's carrier"
match = { kind = "content", isp = "isp" }
limit = 8
[[candidates.tiers]]
name = "holders"
match = { kind = "content" }
"""
TEXT = SPEC.replace("[node]\n", '[node]\ncontent = { type = "categories", source = "nodes" }\n')
TEXT = TEXT[: TEXT.index("[[candidates.tiers]]")] + TIERS
HELD = {1: ["film", "song"], 2: ["film"], 3: [], "box": ["film", 7], "1": None}


@pytest.fixture
def sched(model):
    sched = Scheduler(model, parse_spec(TEXT))
    sched.fleet.upsert(IDS, COLUMNS | {"content": list(HELD.values())})
    sched.clients.upsert([17], {"isp": [7]})
    return sched


def found(sched, content):
    """All nodes that are offered for a content."""
    (nodes,) = {frozenset(served(sched, content, i)) for i in range(3)}
    return nodes


def served(sched, content, now):
    tried = []
    while nodes := sched.decide({"client_id": 17, "kind": content}, now=now, exclude=tried).nodes:
        tried.extend(nodes)
    return tried


def contents(sched):
    return copy.deepcopy(sched.state.index.arrays)


def unchanged(sched, before):
    return all(
        np.array_equal(a, b)
        for old, new in zip(before, sched.state.index.arrays, strict=True)
        for a, b in (zip(old, new, strict=True) if isinstance(old, tuple) else [(old, new)])
    )


def test_only_holders_serve_a_content(sched):
    assert found(sched, "film") == {1, 2, "box"}
    assert found(sched, "song") == {1}
    assert found(sched, 7) == {"box"}
    assert found(sched, "7") == found(sched, "unheard of") == found(sched, None) == frozenset()


def test_holders_of_the_clients_carrier_come_first(model):
    sched = Scheduler(model, parse_spec(TEXT.replace("limit = 24", "limit = 1").replace("limit = 8", "limit = 1")))
    sched.fleet.upsert(range(40), {"isp": [8] * 39 + [7], "content": [["film"]] * 40})
    assert sched.decide({"client_id": 1, "kind": "film", "isp": 7}, now=0.0).nodes == (39,)
    assert sched.decide({"client_id": 1, "kind": "film", "isp": 9}, now=0.0).nodes


def test_contents_come_and_go_one_by_one(sched):
    sched.fleet.add([3, 3, "1", 1], "content", ["film", "game", "film", "film"])
    assert found(sched, "film") == set(IDS)
    assert found(sched, "game") == {3}
    sched.fleet.discard([3, 3, 2], "content", ["film", "game", "song"])
    assert found(sched, "film") == {1, 2, "box", "1"}
    assert found(sched, "game") == frozenset()


def test_an_upsert_replaces_a_set_and_another_column_leaves_it_alone(sched):
    sched.fleet.upsert([1, 2], {"content": [["song", "song"], ("game",)]})
    assert found(sched, "film") == {"box"}
    assert found(sched, "game") == {2}
    sched.fleet.upsert([1, 2], {"load": [0.5, 0.5]})
    assert found(sched, "song") == {1}
    sched.fleet.upsert([1, 2], {"content": np.array([["a", "b"], ["b", "c"]])})
    assert found(sched, "b") == {1, 2}
    assert found(sched, "song") == frozenset()


def test_a_node_that_is_removed_holds_nothing_nor_does_the_next_in_its_slot(sched):
    sched.fleet.remove([1])
    sched.fleet.upsert(["new"], {"isp": [7]})
    assert found(sched, "film") == {2, "box"}
    assert sched.fleet.holds(["new"], "content", ["film"]).tolist() == [False]


def test_who_holds_what_can_be_asked(sched):
    held = sched.fleet.holds([1, 1, "box", 3, "1"], "content", ["song", "game", 7, "film", "film"])
    assert held.tolist() == [True, False, True, False, False]


blocked = st.lists(st.sampled_from(["film", "song", 7, "7", "game", None]), max_size=3)


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(blocked, st.sampled_from([IDS, None]))
def test_holders_of_what_a_request_blocks_do_not_serve(model, values, candidates):
    sched = Scheduler(model, parse_spec(TEXT))
    sched.fleet.upsert(IDS, COLUMNS | {"content": list(HELD.values())})
    holders = IDS if candidates else [1, 2, "box"]
    wanted = [id_ for id_ in holders if not {*map(repr, HELD[id_] or ())} & {*map(repr, values)}]
    d = sched.decide({"client_id": 17, "kind": "film"}, candidates, now=0.0, block={"content": values})
    assert set(d.nodes) <= set(wanted)
    assert bool(d.nodes) == bool(wanted)
    if candidates:
        assert d.dropped.get("blocked", 0) == len(IDS) - len(wanted)


WRONG = {
    "a stranger": (lambda f: f.add([1, 9], "content", ["a", "b"]), "node ids: expected some of the 5 known, found 9"),
    "a stranger discards": (lambda f: f.discard([9], "content", ["a"]), "node ids: expected some of the 5 known"),
    "fewer values": (lambda f: f.add([1, 2], "content", ["a"]), "values: expected 2, one for each node id, found 1"),
    "a text": (lambda f: f.add([1], "content", "a"), "values: expected a list or a one-dimensional array, found 'a'"),
    "no list of ids": (lambda f: f.discard(1, "content", ["a"]), "node ids: expected a list"),
    "a missing value": (
        lambda f: f.add([1, 2], "content", ["a", None]),
        "'content': .* found a missing one at 1",
    ),
    "a fraction": (lambda f: f.add([1], "content", [1.5]), r"expected an integer of 64 bits or a string, found 1.5"),
    "one value a node": (lambda f: f.add([1], "isp", [7]), "column: expected one of sets, content, found 'isp'"),
    "no column": (lambda f: f.discard([1], None, [7]), "column: expected one of sets, content, found None"),
    "a set of a text": (lambda f: f.upsert([1], {"content": ["film"]}), "column 'content': expected a list .* 'film'"),
    "a missing one in a set": (lambda f: f.upsert([1], {"content": [["a", None]]}), "found a missing one at 1"),
    "too many sets": (lambda f: f.upsert([1], {"content": [["a"], ["b"]]}), "expected 1 values, found 2"),
    "sets and a wrong number": (lambda f: f.upsert([1], {"content": [["new"]], "load": [7]}), "column 'load'"),
    "unknown column": (lambda f: f.upsert([1], {"contents": [["a"]]}), "column: expected one of .*content, found"),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_wrong_calls_are_refused_and_change_nothing(sched, call, message):
    before, held = state(sched), contents(sched)
    with pytest.raises(InputError, match=message):
        call(sched.fleet)
    assert same(before, state(sched))
    assert unchanged(sched, held)


def test_a_stranger_has_an_error_of_its_own(sched):
    with pytest.raises(UnknownNodeError):
        sched.fleet.add([99], "content", ["film"])


def test_without_a_set_column_none_can_be_added_to(model):
    with pytest.raises(InputError, match=r"column: expected one of sets, \(none\), found 'content'"):
        schedulers.new(model).fleet.add([1], "content", ["film"])


def test_a_spec_with_other_sets_is_another_policy(model, sched):
    with pytest.raises(InputError, match="expected the same candidates"):
        sched.set_policy(model.spec)
    other = parse_spec(TEXT.replace("[node]\n", '[node]\ngame = { type = "categories", source = "nodes" }\n'))
    with pytest.raises(InputError, match="expected the same node"):
        sched.set_policy(other)
    sched.set_policy(parse_spec(TEXT.replace("latency = -1.0", "latency = -2.0")))
    assert found(sched, "song") == {1}


def test_nodes_fill_and_empty_while_others_decide(model):
    """Each thread owns some nodes; deciders see only nodes that held the content at some moment."""
    sched = Scheduler(model, parse_spec(TEXT))
    sched.fleet.upsert(range(60), {"isp": [i % 3 for i in range(60)]})
    own = [set(), set()]

    def fill(t):
        random = np.random.default_rng(t)
        for _ in range(40):
            ids, values = random.integers(0, 20, 50) * 3 + t, random.integers(0, 40, 50)
            if random.random() < 0.6:
                sched.fleet.add(ids, "content", values)
                own[t] |= set(zip(ids.tolist(), values.tolist(), strict=True))
            else:
                sched.fleet.discard(ids, "content", values)
                own[t] -= set(zip(ids.tolist(), values.tolist(), strict=True))

    def decide():
        random = np.random.default_rng(9)
        for _ in range(40):
            asked = random.integers(0, 40, 16)
            ds = sched.decide_batch({"client_id": [17] * 16, "kind": asked}, now=0.0)
            assert all(node is None or node % 3 < 2 for node in ds.nodes[:, 0])

    in_threads(lambda: fill(0), lambda: fill(1), decide)
    pairs = [(node, content) for node in range(60) for content in range(40)]
    held = sched.fleet.holds([node for node, _ in pairs], "content", [content for _, content in pairs])
    assert {pair for pair, is_held in zip(pairs, held.tolist(), strict=True) if is_held} == own[0] | own[1]

"""One request and many are read by the same rules: the same arrays, or the same error."""

import math
import re
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scheduler import FoglineError, InputError
from scheduler.columns.id_table import IdTable
from scheduler.columns.ids import id_key, id_keys
from scheduler.columns.schema import Schema
from scheduler.engine.kernels import decide
from scheduler.engine.request import column_of_one
from scheduler.engine.request_codec import NO_SLOT, RequestBuffer, RequestCodec
from scheduler.spec import Column, Policy
from tests import schedulers
from tests.numpy_calls import numpy_calls
from tests.schedulers import IDS, same, state

ODD = st.sampled_from(
    [None, True, "3", math.nan, math.inf, -math.inf, 10**400, np.float64(2), np.int64(2), [1], {}, 2.5]
)
NUMBERS = st.one_of(st.floats(), st.integers(-(2**70), 2**70), st.floats(-200, 200), st.integers(-200, 200), ODD)
CATEGORIES = st.one_of(
    st.integers(-(2**63), 2**64 - 1), st.text(max_size=3), st.sampled_from(["live", 7, "mobile"]), ODD
)
CLIENTS = st.sampled_from([17, "tv", 18, "17", None, math.nan, True, 17.0, np.int64(17), np.str_("tv"), [17], 2**64])
VECTORS = st.sampled_from([[1, 2, 3], np.ones(3), np.ones(6)[::2], [1, None, 3], (1, 2, math.inf), [1, 2], 1.0, "abc"])
REQUESTS = st.fixed_dictionaries(
    {"client_id": CLIENTS},
    optional={
        "kind": CATEGORIES,
        "isp": CATEGORIES,
        "kbps": NUMBERS,
        "lat": NUMBERS,
        "taste": VECTORS,
        "color": NUMBERS,
    },
)
OUTCOMES = st.fixed_dictionaries(
    {}, optional={"ok": st.one_of(st.booleans(), ODD), "rtt_ms": NUMBERS, "speed": NUMBERS}
)


def answer(call):
    """What a call returns, or which error it raises."""
    try:
        return call()
    except FoglineError as error:
        return type(error), str(error)


@pytest.mark.slow
@given(st.lists(REQUESTS, min_size=1, max_size=4))
@example([{"client_id": 17, "kind": 10**400}])
@example([{"client_id": 17, "kind": 2**64}, {"client_id": 17, "kind": -(2**63) - 1}])
@example([{"client_id": 17, "taste": [1, 2, 3]}, {"client_id": 18}])
def test_a_request_is_read_alone_as_in_a_batch(model, requests):
    sched = schedulers.new(model)
    codec, clients, packed = sched.state.request_codec, sched.clients, sched.state.arrays
    thread = sched.state.arms[0].thread
    for request in requests:  # one after another in the same buffer: nothing of one may stay for the next
        expected = answer(lambda r=request: codec.rows(column_of_one(r, "request"), clients))
        client = answer(lambda r=request: codec.write(r, clients, thread.request))
        if isinstance(client, int):
            decide.take_request(packed, client, thread.workspace)
            for found, wanted in zip(thread.workspace.content.request, expected, strict=True):
                np.testing.assert_array_equal(found, wanted)
        else:
            assert client == expected


@pytest.mark.slow
@given(st.sampled_from(["kind", "kbps", "lat", "taste"]), st.data())
def test_the_first_wrong_value_of_a_batch_is_refused_as_alone(model, name, data):
    sched = schedulers.new(model)
    codec, clients, buffer = sched.state.request_codec, sched.clients, RequestBuffer(model.features.request)
    values = data.draw(st.lists({"kind": CATEGORIES, "taste": VECTORS}.get(name, NUMBERS), max_size=4))
    alone = [answer(lambda v=value: codec.write({"client_id": 17, name: v}, clients, buffer)) for value in values]
    expected = next((found for found in alone if not isinstance(found, int)), None)
    found = answer(lambda: codec.rows({"client_id": [17] * len(values), name: values}, clients))
    if expected is None:
        assert len(found.keys) == len(values)
    else:
        assert found == expected


def test_an_unknown_client_has_its_id_and_nothing_else(model):
    sched = schedulers.new(model)
    codec, buffer = sched.state.request_codec, RequestBuffer(model.features.request)
    assert codec.write({"client_id": "stranger"}, sched.clients, buffer) == NO_SLOT
    assert buffer.arrays.is_set.sum() == 1
    assert buffer.arrays.keys[0] == id_key("stranger")


def test_the_column_that_equals_the_id_is_written_for_an_unknown_client_alone():
    schema = Schema({"id": Column(type="category", source="clients"), "load": Column()})
    clients, codec, buffer = IdTable(schema, "client ids"), RequestCodec(schema, "who"), RequestBuffer(schema)
    for request, key in (({"who": 9}, 9), ({"who": 9, "id": 7}, 7)):
        codec.write(request, clients, buffer)
        assert buffer.arrays.keys.tolist() == [id_key(9), id_key(key)]
        assert buffer.arrays.is_set.tolist() == [0, 1, 1]
        assert codec.rows(column_of_one(request, "request"), clients).keys.tolist() == [[id_key(9), id_key(key)]]


def test_any_mapping_is_a_request(model):
    sched = schedulers.new(model)
    request = {"client_id": 17, "kbps": 3}
    wanted = sched.decide(request, IDS, now=0.0)
    assert sched.decide(MappingProxyType(request), IDS, now=0.0).nodes == wanted.nodes


def test_a_plain_request_is_written_without_an_array(model):
    sched = schedulers.new(model)
    codec, buffer = sched.state.request_codec, RequestBuffer(model.features.request)
    for client in (17, "stranger"):
        request = {"client_id": client, "kind": "live", "kbps": 3, "lat": 1.5}
        assert numpy_calls(lambda r=request: codec.write(r, sched.clients, buffer)) == []


@given(st.integers(-(2**63), 2**64 - 1))
def test_the_key_of_one_integer_is_that_of_many(value):
    dtype = np.uint64 if value >= 2**63 else np.int64
    assert id_key(value) == int(id_keys(np.array([value], dtype))[0])


def without_row(answered):
    """The error of a batch, as a single call words it."""
    return (answered[0], re.sub(r"^row \d+, id .*?: ", "", answered[1])) if isinstance(answered, tuple) else None


DECISIONS = st.integers(-1, 7) | st.sampled_from([2**70, True, b"0", 1.0, np.int64(2), None])
NODES = st.sampled_from([None, *IDS, 99, True, 1.5, np.int64(3)])
CALLS = st.tuples(DECISIONS, NODES, OUTCOMES, st.floats(0, 20))


@pytest.mark.slow
@pytest.mark.parametrize("nodes", [1, 3])
@given(calls=st.lists(CALLS, max_size=6))
def test_outcomes_one_by_one_do_what_batches_do(model, nodes, calls):
    policy = {"max_nodes": nodes, "alternatives": 1}
    one, many = (schedulers.new(model, ledger=schedulers.LEDGER, policy=Policy(**policy)) for _ in range(2))
    for sched in (one, many):
        for i in range(6):
            sched.decide({"client_id": 17, "kbps": 4500.0}, IDS[: i % 5 + 1], now=float(i))
        sched.fleet.remove([1])
        sched.fleet.upsert([1], {"load": [0.5]})
    after = state(one)
    for decision, node, outcome, now in calls:
        before = after
        found = answer(lambda d=decision, o=outcome, t=now, n=node: one.observe(d, o, now=t, node=n))
        wanted = answer(
            lambda d=decision, o=outcome, t=now, n=node: many.observe_batch(
                [d], column_of_one(o, "outcome"), now=t, nodes=[n]
            )
        )
        after = state(one)
        assert found == without_row(wanted)
        assert same(after, state(many))
        assert found is None or same(after, before)


def test_a_node_that_is_not_named_is_the_only_one_of_its_slate(model):
    sched = schedulers.new(model, ledger=schedulers.LEDGER, policy=Policy(max_nodes=2))
    first = sched.decide({"client_id": 17, "kbps": 100.0}, [1], now=0.0)
    second = sched.decide({"client_id": 17, "kbps": 4_500.0}, [2, 3], now=0.0)
    outcomes = {"ok": [False, False]}
    before = state(sched)
    with pytest.raises(InputError, match=f"decision {second.id}: expected which node of its slate"):
        sched.observe_batch([first.id, second.id], outcomes, now=1.0, nodes=[None, None])
    assert same(before, state(sched))
    sched.observe_batch([first.id, second.id], outcomes, now=1.0, nodes=[None, second.nodes[0]])
    assert sched.counters()["outcomes"] == 2


@pytest.mark.parametrize("outcome", [{}, {"ok": None}, {"ok": True}, {"ok": True, "rtt_ms": "3"}, [("ok", True)]])
def test_a_wrong_outcome_of_a_batch_is_refused_as_alone_and_changes_nothing(model, outcome):
    sched = schedulers.new(model)
    ids = sched.decide_batch({"client_id": [17, 17]}, [[1], [2]], now=0.0).id
    before = state(sched)
    alone = answer(lambda: sched.observe(int(ids[1]), outcome, now=1.0))
    columns = {name: [3.0 if name == "rtt_ms" else False, value] for name, value in dict(outcome).items()}
    if alone != without_row(answer(lambda: sched.observe_batch(ids, columns, now=1.0))):
        assert alone[1].startswith("outcome: expected values by name")
    assert issubclass(alone[0], InputError)
    assert same(before, state(sched))

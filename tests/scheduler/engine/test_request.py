"""One request and one outcome in plain numbers: the same as in arrays, or left to them."""

import copy
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scheduler import FoglineError
from scheduler.columns.ids import id_key, id_keys
from scheduler.decisions.arrays import ANSWERED
from scheduler.engine.kernels import decide, observe
from scheduler.engine.request import RequestBuffer, column_of_one, request_rows
from scheduler.history.outcomes import OutcomeBuffer, outcome_rows
from scheduler.spec import Policy, parse_spec
from tests import models, schedulers
from tests.schedulers import IDS, same, state

SLOW_FAILURES = models.SPEC.replace("failure = 1_000", 'failure = 1_000\nfailure_column = "speed"')
SPECS = [parse_spec(text) for text in (models.SPEC, SLOW_FAILURES, models.SPEC.replace('ok = "ok"\n', ""))]

ODD = st.sampled_from(
    [None, True, "3", math.nan, math.inf, -math.inf, 10**400, np.float64(2), np.int64(2), [1], {}, 2.5]
)
NUMBERS = st.one_of(st.floats(), st.integers(-(2**70), 2**70), st.floats(-200, 200), st.integers(-200, 200), ODD)
CATEGORIES = st.one_of(
    st.integers(-(2**63), 2**64 - 1), st.text(max_size=3), st.sampled_from(["live", 7, "mobile"]), ODD
)
CLIENTS = st.one_of(st.sampled_from([17, "tv", 18, "17", None, True, 17.0, np.int64(17)]))
REQUESTS = st.fixed_dictionaries(
    {"client_id": CLIENTS},
    optional={
        "kind": CATEGORIES,
        "isp": CATEGORIES,
        "kbps": NUMBERS,
        "lat": NUMBERS,
        "taste": st.sampled_from([[1, 2, 3], 1.0, 2]),
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


@given(st.lists(REQUESTS, min_size=1, max_size=4))
@example([{"client_id": 17, "kind": 10**400}])
@example([{"client_id": 17, "kind": 2**64}, {"client_id": 17, "kind": -(2**63) - 1}])
def test_a_plain_request_is_read_as_in_a_batch(model, requests):
    sched = schedulers.new(model)
    clients, thread, packed = sched.clients, sched.state.arms[0].thread, sched.state.arrays
    for request in requests:  # one after another in the same room: nothing of one may stay for the next
        expected = answer(lambda r=request: request_rows(column_of_one(r, "request"), "client_id", clients))
        client = thread.question.write(request, "client_id", clients)
        if client >= 0:
            decide.take_request(packed, client, thread.workspace)
            for found, wanted in zip(thread.workspace.content.request, expected, strict=True):
                np.testing.assert_array_equal(found, wanted)


def test_what_is_plain_is_not_left_to_arrays(model):
    clients, question = schedulers.new(model).clients, RequestBuffer(model.features.request)
    assert question.write({"client_id": 17, "kind": "live", "kbps": 3, "lat": 1.5}, "client_id", clients) >= 0
    assert OutcomeBuffer(SPECS[0]).write({"ok": True, "rtt_ms": 30, "speed": 1.5}, "box")


@given(st.sampled_from(SPECS), st.lists(OUTCOMES, min_size=1, max_size=4))
def test_a_plain_outcome_is_read_as_in_a_batch(spec, outcomes):
    report = OutcomeBuffer(spec)
    for outcome in outcomes:
        expected = answer(lambda o=outcome: outcome_rows(spec, 1, column_of_one(o, "outcome")))
        if report.write(outcome, None):
            np.testing.assert_array_equal(report.arrays.outcomes, expected)


@given(st.integers(-(2**63), 2**64 - 1))
def test_the_key_of_one_integer_is_that_of_many(value):
    dtype = np.uint64 if value >= 2**63 else np.int64
    assert id_key(value) == int(id_keys(np.array([value], dtype))[0])


CALLS = st.tuples(st.integers(-1, 7), st.sampled_from([None, *IDS, 99]), OUTCOMES, st.floats(0, 20))


@pytest.mark.parametrize("nodes", [pytest.param(1, marks=pytest.mark.slow), 3])
@given(calls=st.lists(CALLS, max_size=6))
def test_outcomes_one_by_one_do_what_batches_do(model, nodes, calls):
    policy = {"max_nodes": nodes, "alternatives": 1}
    one, many = (schedulers.new(model, ledger=schedulers.LEDGER, policy=Policy(**policy)) for _ in range(2))
    for sched in (one, many):
        for i in range(6):
            sched.decide({"client_id": 17, "kbps": 4500.0}, IDS[: i % 5 + 1], now=float(i))
        sched.fleet.remove([1])
        sched.fleet.upsert([1], {"load": [0.5]})
    for decision, node, outcome, now in calls:
        rows = [] if node is None else [node]
        found = answer(lambda d=decision, o=outcome, t=now, n=node: one.observe(d, o, now=t, node=n))
        wanted = answer(
            lambda d=decision, o=outcome, t=now, r=rows: many.observe_batch(
                [d], column_of_one(o, "outcome"), now=t, nodes=r or None
            )
        )
        assert found == wanted
        assert same(state(one), state(many))


@given(st.integers(0, 2**63), st.sampled_from([0, *map(id_key, IDS)]), st.data())
def test_the_place_that_is_awaited(model, decision, node, data):
    sched = schedulers.new(model, policy=Policy(max_nodes=2, alternatives=1))
    sched.decide({"client_id": 17}, IDS, now=0.0)
    log = copy.deepcopy(sched.state.log.arrays)
    decision = data.draw(st.sampled_from([0, 1, decision % 2**63]))
    log.state[0] = data.draw(st.lists(st.integers(0, 3), min_size=3, max_size=3))
    log.length[0] = data.draw(st.integers(0, 2))
    keys, states = log.node_keys[:3, 0].tolist(), log.state[0].tolist()
    fits = [s for s in range(3 if node else log.length[0]) if states[s] and node in {0, keys[s]}]
    expected = fits[0] if decision == 0 and len(fits) == 1 and states[fits[0]] != ANSWERED else -1
    assert observe.find_open(log, decision, np.uint64(node)) == expected

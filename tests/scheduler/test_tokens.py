"""Outcomes go by themselves: a token teaches the right pair once, wherever it arrives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler import DuplicateOutcomeError, InputError, Scheduler, UnknownDecisionError
from scheduler.decisions.token import Token, read_token, write_token
from scheduler.spec import Policy
from tests.schedulers import IDS, LEDGER, OK, new, same, state

KEY = b"sixteen bytes or"
REQUEST = {"client_id": 17, "kbps": 500.0, "kind": "live"}


def features(sched, now=9.0):
    return sched.features({"client_id": [17], "kind": ["live"]}, [IDS], now=now)


def decided(sched, node=1):
    return sched.decide(REQUEST, [node], now=1.0)


def test_a_token_does_where_it_was_made_what_the_id_does(model):
    by_id, by_token = (new(model, ledger=LEDGER) for _ in range(2))
    for sched, name in ((by_id, lambda d: d.id), (by_token, by_token.token)):
        decision = decided(sched)
        sched.observe(name(decision), OK, now=2.0)
        with pytest.raises(DuplicateOutcomeError):
            sched.observe(name(decision), OK, now=2.0)
    np.testing.assert_array_equal(features(by_id), features(by_token))
    assert by_token.fleet.get(1).reserved == 0.0
    assert by_token.counters()["outcomes"] == 1


def test_another_process_learns_once_and_reserves_and_releases_nothing(model):
    decider, other, alone = (new(model, ledger=LEDGER, seed=i) for i in range(3))
    other.state.log.begin_ids(10**6)
    mine, theirs = decided(decider), decided(other)
    token = decider.token(mine)
    other.observe(token, OK, now=2.0)
    with pytest.raises(DuplicateOutcomeError, match=f"decision {mine.id}"):
        other.observe(token, OK, now=2.0)
    decided(alone)
    alone.observe(0, OK, now=2.0)
    np.testing.assert_array_equal(features(other), features(alone))
    assert other.fleet.get(1).reserved == 500.0
    assert decider.fleet.get(1).reserved == 500.0
    assert (other.counters()["outcomes"], other.counters()["learned"]) == (0, 1)
    with pytest.raises(UnknownDecisionError, match="another scheduler"):
        other.observe(mine.id, OK, now=2.0)
    other.observe(theirs.id, OK, now=2.0)


def test_the_reservation_of_a_decider_ends_by_itself(model):
    decider = new(model, ledger=LEDGER)
    decider.token(decided(decider))
    decider.decide({"client_id": 17}, ["box"], now=62.0)
    assert decider.fleet.get(1).reserved == 0.0


def test_a_slate_of_several_nodes_needs_the_node_and_alternatives_may_answer(model):
    decider = new(model, ledger=LEDGER, policy=Policy(max_nodes=2, alternatives=1))
    other = Scheduler(decider.model)
    decision = decider.decide({"client_id": 17, "kbps": 4_500.0}, [1, 2, 3], now=1.0)
    assert len(decision.nodes) == 2
    token, spare = decider.token(decision.id), next(iter(decision.alternatives))
    with pytest.raises(InputError, match="expected which node of its slate"):
        other.observe(token, OK, now=2.0)
    with pytest.raises(UnknownDecisionError, match="expected a node of its slate, found 'nobody'"):
        other.observe(token, OK, now=2.0, node="nobody")
    for node in (*decision.nodes, spare):
        other.observe(token, OK, now=2.0, node=node)
    assert other.counters()["learned"] == 3


def test_a_token_outlives_the_restart_of_who_made_it(model, tmp_path):
    sched = new(model, ledger=LEDGER)
    sched.save(tmp_path)
    after = decided(sched)
    token = sched.token(after)
    twin = Scheduler.restore(tmp_path, sched.model)
    twin.observe(token, OK, now=2.0)
    assert twin.counters()["learned"] == 1


def test_a_restart_does_not_learn_twice_from_the_same_token(model, tmp_path):
    decider, other = new(model), new(model)
    other.state.log.begin_ids(10**6)
    token = decider.token(decided(decider))
    other.observe(token, OK, now=2.0)
    other.save(tmp_path)
    with pytest.raises(DuplicateOutcomeError):
        Scheduler.restore(tmp_path, model).observe(token, OK, now=3.0)


def test_what_is_no_token_of_this_fingerprint_is_refused_and_changes_nothing(model):
    sched = new(model, ledger=LEDGER, token_key=KEY)
    token = sched.token(decided(sched))
    strangers = {
        "": "at least",
        "x": "",
        "!" * 8: "letters, digits",
        token[:-4]: "bytes",
        token[:10] + ("A" if token[10] != "A" else "B") + token[11:]: "",
        token + "AAAA": "bytes",
    }
    before = features(sched)
    for text, expected in strangers.items():
        with pytest.raises(InputError, match=f"token: expected.*{expected}"):
            sched.observe(text, OK, now=2.0)
    unsigned = new(model, ledger=LEDGER)
    with pytest.raises(InputError, match="bytes"):
        unsigned.observe(token, OK, now=2.0)
    with pytest.raises(InputError, match="token"):
        sched.observe(unsigned.token(decided(unsigned)), OK, now=2.0)
    np.testing.assert_array_equal(features(sched), before)


def test_a_token_signed_with_another_key_is_refused(model):
    first, second = new(model, token_key=KEY), new(model, token_key=KEY[::-1])
    with pytest.raises(InputError, match="signed with token_key"):
        second.observe(first.token(decided(first)), OK, now=2.0)


@pytest.mark.parametrize(
    "changed",
    [
        lambda t: t._replace(request_keys=t.request_keys[:0]),
        lambda t: t._replace(request_keys=np.repeat(t.request_keys, 9)),
        lambda t: t._replace(node_keys=t.node_keys[:, :1]),
        lambda t: t._replace(node_keys=t.node_keys[:0], held=t.held[:0]),
        lambda t: t._replace(length=0),
        lambda t: t._replace(length=2),
        lambda t: t._replace(id=-1),
    ],
)
def test_a_token_of_other_sizes_than_a_decision_has_is_refused_and_changes_nothing(model, changed):
    """Without a key anybody can write one."""
    sched, other = new(model), new(model, seed=1)
    token = read_token(other.token(decided(other)), None)
    before = state(sched)
    for node in (None, 1, "nobody"):
        with pytest.raises(InputError, match="token: expected"):
            sched.observe(write_token(changed(token), None), OK, now=2.0, node=node)
    assert same(before, state(sched))


@pytest.mark.parametrize("key", [b"short", "a text of sixteen", 5])
def test_a_key_that_is_none_is_refused_without_being_shown(model, key):
    with pytest.raises(InputError, match="token_key: expected at least 16 bytes") as raised:
        new(model, token_key=key)
    assert "short" not in str(raised.value)


def test_no_token_for_what_has_no_outcome(model):
    sched = new(model)
    with pytest.raises(UnknownDecisionError):
        sched.token(12_345)
    with pytest.raises(UnknownDecisionError, match="origin"):
        sched.token(sched.decide({"client_id": 17}, now=1.0, exclude=IDS))


words = st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=2)


slates = st.lists(words, min_size=1, max_size=3)


@given(words, slates, st.integers(0, 2**63 - 1), st.floats(0, 1e9), st.none() | st.just(KEY))
def test_a_token_comes_back_as_it_was(request_keys, node_keys, id_, time, key):
    token = Token(
        "0123456789abcdef", id_, 7, time, 1, np.array(request_keys, np.uint64), np.array(node_keys, np.uint64),
        np.full(len(node_keys), 2.5),
    )  # fmt: skip
    found = read_token(write_token(token, key), key)
    assert found[:5] == token[:5]
    for a, b in zip(found[5:], token[5:], strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_was_measured_elsewhere_teaches_as_an_outcome_does(model):
    told, learned = new(model), new(model)
    decision = decided(told)
    told.observe(decision.id, OK, now=2.0)
    learned.learn(REQUEST, 1, OK, now=2.0)
    np.testing.assert_array_equal(features(told), features(learned))
    assert learned.counters()["learned"] == 1


def test_many_outcomes_warm_a_scheduler_before_its_nodes_come(model):
    seen, warm = new(model), Scheduler(model)
    rng = np.random.default_rng(0)
    n = 200
    clients, nodes = rng.choice([17, 18], n).tolist(), [IDS[i] for i in rng.integers(0, 3, n)]
    outcomes = {"ok": [True] * n, "rtt_ms": rng.uniform(5, 50, n)}
    times = np.sort(rng.uniform(0, 8, n))
    for i in range(n):
        seen.learn({"client_id": clients[i]}, nodes[i], {"ok": True, "rtt_ms": outcomes["rtt_ms"][i]}, now=times[i])
    warm.learn_batch({"client_id": clients}, nodes, outcomes, now=times)
    warm.fleet.upsert(IDS)
    read = {"node_mean", "pair_failed", "node_count", "client_mean"}
    keys = [i for i, name in enumerate(model.features.names) if name in read]
    np.testing.assert_array_equal(features(seen)[:, :3, keys], features(warm)[:, :3, keys])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.learn({"client_id": 1}, None, OK, now=1.0), "expected ids, found a missing one"),
        (lambda s: s.learn({}, 1, OK, now=1.0), "expected the client's id"),
        (lambda s: s.learn({"client_id": 1}, 1, {"ok": "yes"}, now=1.0), "outcome ok"),
        (lambda s: s.learn({"client_id": 1}, 1, OK, now=float("nan")), "now"),
        (lambda s: s.learn_batch({"client_id": [1]}, [1, 2], {"ok": [False] * 2}, now=1.0), "nodes: expected 1"),
    ],
)
def test_wrong_lessons_are_named_and_change_nothing(model, call, message):
    sched = new(model)
    with pytest.raises(InputError, match=message):
        call(sched)
    assert sched.counters()["learned"] == sched.counters()["history_entries"] == 0

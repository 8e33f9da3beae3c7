"""Nodes and categories that a request does not want, against brute force."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from scheduler import InputError, Scheduler
from scheduler.spec import Candidates, Tier
from tests import models, schedulers
from tests.schedulers import COLUMNS, IDS, same, state

ISP = dict(zip(IDS, COLUMNS["isp"], strict=True))
CARRIER = Tier(name="carrier", match={"isp": "isp"}, limit=8)
ANY = Tier(name="any")


def unwanted(id_, exclude, isps):
    return id_ in exclude or (ISP[id_] is not None and ISP[id_] in isps)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    exclude=st.lists(st.sampled_from([*IDS, 99, "gone"]), max_size=4),
    isps=st.lists(st.sampled_from([7, 8, "7", "mobile", "none"]), max_size=3),
    demand=st.sampled_from([0.0, 1_500.0]),
)
def test_what_a_request_does_not_want_is_no_candidate(model, exclude, isps, demand):
    wanted = [id_ for id_ in IDS if not unwanted(id_, exclude, isps)]
    request = {"client_id": 17, "kbps": demand}
    free, read_blocklist = schedulers.new(model), schedulers.new(model)
    d = read_blocklist.decide(request, IDS, now=0.0, exclude=exclude, block={"isp": isps})
    expected = free.decide(request, wanted, now=0.0)
    assert (d.nodes, d.scores) == (expected.nodes, expected.scores)
    dropped = {"blocked": len(IDS) - len(wanted)} if len(wanted) < len(IDS) else {}
    assert d.dropped == dropped
    assert d.reason == (expected.reason if wanted else "origin:all_dropped")


def test_a_batch_blocks_row_by_row(model):
    exclude = [[1, 2], None, ["box"], np.array([3, 1]), []]
    isps = [None, [7], ["mobile", 8], [], [7, 8, "mobile"]]
    n, kbps = len(exclude), [100.0] * len(exclude)
    batch, single = schedulers.new(model), schedulers.new(model)
    together = batch.decide_batch(
        {"client_id": [17] * n, "kbps": kbps}, [IDS] * n, now=0.0, exclude=exclude, block={"isp": isps}
    )
    alone = [
        single.decide({"client_id": 17, "kbps": 100.0}, IDS, now=0.0, exclude=e, block={"isp": i or []})
        for e, i in zip(exclude, isps, strict=True)
    ]
    assert [together.one(i) for i in range(n)] == alone
    assert same(state(batch), state(single))


def test_another_filter_that_holds_too_counts_first(sched):
    sched.fleet.quarantine([1], until=10.0)
    assert sched.decide({"client_id": 17}, [1, 2], now=0.0, exclude=[1, 2]).dropped == {"quarantined": 1, "blocked": 1}


def crowd(model, limit, *tiers):
    """A scheduler of 60 nodes of three carriers, whose client is of the first."""
    sched = Scheduler(models.changed(model, candidates=Candidates(limit=limit, tiers=tiers)))
    sched.fleet.upsert(range(60), {"isp": [i % 3 for i in range(60)]})
    sched.clients.upsert([17], {"isp": [0]})
    return sched


def test_a_blocked_carrier_leaves_its_tier_to_the_others(model):
    """With its tier, all eight candidates would be of the blocked carrier."""
    sched = crowd(model, 8, CARRIER, Tier(name="any", limit=8))
    for _ in range(50):
        d = sched.decide({"client_id": 17}, now=0.0, block={"isp": [0]})
        assert d.nodes
        assert d.nodes[0] % 3 != 0
        assert d.dropped.get("blocked", 0) < 8


def test_a_retry_finds_another_node_without_naming_candidates(model):
    sched = crowd(model, 8, CARRIER, ANY)
    tried = []
    for _ in range(6):
        (node,) = sched.decide({"client_id": 17}, now=0.0, exclude=tried).nodes
        assert node not in tried
        tried.append(node)


WRONG = {
    "a text": {"exclude": "box"},
    "one id": {"exclude": 1},
    "a fraction": {"exclude": [1.5]},
    "no mapping": {"block": ["isp"]},
    "an unknown column": {"block": {"color": [1]}},
    "a number column": {"block": {"load": [1]}},
    "one value": {"block": {"isp": 7}},
    "a list in a list": {"block": {"isp": [[7]]}},
}


@pytest.mark.parametrize("told", WRONG.values(), ids=WRONG)
def test_what_cannot_be_blocked_is_refused_and_changes_nothing(sched, told):
    before = state(sched)
    with pytest.raises(InputError, match="expected"):
        sched.decide({"client_id": 17}, IDS, now=0.0, **told)
    assert same(before, state(sched))


@pytest.mark.parametrize("told", [{"exclude": [[1]]}, {"exclude": 1}, {"block": {"isp": [[7]] * 3}}, {"block": 3}])
def test_a_batch_needs_a_row_for_each_request(sched, told):
    before = state(sched)
    with pytest.raises(InputError, match="expected"):
        sched.decide_batch({"client_id": [17, 17]}, [IDS] * 2, now=0.0, **told)
    assert same(before, state(sched))


def test_missing_values_block_nothing(sched):
    d = sched.decide({"client_id": 17}, IDS, now=0.0, exclude=[None, math.nan], block={"isp": [None]})
    assert d.dropped == {}

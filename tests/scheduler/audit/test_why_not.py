"""Why not: every stage at which a node can fall out."""

import dataclasses

import msgspec
import numpy as np
import pytest

from scheduler import InputError, Model, UnknownNodeError
from scheduler.audit.explain import explain
from scheduler.audit.what_if import what_if
from scheduler.audit.why_not import STAGES, why_not
from scheduler.decisions.arrays import DROPS
from scheduler.spec import Policy, Utility
from tests import models
from tests.scheduler.audit.test_explain import HEADS, REQUESTS, after_outcomes, recorded
from tests.schedulers import IDS, LEDGER, new


def test_a_node_that_is_no_candidate(model):
    sched = new(model)
    assert sched.why_not({"client_id": 17}, "nobody", now=0.0).headline == "nobody: the fleet does not know it"
    found = sched.why_not({"client_id": 17}, 3, [1, 2], now=0.0)
    assert (found.stage, found.headline) == ("not_found", "3: retrieval did not find it among the 2 candidates")
    assert why_not(*recorded(sched, {"client_id": 17}, [[1, 2]]), 3).stage == "not_a_candidate"


def test_each_filter_is_named(model):
    sched = new(model, ledger=LEDGER)
    request = {"client_id": 17, "kbps": 1_000}
    sched.fleet.heartbeat([1], alive_until=1.0)
    sched.fleet.quarantine([2], until=99.0)
    full = sched.decide(request, ["1"], now=2.0)
    assert full.nodes == ("1",)
    stages = {node: sched.why_not(request, node, IDS, now=2.0, exclude=[3]).stage for node in IDS}
    assert stages == {1: "silent", 2: "quarantined", "1": "full", 3: "blocked", "box": "serves"}
    assert set(DROPS) <= set(STAGES)


def test_a_node_that_lost_is_told_by_how_much_and_through_what(model):
    sched = after_outcomes(new(model))
    found = sched.why_not(REQUESTS[0], 3, IDS, now=5.0)
    assert found.stage == "lost"
    assert found.headline.startswith(f"3 lost to {found.against.chosen} by ")
    assert (found.against.other, len(found.against.parts) > 0) == (3, True)
    assert msgspec.json.decode(msgspec.json.encode(found.to_json()))["against"]["other"] == 3


def test_a_node_that_cannot_begin_a_slate_or_has_no_utility(model):
    sched = new(model, ledger=LEDGER, utility=Utility(heads=HEADS, price_weight=-7.0, price="price"))
    found = sched.why_not({"client_id": 17, "kbps": 4_500}, 3, IDS, now=0.0)
    assert found.headline == "3: no slate that begins with it covers 4,500 kbit/s; it has 3,000 kbit/s free"
    assert sched.why_not({"client_id": 17, "kbps": 90_000}, 3, IDS, now=0.0).stage == "not_covering"
    sched.fleet.upsert(["free"], {"isp": [7]})
    assert sched.why_not({"client_id": 17}, "free", [1, "free"], now=0.0).stage == "lacks_utility"


def test_a_spread_limit_is_named(model):
    sched = new(model, ledger=LEDGER, policy=Policy(max_nodes=3, spread={"isp": 1}))
    request, nodes = {"client_id": 17, "kbps": 9_500}, [1, 2, "box", "1"]
    found = sched.explain(request, nodes, now=0.0)
    stages = {node: sched.why_not(request, node, nodes, now=0.0) for node in nodes}
    kept_out = [one for one in stages.values() if one.stage == "spread"]
    assert len(kept_out) == found.dropped.get("spread", 0) > 0
    assert kept_out[0].headline.endswith("kept it out of the slate, whose nodes have the same isp")


def test_an_alternative_and_a_node_over_which_the_draw_went(model):
    sched = new(model, policy=Policy(alternatives=1))
    made = sched.decide({"client_id": 17}, IDS, now=0.0)
    (spare,) = made.alternatives
    assert sched.why_not({"client_id": 17}, spare, IDS, now=0.0).headline == (
        f"{spare} is alternative 1, to be asked if the slate's nodes refuse"
    )
    sched = new(model, policy=Policy(explore="epsilon", epsilon=1.0))
    for _ in range(50):
        found = sched.explain({"client_id": 17}, IDS, now=0.0)
        if found.reason == "explored":
            break
        sched.decide({"client_id": 17}, IDS, now=0.0)
    assert sched.why_not({"client_id": 17}, found.other, IDS, now=0.0).stage == "drawn_over"


def test_what_if_nothing_changes(model):
    record, model = recorded(after_outcomes(new(model)), REQUESTS[0], now=5.0)
    found = what_if(record, model)
    assert not found.changed
    assert found.before == found.after
    assert found.sentences == (f"no change: {found.after.slate[0]} as before",)


def test_what_if_the_policy_weights_or_the_version_were_others(model, tmp_path):
    record, model = recorded(after_outcomes(new(model)), REQUESTS[0], now=5.0)
    spec = msgspec.structs.replace(model.spec, utility=Utility(heads={"failure": 1_000.0}))
    found = what_if(record, model, spec=spec)
    assert found.changed
    values = record.values[:, 0]
    assert found.after.slate == (record.nodes[int(np.nanargmax(values))],)
    assert found.headline == f"{found.after.slate[0]} in place of {found.before.slate[0]}"
    other = Model.load(models.write_small(tmp_path / "other", seed=2))
    found = what_if(record, model, other=dataclasses.replace(other, version="2"))
    assert found.after.model == f"{model.name}-2"
    assert found.after.utility != found.before.utility


def test_what_if_a_node_were_another(model):
    record, model = recorded(after_outcomes(new(model)), REQUESTS[0], now=5.0)
    other = explain(record, model).other
    found = what_if(record, model, changes={other: {"load": 0.1, "node_isp": "mobile", "km": None, "same_isp": True}})
    assert found.before.utility[other] != found.after.utility[other]
    others = [node for node in record.nodes if node != other]
    assert all(found.before.utility[node] == found.after.utility[node] for node in others)


def test_what_if_refuses_what_it_cannot_answer(model, tmp_path):
    record, model = recorded(after_outcomes(new(model)), REQUESTS[0], [[1, 2, 3]], now=5.0)
    for changes, message in (
        ({2: {"lode": 1.0}}, r"^changes: expected a feature .*, found 'lode'; nearest are load, \w+, \w+$"),
        ({2: {"kbps": 1.0}}, "found 'kbps'"),
        ({2: {"node_isp": "unheard of"}}, "expected a category of node_isp that the model knows"),
        ({2: {"load": "much"}}, "expected a number for load"),
    ):
        with pytest.raises(InputError, match=message):
            what_if(record, model, changes=changes)
    with pytest.raises(UnknownNodeError, match="expected a candidate that no filter dropped, found 'box'"):
        what_if(record, model, changes={"box": {"load": 0.0}})
    other = Model.load(models.write_small(tmp_path / "extended", models.EXTENDED))
    with pytest.raises(InputError, match="other: expected the fingerprint of"):
        what_if(record, model, other=other)
    ucb = msgspec.structs.replace(model.spec, policy=Policy(explore="ucb", uncertainty_scale=1.0))
    with pytest.raises(InputError, match="needs counts of outcomes"):
        what_if(record, model, spec=ucb)

"""Recorded decisions come out the same when they are made again, and what was changed in a record is found."""

import dataclasses
import json

import msgspec
import numpy as np
import pytest

from scheduler import Model
from scheduler.audit.batches import recorded_of
from scheduler.audit.compare import FIELDS, differences
from scheduler.audit.redecide import Redecider
from scheduler.audit.replay import replay
from scheduler.decisions.record.columns import joined
from scheduler.decisions.record.folder import segment_paths
from scheduler.decisions.record.read import read_segments
from scheduler.decisions.record.segment import MANIFEST
from scheduler.errors import RecordError
from scheduler.spec import Policy, Profile, Utility
from tests import models
from tests.schedulers import IDS, LEDGER, OK, new

NEVER = 1e5

POLICIES = {
    "none": Policy(),
    "epsilon": Policy(explore="epsilon", epsilon=0.5, max_nodes=2, alternatives=2),
    "softmax": Policy(explore="softmax", temperature=50.0, max_utility_loss=500.0),
    "inverse_gap": Policy(explore="inverse_gap", temperature=50.0, budget=0.2),
    "ucb": Policy(explore="ucb", uncertainty_scale=30.0, uncertainty="count", count_key="node"),
    "thompson": Policy(
        explore="thompson", uncertainty_scale=30.0, uncertainty="count", count_key="pair", alternatives=1
    ),
    "leaves": Policy(explore="thompson", uncertainty_scale=1.0, uncertainty="leaves", count_key="node"),
    "newcomers": Policy(explore="epsilon", epsilon=0.2, newcomer_share=0.3, newcomer_below=4, newcomer_key="node"),
    "spread": Policy(explore="epsilon", epsilon=0.3, max_nodes=3, spread={"isp": 1}),
}


def request_of(i):
    return {
        "client_id": [17, "tv", 99][i % 3],
        "kind": ["live", "bulk", "film", None][i % 4],
        "kbps": [0.0, 700.0, 2500.0, 6000.0, None][i % 5],
    }


def serve(sched, n, first=0):
    """Decide and observe, with silent, quarantined, blocked and excluded nodes among the candidates."""
    for i in range(first, first + n):
        if i == first:
            sched.fleet.heartbeat(["1"], alive_until=first + n / 2)
            sched.fleet.quarantine([2], until=first + n / 3)
        more = [{}, {"exclude": [1]}, {"block": {"isp": ["mobile"]}}][i % 7 % 3]
        candidates = None if i % 2 else IDS[: 1 + i % 5]
        decision = sched.decide(request_of(i), candidates, now=float(i), **more)
        for node in decision.nodes if i % 3 else ():
            sched.observe(decision.id, OK | {"rtt_ms": 10.0 + i % 13}, now=i + 0.5, node=node)
        if i % 20 == 19:
            sched.recorder.flush()  # few decisions in full wait at once


def recorded(model, folder, policy, **parts):
    sched = new(model, seed=4, policy=policy, ledger=LEDGER, **parts)
    sched.record(folder, every=NEVER, full=1.0)
    return sched


@pytest.mark.parametrize("name", POLICIES)
def test_every_decision_comes_out_the_same(model, tmp_path, name):
    sched = recorded(model, tmp_path, POLICIES[name])
    serve(sched, 120)
    batch = {"client_id": [17, "tv", 99], "kbps": [10.0, 700.0, 4000.0]}
    sched.decide_batch(batch, [[1, 2, None], [3, "box", 1], [2, 3, None]], now=200.0)
    sched.recorder.stop()
    report = replay(tmp_path, [model])
    assert report.differences == []
    assert report.decided == report.identical == 123
    assert report.is_identical


@pytest.mark.slow
def test_it_goes_on_over_changes_of_policy_and_model(model, tmp_path_factory, tmp_path):
    other = Model.load(models.write_small(tmp_path_factory.mktemp("other") / "small", seed=2))
    sched = recorded(model, tmp_path, POLICIES["epsilon"])
    spec = sched.model.spec
    for k in range(6):
        weights = Utility(
            heads={"latency": -1.0 - k, "failure": -500.0},
            load=-3.0 * k,
            profiles=(Profile(when={"kind": "live"}, heads={"failure": -9.0}),),
        )
        sched.set_policy(msgspec.structs.replace(sched.model.spec, utility=weights))
        serve(sched, 15, first=40 * k)
        sched.swap([other, model][k % 2], msgspec.structs.replace(spec, utility=weights))
        serve(sched, 15, first=40 * k + 20)
    sched.recorder.stop()
    report = replay(tmp_path, [model, other])
    assert report.is_identical
    assert report.decided == 180
    assert len(report.arms) > 6
    alone = replay(tmp_path, [model])
    assert alone.decided == alone.identical < 180
    assert alone.decided + sum(alone.skipped.values()) == 180
    assert all("no model" in reason and other.version in reason for reason in alone.skipped)
    assert not alone.is_identical


def test_a_replay_of_nothing_is_not_identical(model, tmp_path):
    recorded(model, tmp_path, POLICIES["epsilon"]).recorder.stop()
    report = replay(tmp_path, [model])
    assert (report.decided, report.is_identical) == (0, False)


def batch_of(model, tmp_path, policy="thompson"):
    sched = recorded(model, tmp_path, POLICIES[policy])
    serve(sched, 40)
    sched.recorder.stop()
    segment = next(read_segments(tmp_path))
    columns = joined(list(segment.batches("full")))
    decider = Redecider(sched.model)
    return recorded_of(columns, segment.manifest.seed, sched.model), decider


CHANGED = {
    "raw": lambda r: r.arrays.raw,
    "values": lambda r: r.arrays.values,
    "profile": lambda r: r.arrays.profile,
    "utility": lambda r: r.arrays.utility,
    "uncertainty": lambda r: r.arrays.uncertainty,
    "is_new": lambda r: r.arrays.is_new,
    "draw": lambda r: r.arrays.draw,
    "pick": lambda r: r.position[:, 0],
    "propensity": lambda r: r.propensity,
    "reason": lambda r: r.reason,
    "dropped": lambda r: r.dropped,
    "alternatives": lambda r: r.position[:, 1],
}


@pytest.mark.parametrize("field", CHANGED)
def test_the_first_field_that_differs_is_named(model, tmp_path, field):
    recorded_, decider = batch_of(model, tmp_path)
    replayed = decider.decide(recorded_.arrays)
    arrays = recorded_.arrays._replace(
        **{
            f: getattr(recorded_.arrays, f).copy()
            for f in ("raw", "values", "profile", "utility", "uncertainty", "is_new", "draw")
        }
    )
    parts = {name: getattr(recorded_, name).copy() for name in ("position", "propensity", "reason", "dropped")}
    changed = recorded_._replace(arrays=arrays, **parts)
    of = CHANGED[field](changed)
    is_single = len(of) == len(recorded_.propensity)
    scored = np.flatnonzero(~np.isnan(recorded_.arrays.utility))
    at = 3 if is_single else int(scored[20])
    if of.dtype.kind == "f":
        of[at] = np.nextafter(of[at], np.inf)
    else:
        of[at] = 1 - of[at] if of.dtype == np.bool_ else of[at] + 1
    found = differences(changed, replayed, decider.model.spec.policy.max_nodes)
    owner = at if is_single else int(np.searchsorted(recorded_.arrays.starts, at, side="right") - 1)
    assert [(one.decision, one.field) for one in found] == [(int(recorded_.arrays.id[owner]), field)]
    assert found[0].expected != found[0].found
    assert set(CHANGED) | {"slate"} == set(FIELDS)


@pytest.mark.parametrize("name", ["x_pair", "n_outcomes", "free", "explores"])
def test_another_input_gives_another_decision(model, tmp_path, name):
    recorded_, decider = batch_of(model, tmp_path)
    value = getattr(recorded_.arrays, name)
    other = ~value if value.dtype == np.bool_ else value + 1.0 if name != "free" else value * 0.0
    replayed = decider.decide(recorded_.arrays._replace(**{name: other}))
    assert differences(recorded_, replayed, 1)


def test_another_version_of_the_policy_gives_other_decisions(model, tmp_path):
    sched = recorded(model, tmp_path, POLICIES["epsilon"])
    serve(sched, 60)
    sched.recorder.stop()
    manifest = segment_paths(tmp_path)[0] / MANIFEST
    told = json.loads(manifest.read_text())
    spec = json.loads(told["arms"][0]["spec"])
    spec["utility"]["heads"]["latency"] = -7.0
    told["arms"][0]["spec"] = json.dumps(spec)
    manifest.write_text(json.dumps(told))
    report = replay(tmp_path, [model])
    assert report.decided == 60 > report.identical
    assert {one.field for one in report.differences} == {"utility"}


def test_a_model_that_only_claims_to_be_the_same_is_found_out(model, tmp_path, tmp_path_factory):
    sched = recorded(model, tmp_path, POLICIES["none"])
    serve(sched, 20)
    sched.recorder.stop()
    other = Model.load(models.write_small(tmp_path_factory.mktemp("other") / "small", seed=2))
    report = replay(tmp_path, [dataclasses.replace(other, version=model.version)])
    assert report.identical < report.decided
    assert report.differences[0].field == "raw"


def test_torn_rows_and_unknown_arms_are_counted(model, tmp_path):
    sched = recorded(model, tmp_path, POLICIES["none"])
    serve(sched, 10)
    sched.recorder.flush()
    serve(sched, 5, first=20)
    sched.recorder.stop()
    segment = segment_paths(tmp_path)[0]
    file = segment / "full.arrows"
    data = bytearray(file.read_bytes())
    data[-200] ^= 1
    file.write_bytes(data)
    report = replay(tmp_path, [model])
    assert report.decided == report.identical == 10
    assert list(report.skipped.values()) == [5]
    told = json.loads((segment / MANIFEST).read_text())
    (segment / MANIFEST).write_text(json.dumps(told | {"arms": []}))
    assert sum(replay(tmp_path, [model]).skipped.values()) == 15


def test_without_a_folder_it_says_so(model, tmp_path):
    with pytest.raises(RecordError, match="folder of records"):
        replay(tmp_path / "nowhere", [model])

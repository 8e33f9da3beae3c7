"""Utility, policy, candidates and ledger change without training: a scheduler takes another spec of the same rows."""

import msgspec
import pytest

from scheduler import InputError, Scheduler
from scheduler.spec import Candidates, Ledger, Policy, Utility, parse_spec
from tests import models
from tests.models import SPEC
from tests.schedulers import COLUMNS, IDS

REQUEST = {"client_id": 17, "kind": "vod", "kbps": 1_000.0, "isp": 7}
OTHER = (
    SPEC.replace("heads = { latency = -1.0, failure = -1_000.0 }", "heads = { latency = 1.0 }")
    .replace("limit = 24", "limit = 3")
    .replace("limit = 8\n", "limit = 3\n")
    .replace("limit = 16\n", "limit = 3\n")
    + '\n[policy]\nmax_nodes = 2\n[ledger]\ncapacity = "uplink"\ndemand = "kbps"\n'
)


def fleet(sched):
    sched.fleet.upsert(IDS, COLUMNS)
    return sched


def test_the_other_specs_utility_decides(model):
    own, other = fleet(Scheduler(model)), fleet(Scheduler(model, parse_spec(OTHER)))
    heads = own.score({name: [value] for name, value in REQUEST.items()}, [IDS], now=0.0)
    scores = (heads["latency"] * (1 - heads["failure"]))[0]
    first = other.decide(REQUEST, IDS, now=0.0)
    assert first.nodes[0] == IDS[scores.argmax()]  # the slowest: the weight has turned round
    assert own.decide(REQUEST, IDS, now=0.0).nodes[0] != first.nodes[0]
    assert first.model_version == model.version


def test_ledger_slate_and_candidates_are_the_other_specs_too(model):
    sched = fleet(Scheduler(model, spec=parse_spec(OTHER)))
    assert sched.decide({**REQUEST, "kbps": 5_000.0}, now=0.0).nodes  # found by the tiers
    assert len(sched.decide({**REQUEST, "kbps": 6_000.0}, IDS, now=0.0).nodes) == 2
    batch = {name: [value] * 2 for name, value in REQUEST.items()}
    assert sched.decide_batch(batch, now=0.0).position.shape == (2, 2)
    assert sched.fleet.arrays.reserved.sum() > 0
    assert sched.model.spec.candidates.limit == 3


def test_the_model_given_stays_as_it_is(model):
    spec = model.spec
    Scheduler(model, parse_spec(OTHER))
    assert model.spec is spec


def test_the_models_own_spec_changes_nothing(model):
    one, two = fleet(Scheduler(model, first_id=0)), fleet(Scheduler(model, model.spec, first_id=0))
    assert one.decide(REQUEST, IDS, now=0.0) == two.decide(REQUEST, IDS, now=0.0)


def test_a_spec_of_other_rows_is_refused(model):
    other = parse_spec(SPEC.replace('half_lives = ["1m", "1h"]', 'half_lives = ["1m", "1h", "2h"]'))
    with pytest.raises(InputError) as caught:
        Scheduler(model, other)
    expected, found = model.spec.fingerprint(), other.fingerprint()
    assert str(caught.value) == (
        f"spec small: expected the fingerprint of small-{model.version}, {expected}, found {found}"
    )


@pytest.mark.parametrize("spec", ["small", {}, 0])
def test_what_is_no_spec_is_refused(model, spec):
    with pytest.raises(InputError, match=r"^spec: expected a Spec, as load_spec returns, found "):
        Scheduler(model, spec)


def without_ok(model):
    telemetry = models.spec().telemetry
    return models.changed(model, telemetry=type(telemetry)(client="client_id", node="node_id", slice=telemetry.slice))


def test_where_telemetry_has_no_ok_an_outcome_needs_none(model):
    sched = fleet(Scheduler(without_ok(model)))
    one, two, three = (sched.decide(REQUEST, IDS, now=0.0).id for _ in range(3))
    sched.observe(one, {"rtt_ms": 30.0}, now=0.1)
    sched.observe(two, {"ok": True, "rtt_ms": 30.0}, now=0.1)
    with pytest.raises(InputError, match="expected 'rtt_ms' where ok is true, found none"):
        sched.observe(three, {"speed": 1.0}, now=0.1)
    assert sched.counters()["outcomes"] == 2


def test_where_telemetry_has_ok_an_outcome_needs_it(model):
    sched = fleet(Scheduler(model))
    with pytest.raises(InputError, match="outcome: expected ok, found only rtt_ms"):
        sched.observe(sched.decide(REQUEST, IDS, now=0.0).id, {"rtt_ms": 30.0}, now=0.1)


@pytest.mark.parametrize("limit", [2, 4, 300])
def test_a_tier_without_a_limit_may_fill_all_places(model, limit):
    whole = parse_spec(SPEC[: SPEC.index("[candidates]")] + f"[candidates]\nlimit = {limit}\n")
    sched = fleet(Scheduler(model, whole))
    batch = sched.decide_batch({name: [value] for name, value in REQUEST.items()}, now=0.0)
    assert sched.model.spec.candidates.tiers[0].limit is None
    assert batch.nodes[0, 0] in IDS


NEAR_FIRST = """[candidates]
limit = 5
[[candidates.tiers]]
name = "near"
match = { isp = "isp" }
limit = 1
[[candidates.tiers]]
name = "any"
"""


def test_a_tier_without_a_limit_takes_what_earlier_tiers_have_left(model):
    sched = fleet(Scheduler(model, parse_spec(SPEC[: SPEC.index("[candidates]")] + NEAR_FIRST)))
    assert sched.decide(REQUEST, now=0.0).nodes == sched.decide(REQUEST, IDS, now=0.0).nodes


def respec(model, **parts):
    return msgspec.structs.replace(model.spec, **parts)


def test_a_running_scheduler_takes_other_weights_and_keeps_its_state(model):
    sched = fleet(Scheduler(models.changed(model, ledger=Ledger(capacity="uplink", demand="kbps"))))
    before = sched.decide(REQUEST, IDS, now=0.0)
    reserved = sched.fleet.arrays.reserved.copy()
    turned = Utility(heads={name: -weight for name, weight in sched.model.spec.utility.heads.items()})
    sched.set_policy(respec(sched.model, utility=turned))
    assert sched.fleet.arrays.reserved.tolist() == reserved.tolist()
    after = sched.decide(REQUEST, IDS, now=0.0)
    assert after.nodes != before.nodes
    values = sched.score({name: [value] for name, value in REQUEST.items()}, [list(after.nodes)], now=0.0)
    failure, latency = values["failure"][0, 0], values["latency"][0, 0]
    assert after.scores[0]["utility"] == pytest.approx(1_000 * failure + (1 - failure) * latency)
    sched.observe(before.id, {"ok": False}, now=1.0)
    assert sched.counters()["outcomes"] == 1


def test_exploration_can_be_turned_on_and_off(model):
    sched = fleet(Scheduler(model))
    sched.set_policy(respec(model, policy=Policy(explore="epsilon", epsilon=1.0)))
    assert sched.decide(REQUEST, IDS, now=0.0).propensity == pytest.approx(1 / len(IDS))
    sched.set_policy(model.spec)
    assert sched.decide(REQUEST, IDS, now=0.0).propensity == 1.0


def test_spread_limits_can_be_turned_on(model):
    start = models.changed(model, ledger=Ledger(capacity="uplink", demand="kbps"), policy=Policy(max_nodes=5))
    sched = fleet(Scheduler(start))
    assert sched.decide({**REQUEST, "kbps": 12_000.0}, IDS, now=0.0).nodes
    sched = fleet(Scheduler(start))
    sched.decide({"client_id": 17}, IDS, now=0.0)
    sched.set_policy(respec(start, policy=Policy(max_nodes=5, spread={"isp": 1})))
    d = sched.decide({**REQUEST, "kbps": 14_000.0}, IDS, now=0.0)
    assert (d.nodes, d.reason) == ((), "origin:no_uplink")
    assert d.dropped["spread"] > 0


STRANGE = {
    "slates": {"policy": Policy(max_nodes=2)},
    "alternatives": {"policy": Policy(alternatives=1)},
    "candidates": {"candidates": Candidates(limit=3)},
    "ledger": {"ledger": Ledger(capacity="uplink", demand="kbps")},
    "fingerprint": {"features": {}},
}


@pytest.mark.parametrize("parts", STRANGE.values(), ids=STRANGE)
def test_a_running_scheduler_refuses_what_it_is_not_laid_out_for(model, parts):
    sched = fleet(Scheduler(model))
    before = sched.model
    with pytest.raises(InputError, match="expected"):
        sched.set_policy(respec(model, **parts))
    assert sched.model is before

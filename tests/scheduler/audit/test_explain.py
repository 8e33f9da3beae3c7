"""Explanations: exact, of every kind of decision, and without any effect."""

import math

import msgspec
import numpy as np
import pytest
from numba import config

from scheduler import InputError, Model, NotRecordedError
from scheduler.audit.contributions import contributions
from scheduler.audit.explain import compare, explain
from scheduler.audit.record_now import Request, record_now
from scheduler.audit.recorded import candidates_left, whole_row
from scheduler.audit.scores import raw_parts
from scheduler.audit.shapley import shapley_of
from scheduler.audit.what_if import what_if
from scheduler.audit.words import counts_of, feature_value, number, percent
from scheduler.engine.kernels import decide
from scheduler.policy.compile import compile_policy
from scheduler.retrieval.arrays import NO_BLOCKLIST
from scheduler.spec import Policy, ShrunkMean, TrainedMean, Utility, parse_spec
from tests import models
from tests.scheduler.model.test_offsets import write as write_with_offsets
from tests.schedulers import COLUMNS, IDS, LEDGER, new, same, state

REQUESTS = [
    {"client_id": 17, "kind": "live", "kbps": 900},
    {"client_id": "tv", "kind": "bulk", "kbps": 2_500},
    {"client_id": 99},
    {"client_id": 17, "kind": "live", "isp": 8, "kbps": 10},
]
HEADS = {"latency": -1.0, "failure": -1_000.0}


def recorded(sched, request, candidates=None, now=0.0):
    """The record of what would be decided now, and the model."""
    one = Request(request, candidates, NO_BLOCKLIST, now)
    record = sched.state.lock.read(record_now, sched.state, None, one)
    return record, sched.model


def after_outcomes(sched, n=40):
    """The scheduler once history knows something."""
    for t in range(n):
        d = sched.decide({"client_id": [17, "tv"][t % 2], "kbps": 100}, now=t / 10)
        if d.nodes:
            sched.observe(d.id, {"ok": t % 5 > 0, "rtt_ms": 10.0 + t, "speed": 5.0}, now=t / 10, node=d.nodes[0])
    return sched


@pytest.fixture(scope="module")
def known(model):
    utility = Utility(heads=HEADS, load=-300.0, price_weight=-7.0, price="price")
    policy = Policy(max_nodes=2, alternatives=1)
    sched = after_outcomes(new(model, utility=utility, policy=policy, ledger=LEDGER))
    sched.decide({"client_id": 17, "kbps": 500}, [3], now=4.0)  # holds some uplink
    return sched


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """The same with heads that start from a mean of their target."""
    model = Model.load(write_with_offsets(tmp_path_factory.mktemp("offsets") / "model"))
    return after_outcomes(new(model, policy=Policy(max_nodes=2), ledger=LEDGER))


@pytest.fixture(params=["trees", "offsets"])
def either(request, known, started):
    return known if request.param == "trees" else started


def pairs_of(sched):
    """Records with all pairs of candidates that have scores."""
    for request in REQUESTS:
        record, model = recorded(sched, request, now=4.0)
        left = candidates_left(record).tolist()
        yield from ((record, model, a, b) for a in left for b in left if a != b)


@pytest.mark.slow
def test_parts_sum_to_the_difference_of_the_utilities(either):
    for record, model, a, b in pairs_of(either):
        found = contributions(record, model, compile_policy(model), a, b)
        expected = record.utility[a] - record.utility[b]
        assert found.features.sum() + found.load + found.price == pytest.approx(expected, abs=1e-9)
        assert found.heads.sum() + found.load + found.price == pytest.approx(expected, abs=1e-9)


@pytest.mark.slow
def test_features_that_are_equal_have_a_part_of_exactly_zero_and_are_left_out(either):
    for record, model, a, b in pairs_of(either):
        x, z = (whole_row(record, model, c) for c in (a, b))
        equal = (x == z) | (np.isnan(x) & np.isnan(z))
        assert np.all(contributions(record, model, compile_policy(model), a, b).features[equal] == 0.0)
        shown = {part.feature for part in compare(record, model, a, b).parts}
        assert shown.isdisjoint(np.array(model.features.names)[equal])


def test_the_comparison_turned_round_has_the_opposite_parts(either):
    for record, model, a, b in pairs_of(either):
        policy = compile_policy(model)
        there, back = (contributions(record, model, policy, *pair) for pair in ((a, b), (b, a)))
        np.testing.assert_allclose(there.features, -back.features, atol=1e-9)


@pytest.mark.skipif(config.DISABLE_JIT, reason="without the JIT nothing is compiled")
def test_what_would_be_decided_now_is_explained_by_the_code_that_decides(known):
    """To compile another takes half a minute, in which the process decides little."""
    known.decide_batch({"client_id": [17]}, [IDS], now=5.0)
    known.decide({"client_id": 17}, now=5.0)
    for candidates in (None, IDS):
        known.explain({"client_id": 17}, candidates, now=5.0)
    for kernel in (decide.decide, decide.decide_one):
        assert len(kernel.signatures) == 1


@pytest.mark.slow
def test_a_request_is_explained_as_it_would_be_decided_and_nothing_changes(model):
    for policy in (Policy(), Policy(explore="epsilon", epsilon=0.9), Policy(max_nodes=3, alternatives=2)):
        sched = after_outcomes(new(model, policy=policy, ledger=LEDGER))
        for candidates in (None, [1, "box", 3]):
            for request in REQUESTS:
                before = state(sched)
                found = sched.explain(request, candidates, now=5.0)
                assert same(state(sched), before)
                made = sched.decide(request, candidates, now=5.0)
                assert (found.slate, found.reason, found.propensity) == (made.nodes, made.reason, made.propensity)
                assert found.dropped == made.dropped
                assert found.utility[0] == made.scores[0]["utility"]
                assert [head.chosen for head in found.heads] == [made.scores[0][h.head] for h in found.heads]


def test_an_explanation_is_plain_data(known):
    found = known.explain(REQUESTS[0], now=5.0)
    again = msgspec.json.decode(msgspec.json.encode(found.to_json()))
    assert again["sentences"][0] == found.headline
    assert again["parts"][0].keys() == {"feature", "chosen", "other", "share"}
    assert found.decision is None
    assert found.sentences[-1] == "as of now: nothing was reserved or recorded"


def test_parts_and_sentences_name_the_largest_first(known):
    found = known.explain(REQUESTS[0], now=5.0)
    sizes = [abs(part.share) for part in found.parts]
    assert sizes == sorted(sizes, reverse=True)
    assert found.headline.startswith(f"{found.chosen} over {found.other}: ")
    assert any(f"from {found.parts[0].feature}: " in sentence for sentence in found.sentences)
    named = {part.feature for found in (known.why_not(REQUESTS[0], 3, now=5.0).against,) for part in found.parts}
    assert named >= {"utility.load", "utility.price"}


def test_a_flip_is_what_makes_the_other_node_win(either):
    tried = 0
    for request in REQUESTS:
        record, model = recorded(either, request, now=4.0)
        found = explain(record, model)
        for flip in found.flips:
            value = flip.value
            if flip.condition in ("above", "at most"):  # the nearest number that a feature can have
                near, towards = np.float32(value), np.float32(np.inf if flip.condition == "above" else -np.inf)
                is_there = float(near) > value if flip.condition == "above" else float(near) <= value
                value = float(near if is_there else np.nextafter(near, towards))
            again = what_if(record, model, changes={found.other: {flip.feature: value}})
            gap = again.after.utility[found.other] - again.after.utility[found.chosen]
            assert gap == pytest.approx(flip.gain, rel=1e-4, abs=1e-3)
            tried += again.after.slate[0] == found.other
    assert tried > 3


def test_an_offset_is_a_part_of_its_feature(started):
    model = started.model
    features = {head.offset.feature for head in model.manifest.heads.values() if head.offset is not None}
    x, z = (models.feature_rows(1, seed, models.EXTENDED)[0] for seed in (3, 4))
    phi = raw_parts(model, x, z)
    raw = model.raw(np.array([x, z]))
    np.testing.assert_allclose(phi.sum(axis=1), raw[0] - raw[1], atol=1e-9)
    assert features
    trees = np.array([shapley_of(one, x[None], z[None])[0] for one in model.trees])
    moved = {model.features.names[f] for f in np.flatnonzero((phi != trees).any(axis=0))}
    assert moved <= features


def test_a_head_flip_makes_the_utilities_equal(known):
    record, model = recorded(known, REQUESTS[0], now=4.0)
    found = explain(record, model)
    policy = compile_policy(model)
    weights = policy.weights[record.profile]
    c = record.nodes.index(found.other)
    gap = found.utility[0] - found.utility[1]
    for h, head in enumerate(found.heads):
        if head.flip is None:
            continue
        failure, latency = (head.flip if i == h else record.values[c, i] for i in range(2))
        before = weights[0] * record.values[c, 0] + weights[1] * (1 - record.values[c, 0]) * record.values[c, 1]
        after = weights[0] * failure + weights[1] * (1 - failure) * latency
        assert after - before == pytest.approx(gap)


def test_the_origin_has_its_reasons(model):
    sched = new(model, ledger=LEDGER)
    assert (
        sched.explain({"client_id": 17}, [], now=0.0).headline == "the origin serves: no node was found for the request"
    )
    found = sched.explain({"client_id": 17}, IDS, now=0.0, exclude=IDS)
    assert found.headline == "the origin serves: all 5 candidates were dropped; 5 candidates blocked"
    found = sched.explain({"client_id": 17, "kbps": 90_000}, IDS, now=0.0)
    assert found.headline == "the origin serves: no slate of up to 1 of the 5 candidates covers 90,000 kbit/s"
    assert (found.chosen, found.other, found.parts, found.slate) == (None, None, (), ())


def test_a_recorded_decision_without_candidates_is_explained(model, tmp_path):
    sched = new(model, ledger=LEDGER)
    recorder = sched.record(tmp_path, full=1.0, every=60.0)
    nobody, dropped = (sched.decide({"client_id": 17}, ids, now=0.0, exclude=IDS).id for ids in ([], IDS))
    recorder.stop()
    assert sched.explain(nobody).headline == "the origin serves: no node was found for the request"
    assert sched.why_not(nobody, 1).headline.startswith("1: not among the 0 candidates, ")
    assert sched.explain(dropped).headline == "the origin serves: all 5 candidates were dropped; 5 candidates blocked"


def test_one_candidate_has_nobody_to_compare_with(model):
    sched = new(model, ledger=LEDGER)
    assert sched.explain({"client_id": 17}, [2], now=0.0).headline == "2: no other candidate was left"
    found = sched.explain({"client_id": 17, "kbps": 4_500}, IDS, now=0.0)
    assert found.headline == "1: no slate that begins with another of the 4 candidates covers the demand"
    found = sched.explain({"client_id": 17}, [2, 3], now=0.0, exclude=[3])
    assert found.headline == "2: no other candidate was left; 1 candidate blocked"


def test_twins_are_equal(model):
    sched = new(model)
    columns = {name: [values[0]] * 2 for name, values in COLUMNS.items()}
    sched.fleet.upsert(["a", "b"], columns)
    found = sched.explain({"client_id": 17}, ["a", "b"], now=0.0)
    assert found.headline in (
        "a and b have equal utilities; the draw chose a",
        "b and a have equal utilities; the draw chose b",
    )
    assert (found.parts, found.flips) == ((), ())


def test_an_explored_choice_is_compared_with_the_best(model):
    sched = after_outcomes(new(model, policy=Policy(explore="epsilon", epsilon=1.0)))
    for _ in range(50):
        found = sched.explain(REQUESTS[0], now=9.0)
        made = sched.decide(REQUESTS[0], now=9.0)
        if made.reason == "explored":
            break
    assert found.headline.startswith(f"{made.nodes[0]} to explore, not {found.other}, which is the best: ")
    assert found.sentences[1].startswith("the draw chose it with probability ")
    assert found.utility[0] < found.utility[1]
    assert sum(part.share for part in found.parts) == pytest.approx(found.utility[0] - found.utility[1])


def test_a_slate_is_said_and_its_own_nodes_are_no_rivals(model):
    sched = new(model, policy=Policy(max_nodes=3), ledger=LEDGER)
    found = sched.explain({"client_id": 17, "kbps": 8_500}, now=0.0)
    assert len(found.slate) > 1
    assert found.other not in found.slate
    assert f"{len(found.slate)} nodes share the demand of 8,500 kbit/s: " in found.sentences[1]


def test_nodes_without_a_utility(model):
    sched = new(model, utility=Utility(heads=HEADS, price_weight=-7.0, price="price"))
    sched.fleet.upsert(["free", "gift"], {"isp": [7, 7], "load": [0, 0]})
    found = sched.explain({"client_id": 17}, [1, "free"], now=0.0)
    assert found.headline == "1 over free, which has no utility: a value that it needs is missing"
    assert found.utility[1] is None
    found = sched.explain({"client_id": 17}, ["free", "gift"], now=0.0)
    assert found.headline.endswith("no candidate has a utility, because values that it needs are missing")


def test_a_decision_without_a_full_record_is_refused_by_name(sched):
    d = sched.decide({"client_id": 17}, now=0.0)
    for what in (d, d.id):
        with pytest.raises(NotRecordedError, match=rf"decision {d.id}: expected a full record"):
            sched.explain(what)
    with pytest.raises(InputError, match="what: expected a request, a decision or its id"):
        sched.explain("yesterday")
    with pytest.raises(InputError, match="now: expected a finite time"):
        sched.explain({"client_id": 17})


def test_a_recorded_decision_is_explained_under_the_policy_that_made_it(model, tmp_path):
    sched = after_outcomes(new(model))
    sched.record(tmp_path / "records", full=1.0, every=60.0)
    live = [sched.explain(request, now=5.0) for request in REQUESTS[:1]]
    made = [sched.decide(request, now=5.0) for request in REQUESTS]
    sched.set_policy(msgspec.structs.replace(model.spec, utility=Utility(heads={"failure": 1.0})))
    later = sched.decide(REQUESTS[0], now=5.0)
    for d in (*made, later):
        found = sched.explain(d)
        assert (found.decision, found.slate, found.reason) == (d.id, d.nodes, d.reason)
        assert found.utility[0] == pytest.approx(d.scores[0]["utility"], rel=1e-6)
        gap = found.utility[0] - found.utility[1]
        assert sum(part.share for part in found.parts) == pytest.approx(gap, abs=1e-6)
    assert sched.explain(made[0].id).parts == live[0].parts
    assert sched.why_not(made[0], live[0].other).stage == "lost"
    with pytest.raises(NotRecordedError, match="expected a full record of decision"):
        sched.explain(later.id + 1)
    sched.recorder.stop()


def test_a_question_is_not_recorded(model, tmp_path):
    sched = after_outcomes(new(model))
    recorder = sched.record(tmp_path / "records", full=1.0, every=60.0)
    for _ in range(3):
        sched.explain(REQUESTS[0], now=5.0)
    sched.decide(REQUESTS[0], now=5.0)
    assert recorder.stop().written["decisions"] == 1


def test_another_model_or_policy_than_the_one_that_decided_is_refused(model, tmp_path):
    record, _ = recorded(after_outcomes(new(model)), REQUESTS[0], now=5.0)
    other = Model.load(models.write_small(tmp_path / "other", seed=2))
    with pytest.raises(InputError, match="whose raw scores differ from the recorded ones"):
        explain(record, other)
    with pytest.raises(InputError, match="policy: expected the one under which decision"):
        explain(record, models.changed(model, utility=Utility(heads={"failure": -1.0})))


def test_numbers_and_counts_in_words():
    assert [number(x) for x in (0.0, 0.00012, 1e-9, 12.345, 999.9, 12_345.6, float("inf"))] == [
        "0", "0.00012", "1e-09", "12.3", "1,000", "12,346", "missing",
    ]  # fmt: skip
    assert percent(0.004) == "0.4 %"
    assert counts_of({"silent": 3, "full": 12}) == "12 candidates full, 3 silent"
    assert counts_of({"spread": 1, "quarantined": 1}) == "1 candidate in quarantine, 1 beyond a spread limit"


def test_means_of_a_logarithm_are_told_as_what_they_are_of_whatever_took_them():
    spec = parse_spec(models.SPEC)
    keys, value = tuple(spec.history.keys)[:1], next(v for v in spec.history.values if v.startswith("log1p"))
    features = {
        "taken_along": TrainedMean(keys=keys, value=value),
        "shrunk": ShrunkMean(keys=keys, value=value, half_life=spec.history.half_lives[0]),
    }
    spec = msgspec.structs.replace(spec, features={**spec.features, **features})
    outcome = spec.outcomes[value.removeprefix("log1p(").removesuffix(")")]
    for name in features:
        assert feature_value(spec, name, math.log1p(98.8)) == f"98.8 {outcome.unit}".strip()

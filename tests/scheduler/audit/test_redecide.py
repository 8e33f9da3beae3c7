"""One recorded decision made again comes out as it was made, and as it does among many."""

import msgspec
import numpy as np
import pytest

from scheduler.audit.batches import recorded_of
from scheduler.audit.recorded import candidates_left
from scheduler.audit.redecide import Redecider, decide_again
from scheduler.audit.replay import replay
from scheduler.decisions.arrays import DROP_FULL, ORIGIN_ALL_DROPPED, ORIGIN_NO_CANDIDATES
from scheduler.decisions.record.arrays import TAKEN
from scheduler.decisions.record.columns import joined
from scheduler.decisions.record.read import read_segments
from scheduler.policy.compile import with_policy
from scheduler.spec import Policy
from tests.scheduler.audit.test_replay import POLICIES, recorded, serve


def served(model, folder, policy, n=60):
    """The model under a policy, and the segment of what it decided."""
    sched = recorded(model, folder, POLICIES[policy])
    serve(sched, n)
    sched.recorder.stop()
    return sched.model, next(read_segments(folder))


@pytest.mark.parametrize("policy", POLICIES)
def test_one_record_comes_out_as_it_was_made(model, tmp_path, policy):
    by, segment = served(model, tmp_path, policy)
    n = 0
    for record in segment.full_records():
        again = decide_again(record, by)
        left = candidates_left(record)
        np.testing.assert_array_equal(again.candidates, left)
        np.testing.assert_array_equal(again.values, record.values[left])
        np.testing.assert_array_equal(again.utility, record.utility[left])
        np.testing.assert_array_equal(again.out.position[0], record.position)
        np.testing.assert_array_equal(again.out.dropped[0], record.dropped)
        assert (again.out.id[0], again.out.reason[0]) == (record.id, record.reason)
        assert again.out.propensity[0] == record.propensity
        if again.feasible.any():
            assert again.probability.sum() == pytest.approx(1.0)
            first = np.flatnonzero(left == record.position[0])[0]
            assert again.feasible[first]
            assert again.probability[first] == record.propensity
        n += left.size > 1
    assert n > 10


def test_one_by_one_is_as_all_together(model, tmp_path):
    by, segment = served(model, tmp_path, "epsilon")
    decider, columns = Redecider(by), joined(list(segment.batches("full")))
    together = decider.decide(recorded_of(columns, segment.manifest.seed, by).arrays)
    singles = [decider.decide_one(record) for record in segment.full_records()]
    for name in ("id", "position", "propensity", "reason", "dropped", "utility", "values"):
        expected = np.concatenate([getattr(one.out, name) for one in singles])
        np.testing.assert_array_equal(getattr(together.out, name), expected)
    assert together.probability.sum() == pytest.approx(sum(one.probability.sum() for one in singles))
    assert together.feasible.sum() == sum(one.feasible.sum() for one in singles)


def test_the_draw_of_the_record_decides(model, tmp_path):
    by, segment = served(model, tmp_path, "softmax")
    record = max(segment.full_records(), key=lambda one: int(candidates_left(one).size))
    record, seen = record._replace(explores=True), set()
    for draw in np.linspace(0.0, 0.999, 50):
        again = decide_again(record._replace(draw=draw), by)
        below = np.cumsum(again.probability)
        first = int(again.candidates[np.searchsorted(below, draw, side="right")])
        assert again.out.position[0, 0] == first
        seen.add(first)
    assert len(seen) > 1


def test_another_policy_explores_where_it_always_may(model, tmp_path):
    by, segment = served(model, tmp_path, "none")
    record = max(segment.full_records(), key=lambda one: int(candidates_left(one).size))
    record = record._replace(explores=False, demand=0.0)
    for budget, n_open in ((1.0, candidates_left(record).size), (0.2, 1)):
        policy = Policy(explore="epsilon", epsilon=0.5, budget=budget)
        again = decide_again(record, with_policy(by, msgspec.structs.replace(by.spec, policy=policy)))
        assert np.sum(again.probability > 0.0) == n_open


def test_candidates_whose_uplink_was_taken_after_they_were_scored_stay_out(model, tmp_path):
    by, segment = served(model, tmp_path, "epsilon")
    record = max(
        (one for one in segment.full_records() if one.demand > 0.0), key=lambda one: int(candidates_left(one).size)
    )
    left = candidates_left(record)
    verdict, free = record.verdict.copy(), record.free.copy()
    verdict[left[0]], free[left[0]] = TAKEN, 0.0
    again = decide_again(record._replace(verdict=verdict, free=free), by)
    np.testing.assert_array_equal(again.candidates, left[1:])
    np.testing.assert_array_equal(again.utility, record.utility[left[1:]])
    assert left[0] not in again.out.position
    assert again.out.dropped[0, DROP_FULL] == record.dropped[DROP_FULL] + 1
    verdict[left], free[left] = TAKEN, 0.0
    again = decide_again(record._replace(verdict=verdict, free=free), by)
    assert (again.candidates.size, again.probability.size) == (0, 0)
    assert again.out.reason[0] == ORIGIN_ALL_DROPPED


def test_decisions_without_any_candidate_are_made_again(model, tmp_path):
    sched = recorded(model, tmp_path, POLICIES["none"])
    for t in range(3):
        sched.decide({"client_id": 17}, [], now=float(t))
    sched.recorder.stop()
    record = next(next(read_segments(tmp_path)).full_records())
    assert decide_again(record, sched.model).out.reason[0] == ORIGIN_NO_CANDIDATES
    assert replay(tmp_path, [model]).is_identical

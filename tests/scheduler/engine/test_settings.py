"""Settings that a machine has no memory for, and ids that belong to one scheduler alone."""

import pytest

from scheduler import InputError, Scheduler, UnknownDecisionError
from tests import schedulers
from tests.schedulers import IDS, OK, same, state


def exhausted(*_):
    raise MemoryError


@pytest.mark.parametrize(
    ("setting", "value", "arrays"), [("history_capacity", 2**31, "new_history"), ("remember", 2**28, "DecisionRing")]
)
def test_a_setting_that_memory_is_not_there_for_is_named(model, monkeypatch, setting, value, arrays):
    monkeypatch.setattr(f"scheduler.engine.state.{arrays}", exhausted)
    with pytest.raises(
        InputError, match=rf"^{setting}: expected a number that memory is there for, found {value:,} \("
    ):
        Scheduler(model, **{setting: value})


def test_an_outcome_of_a_decision_of_another_scheduler_of_the_same_seed_is_refused(model):
    one, other = (Scheduler(model, seed=0) for _ in range(2))
    for sched in (one, other):
        sched.fleet.upsert(IDS, schedulers.COLUMNS)
    theirs = [one.decide({"client_id": 17}, [1], now=float(i)).id for i in range(5)]
    own = [other.decide({"client_id": 17}, [2], now=float(i)).id for i in range(5)]
    before = state(other)
    for id_ in theirs:
        with pytest.raises(UnknownDecisionError, match="which another scheduler made, or none"):
            other.observe(id_, OK, now=6.0)
    assert same(before, state(other))
    for id_ in own:
        other.observe(id_, OK, now=6.0)

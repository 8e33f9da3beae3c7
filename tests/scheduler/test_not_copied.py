"""What copies and pickles of live objects do: they are refused by name, and the original goes on."""

import copy
import pickle

import pytest

from scheduler import InputError
from tests.schedulers import IDS, same, state

OBJECTS = {
    "Scheduler": (lambda s: s, "`save` it and `restore` the snapshot"),
    "State": (lambda s: s.state, "save and restore the scheduler"),
    "Fleet": (lambda s: s.fleet, "save and restore the scheduler, or report the nodes to another one"),
    "IdTable": (lambda s: s.clients, "save and restore the scheduler"),
    "Arm": (lambda s: s.state.arms[0], "make another by `Scheduler.prepare`"),
}
WAYS = {"copy": copy.copy, "deepcopy": copy.deepcopy, "pickle": pickle.dumps}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("name", OBJECTS)
def test_it_is_neither_copied_nor_pickled_and_goes_on(sched, name, way):
    get, instead = OBJECTS[name]
    before = state(sched)
    with pytest.raises(InputError) as caught:
        way(get(sched))
    assert str(caught.value) == (
        f"{name}: expected to stay in its process as it is, found a copy or a pickle of it; {instead}"
    )
    assert same(before, state(sched))
    assert sched.decide({"client_id": 17}, IDS, now=1.0).nodes


def test_a_copy_within_another_object_is_refused_too(sched):
    with pytest.raises(InputError, match="Scheduler: expected to stay in its process"):
        copy.deepcopy({"serving": [sched]})


def test_a_copy_of_a_model_is_the_model_because_nothing_of_it_changes(model):
    assert copy.copy(model) is model
    assert copy.deepcopy(model) is model


def test_a_model_is_not_pickled_because_only_what_was_verified_serves(model):
    with pytest.raises(InputError, match=r"Model: expected to stay .*; `Model\.load` its folder in the other"):
        pickle.dumps(model)


def test_answers_are_copied_and_pickled_as_plain_values(sched):
    decision = sched.decide({"client_id": 17}, IDS, now=1.0)
    again = pickle.loads(pickle.dumps(decision))  # noqa: S301 - our own bytes
    for other in (again, copy.deepcopy(decision)):
        assert (other.id, other.nodes, other.propensity) == (decision.id, decision.nodes, decision.propensity)

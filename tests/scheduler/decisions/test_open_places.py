"""The place that an outcome is of, or why it is refused, against the rules spelled out."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.columns.ids import id_key
from scheduler.decisions.arrays import ANSWERED, ANSWERED_BEFORE, FROM_ORIGIN, NO_NODE, NOT_CHOSEN, OPEN, SPARE, UNKNOWN
from scheduler.decisions.kernels.open_places import find_all_open, find_open
from scheduler.spec import Policy
from tests import schedulers
from tests.schedulers import IDS


def expected(log, decision, node):
    """The place of a decision's node in the first row of the log, or a refusal."""
    if decision != 0:
        return UNKNOWN
    keys, states, length = log.node_keys[:3, 0].tolist(), log.state[0].tolist(), int(log.length[0])
    if length == 0:
        return FROM_ORIGIN
    if node == 0 and length > 1:
        return NO_NODE
    fits = [0] if node == 0 else [s for s in range(3) if states[s] and keys[s] == node]
    if not fits:
        return NOT_CHOSEN
    return ANSWERED_BEFORE if states[fits[0]] == ANSWERED else fits[0]


@pytest.mark.slow
@given(
    st.lists(st.tuples(st.sampled_from([0, 1, 2**62]), st.sampled_from([0, *map(id_key, IDS)])), max_size=3), st.data()
)
def test_the_place_that_is_awaited(model, outcomes, data):
    sched = schedulers.new(model, policy=Policy(max_nodes=2, alternatives=1))
    sched.decide({"client_id": 17}, IDS, now=0.0)
    log = copy.deepcopy(sched.state.log.arrays)
    log.length[0] = length = data.draw(st.integers(0, 2))
    chosen = data.draw(st.lists(st.sampled_from([OPEN, ANSWERED]), min_size=length, max_size=length))
    spare = [data.draw(st.sampled_from([SPARE, ANSWERED]))] if length else []
    log.state[0] = (*chosen, *spare, *[0] * (3 - len(chosen) - len(spare)))
    wanted = [expected(log, decision, node) for decision, node in outcomes]
    assert [find_open(log, decision, np.uint64(node)) for decision, node in outcomes] == wanted
    rows, places = np.full((2, len(outcomes)), -9)
    decisions, nodes = np.array([d for d, _ in outcomes], np.int64), np.array([n for _, n in outcomes], np.uint64)
    refused = next((i for i, place in enumerate(wanted) if place < 0), -1)
    assert find_all_open(log, decisions, nodes, rows, places) == refused
    end = len(outcomes) if refused < 0 else refused + 1
    assert places[:end].tolist() == wanted[:end]

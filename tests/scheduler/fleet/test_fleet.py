"""Nodes as columns with life, uplink and generations."""

import copy
import math

import numpy as np
import pytest

from scheduler import InputError, UnknownNodeError
from scheduler.columns.id_table import FIRST_SLOTS
from scheduler.fleet.fleet import Fleet
from scheduler.fleet.hooks import Hooks
from tests.schedulers import flat

INF = math.inf


@pytest.fixture
def seen():
    return []


@pytest.fixture
def fleet(model, seen):
    return Fleet(
        model.features.node,
        "uplink",
        hooks=Hooks(
            changed=lambda slots: seen.append(("changed", slots.tolist())),
            removed=lambda slots: seen.append(("removed", slots.tolist())),
        ),
    )


def at(fleet, *ids):
    return fleet.table.slots(list(ids))


def state(fleet):
    arrays = fleet.arrays
    return copy.deepcopy(
        (
            *flat(arrays),
            fleet.table.ids_at(np.arange(len(arrays.alive_until))),
            np.array(list(fleet.table), object),
        )
    )


def same(a, b):
    return all(
        x.tolist() == y.tolist() if x.dtype == object else np.array_equal(x, y, equal_nan=x.dtype.kind == "f")
        for x, y in zip(a, b, strict=True)
    )


def test_new_nodes_live_for_ever_unless_told_otherwise(fleet):
    fleet.upsert([1, "a"])
    fleet.upsert([2], alive_until=50)
    assert fleet.arrays.alive_until[at(fleet, 1, "a", 2)].tolist() == [INF, INF, 50]
    assert len(fleet) == 3
    assert "a" in fleet


@pytest.mark.slow
def test_a_change_of_columns_leaves_the_heartbeat_alone(fleet):
    fleet.upsert([1], alive_until=50)
    fleet.upsert([1, 2], {"load": [0.5, 0.5]})
    assert fleet.arrays.alive_until[at(fleet, 1, 2)].tolist() == [50, INF]
    fleet.heartbeat([1, 2], alive_until=60)
    assert fleet.arrays.alive_until[at(fleet, 1, 2)].tolist() == [60, 60]


def test_a_node_without_uplink_has_none(fleet):
    fleet.upsert([1, 2], {"uplink": [5000, None]})
    assert fleet.arrays.capacity[at(fleet, 1, 2)].tolist() == [5000, 0]
    fleet.upsert([2], {"uplink": [70]})
    assert fleet.arrays.capacity[at(fleet, 1, 2)].tolist() == [5000, 70]


def test_without_a_ledger_uplink_is_unlimited(model):
    fleet = Fleet(model.features.node)
    fleet.upsert([1], {"uplink": [5000]})
    assert fleet.arrays.capacity[at(fleet, 1)].tolist() == [INF]


def test_the_next_node_in_a_slot_starts_afresh(fleet):
    fleet.upsert([1], {"uplink": [5000]}, alive_until=50)
    fleet.quarantine([1], until=99)
    (slot,) = at(fleet, 1)
    fleet.arrays.reserved[slot] = 100
    before = int(fleet.arrays.generation[slot])
    fleet.remove([1])
    fleet.upsert(["b"])
    assert at(fleet, "b").tolist() == [slot]
    arrays = fleet.arrays
    assert arrays.generation[slot] != before
    assert (arrays.alive_until[slot], arrays.quarantined_until[slot], arrays.reserved[slot]) == (INF, -INF, 0)
    assert arrays.capacity[slot] == 0


def test_growth_keeps_everything(fleet):
    fleet.upsert([1], {"uplink": [5000]}, alive_until=50)
    fleet.quarantine([1], until=99)
    (slot,) = at(fleet, 1)
    fleet.arrays.reserved[slot] = 100
    fleet.upsert(range(10, 10 + 3 * FIRST_SLOTS))
    arrays = fleet.arrays
    assert (arrays.alive_until[slot], arrays.quarantined_until[slot], arrays.reserved[slot]) == (50, 99, 100)
    assert arrays.capacity[slot] == 5000
    assert arrays.columns is fleet.table.columns


def test_the_hooks_are_told_which_slots(fleet, seen):
    fleet.upsert([1, 2])
    fleet.remove([1])
    fleet.heartbeat([2], alive_until=3)
    slots = at(fleet, 2).tolist()
    assert seen == [("changed", [*seen[1][1], *slots]), ("removed", seen[1][1])]


def test_known_nodes_are_told_of_only_where_a_column_that_is_read_changes(model, seen):
    hooks = Hooks(changed=lambda slots: seen.append(slots.tolist()), reads={"load"})
    fleet = Fleet(model.features.node, hooks=hooks)
    fleet.upsert([1, 2], {"price": [1, 2]})
    both = at(fleet, 1, 2).tolist()
    fleet.update([2], {"price": [3]})
    fleet.update([1, 2], {"load": [0, 1], "price": [4, 5]})
    fleet.upsert([2, 3], {"price": [6, 7]})
    assert seen == [both, [], both, at(fleet, 3).tolist()]
    assert fleet.arrays.columns.values[at(fleet, 2), fleet.table.schema.offsets["price"]] == 6


def test_an_update_changes_known_nodes_and_brings_none_back(fleet):
    fleet.upsert([1, 2], {"uplink": [5000, 4000]}, alive_until=50)
    fleet.update([2], {"uplink": [3000]}, alive_until=60)
    assert fleet.arrays.capacity[at(fleet, 1, 2)].tolist() == [5000, 3000]
    assert fleet.arrays.alive_until[at(fleet, 1, 2)].tolist() == [50, 60]
    fleet.remove([1])
    before = state(fleet)
    with pytest.raises(UnknownNodeError, match="found 1"):
        fleet.update([2, 1], {"uplink": [1, 1]})
    assert same(before, state(fleet))


WRONG = {
    "update of a stranger": lambda fleet: fleet.update([1, 5], {"uplink": [3, 3]}),
    "update twice": lambda fleet: fleet.update([1, 1]),
    "twice": lambda fleet: fleet.upsert([5, 5]),
    "nothing": lambda fleet: fleet.upsert(None),
    "text": lambda fleet: fleet.upsert("ab"),
    "nan id": lambda fleet: fleet.upsert([math.nan]),
    "column": lambda fleet: fleet.upsert([5], {"asn": [5]}),
    "infinite": lambda fleet: fleet.upsert([1], {"uplink": [INF]}),
    "negative": lambda fleet: fleet.upsert([1], {"uplink": [-1]}),
    "expires never was": lambda fleet: fleet.upsert([1], alive_until=math.nan),
    "expires before time": lambda fleet: fleet.upsert([5], alive_until=-INF),
    "expires in words": lambda fleet: fleet.upsert([5], alive_until="soon"),
    "heard of a stranger": lambda fleet: fleet.heartbeat([1, 5], alive_until=9),
    "heard of at no time": lambda fleet: fleet.heartbeat([1], alive_until=math.nan),
    "heard of a text": lambda fleet: fleet.heartbeat("a", alive_until=9),
    "quarantined stranger": lambda fleet: fleet.quarantine([1, 5], until=9),
    "quarantined for no time": lambda fleet: fleet.quarantine([1], until=math.nan),
    "quarantined for none": lambda fleet: fleet.quarantine([1], until=None),
    "removed stranger": lambda fleet: fleet.remove([1, 5]),
    "removed twice": lambda fleet: fleet.remove([1, 1]),
    "removed float": lambda fleet: fleet.remove([1.0]),
}


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
def test_wrong_input_changes_nothing(fleet, seen, call):
    fleet.upsert([1, "a"], {"uplink": [5000, 10], "isp": [7, None]}, alive_until=50)
    fleet.quarantine(["a"], until=7)
    before, told = state(fleet), list(seen)
    with pytest.raises(InputError):
        call(fleet)
    assert same(before, state(fleet))
    assert seen == told


@pytest.mark.parametrize("call", ["remove", "heartbeat", "quarantine"])
def test_strangers_have_an_error_of_their_own(fleet, call):
    times = {"remove": {}, "heartbeat": {"alive_until": 1.0}, "quarantine": {"until": 1.0}}
    with pytest.raises(UnknownNodeError, match="node ids: expected some of the 0 known, found 'x'"):
        getattr(fleet, call)(["x"], **times[call])

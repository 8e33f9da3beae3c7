"""What the fleet shows of its nodes."""

import math

import pytest

from scheduler import InputError, UnknownNodeError
from scheduler.fleet import category_names
from scheduler.fleet.fleet import Fleet
from tests import schedulers


def test_a_node_comes_with_its_columns_times_and_uplink(model):
    sched = schedulers.new(model, ledger=schedulers.LEDGER)
    sched.fleet.heartbeat(["box"], alive_until=90.0)
    sched.fleet.quarantine(["box"], until=5.0)
    sched.decide({"client_id": 17, "kbps": 400.0}, ["box"], now=6.0)
    node = sched.fleet.get("box")
    assert node.id == "box"
    numbers = {"lat": 30.0, "lon": 30.0, "uplink": 2_000.0, "price": 4.0, "load": 0.75}
    assert node.columns == numbers | {"isp": 7, "taste": (1.0, 2.0, 3.0)}
    assert node[2:] == (90.0, 5.0, 2_000.0, 400.0)
    other = sched.fleet.get("1")
    assert other.columns["isp"] is None
    assert other[2:4] == (math.inf, -math.inf)


def test_categories_that_the_model_does_not_know_come_back_too(model):
    fleet = Fleet(model.features.node)
    fleet.upsert([1, 2], {"isp": ["unheard of", 2**40]})
    assert [fleet.get(i).columns["isp"] for i in (1, 2)] == ["unheard of", 2**40]
    assert fleet.get(1).columns["load"] is None


def test_of_more_categories_than_are_kept_the_key_comes(model, monkeypatch):
    monkeypatch.setattr(category_names, "MOST_NAMED", 2)
    fleet = Fleet(model.features.node)
    fleet.upsert([1, 2, 3], {"isp": ["a", "b", "c"]})
    found = [fleet.get(i).columns["isp"] for i in (1, 2, 3)]
    assert found[:2] == ["a", "b"]
    assert found[2].startswith("key:")
    assert len(found[2]) == 20


def test_ids_and_silent_nodes_are_listed(model):
    fleet = Fleet(model.features.node)
    fleet.upsert(range(5), alive_until=10.0)
    fleet.upsert(["a"])
    fleet.remove([3])
    fleet.heartbeat([4], alive_until=20.0)
    assert set(fleet.ids()) == {0, 1, 2, 4, "a"}
    assert fleet.silent(9.0) == []
    assert set(fleet.silent(10.0)) == {0, 1, 2}
    assert set(fleet.silent(20.0)) == {0, 1, 2, 4}


def test_what_is_not_held_has_an_error(model):
    fleet = Fleet(model.features.node)
    with pytest.raises(UnknownNodeError, match="found 'x'"):
        fleet.get("x")
    with pytest.raises(InputError, match="now: expected a time"):
        fleet.silent(math.nan)

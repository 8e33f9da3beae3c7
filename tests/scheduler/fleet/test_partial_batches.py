"""Good rows of a call count where bad ones are skipped; where not, the message names the row and the id."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from scheduler import InputError, Skipped, UnknownNodeError
from scheduler.fleet.fleet import Fleet
from scheduler.runtime.parts import LIGHT_PART


@pytest.fixture
def fleet(model):
    return Fleet(model.features.node, "uplink")


def test_bad_rows_come_back_by_number_with_their_reasons(fleet):
    ids = [1, None, 2, 1.5, 3, 1, 4]
    columns = {"load": [0.1, 0.2, "x", 0.4, 7.0, 0.6, 0.7], "isp": [7, 7, 7, 7, 7, 7, 8]}
    skipped = fleet.upsert(ids, columns, alive_until=9.0, errors="skip")
    assert [(s.row, s.id) for s in skipped] == [(1, None), (2, 2), (3, 1.5), (4, 3), (5, 1)]
    assert skipped[1] == Skipped(2, 2, "column 'load': expected a number, found 'x' (str)")
    for s, reason in zip(
        skipped, ["missing", "a number", "an integer of 64 bits", "from 0 to 1", "distinct"], strict=True
    ):
        assert reason in s.reason
    assert set(fleet.ids()) == {1, 4}
    assert (fleet.get(1).columns["load"], fleet.get(4).columns["isp"]) == (0.1, 8)
    assert fleet.get(4).alive_until == 9.0


def test_an_update_skips_strangers_and_a_heartbeat_too(fleet):
    fleet.upsert([1, 2], {"load": [0.1, 0.2]})
    skipped = fleet.update([1, 9, 2], {"load": [0.3, 0.4, 2.0]}, errors="skip")
    assert [(s.row, s.id) for s in skipped] == [(1, 9), (2, 2)]
    assert (fleet.get(1).columns["load"], fleet.get(2).columns["load"]) == (0.3, 0.2)
    skipped = fleet.heartbeat(["x", 2, [3]], alive_until=50.0, errors="skip")
    assert [(s.row, s.id) for s in skipped] == [(0, "x"), (2, [3])]
    assert (fleet.get(1).alive_until, fleet.get(2).alive_until) == (math.inf, 50.0)
    assert 9 not in fleet


WRONG = {
    "a value": (
        lambda f: f.upsert([8, 9], {"load": [0.5, 1.5]}),
        InputError,
        "row 1, id 9: column 'load': .* 1.5",
    ),
    "an id": (lambda f: f.upsert([8, None]), InputError, "row 1, id None: node ids: expected ids, found a missing one"),
    "twice": (lambda f: f.upsert([8, 9, 8]), InputError, "row 2, id 8: node ids: expected distinct ids, found 8 twice"),
    "a stranger": (lambda f: f.update([1, "q"]), UnknownNodeError, "row 1, id 'q': node ids: .*found 'q'"),
    "unheard of": (lambda f: f.heartbeat([1, 7], alive_until=9.0), UnknownNodeError, "row 1, id 7: node ids"),
    "a vector": (lambda f: f.upsert([8], {"taste": [[1, 2]]}), InputError, "row 0, id 8: column 'taste'"),
    "no such choice": (lambda f: f.upsert([1], errors="ignore"), InputError, "errors: expected 'raise' or 'skip'"),
    "nor here": (lambda f: f.heartbeat([1], alive_until=1.0, errors=None), InputError, "errors: expected"),
    "a column skipped": (lambda f: f.upsert([1], {"asn": [1]}, errors="skip"), InputError, "found 'asn'"),
    "a length skipped": (
        lambda f: f.upsert([1, 2], {"load": [1]}, errors="skip"),
        InputError,
        "expected 2 values, found 1",
    ),
    "no list skipped": (lambda f: f.upsert("ab", errors="skip"), InputError, "expected a list"),
    "a time skipped": (lambda f: f.upsert([1], alive_until=math.nan, errors="skip"), InputError, "alive_until"),
}


@pytest.mark.parametrize(("call", "kind", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_a_call_is_named_and_changes_nothing(fleet, call, kind, message):
    fleet.upsert([1], {"load": [0.5]}, alive_until=5.0)
    with pytest.raises(kind, match=message):
        call(fleet)
    assert fleet.ids() == [1]
    assert (fleet.get(1).columns["load"], fleet.get(1).alive_until) == (0.5, 5.0)


def test_the_row_is_named_in_calls_of_many_parts_too(fleet):
    n = 3 * LIGHT_PART
    load = np.full(n, 0.5)
    load[2 * LIGHT_PART + 7] = 7.0
    with pytest.raises(InputError, match=f"row {2 * LIGHT_PART + 7}, id {2 * LIGHT_PART + 7}: column 'load'"):
        fleet.upsert(np.arange(n), {"load": load})
    assert len(fleet) == 0
    (skipped,) = fleet.upsert(np.arange(n), {"load": load}, errors="skip")
    assert (skipped.row, len(fleet)) == (2 * LIGHT_PART + 7, n - 1)


@pytest.mark.parametrize("kind", [list, tuple, iter, np.array])
def test_columns_of_any_kind_are_cut(fleet, kind):
    n = 2 * LIGHT_PART + 3
    fleet.upsert(range(n), {"load": kind([i / n for i in range(n)]), "isp": kind([i % 3 for i in range(n)])})
    assert [fleet.get(i).columns["load"] for i in (0, LIGHT_PART, n - 1)] == [0.0, LIGHT_PART / n, (n - 1) / n]
    assert fleet.get(n - 1).columns["isp"] == (n - 1) % 3


values = st.sampled_from([0.0, 0.5, 1.0, None, math.nan, 2.0, -1.0, "x", math.inf])


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([1, 2, 3, "a", None, 2.5, True]), values), max_size=12))
def test_skipping_is_the_same_as_leaving_the_bad_rows_out(model, rows):
    fleet, twin = Fleet(model.features.node), {}
    skipped = fleet.upsert([i for i, _ in rows], {"load": [load for _, load in rows]}, errors="skip")
    seen, bad = set(), []
    for row, (id_, load) in enumerate(rows):
        is_id = isinstance(id_, int | str) and not isinstance(id_, bool)
        is_first = is_id and id_ not in seen
        if is_id:
            seen.add(id_)
        is_number = load is None or (isinstance(load, float) and not load > 1.0 and not load < 0.0)
        if is_first and is_number:
            twin[id_] = None if load is None or math.isnan(load) else load
        else:
            bad.append(row)
    assert [s.row for s in skipped] == bad
    assert {id_: fleet.get(id_).columns["load"] for id_ in fleet.ids()} == twin

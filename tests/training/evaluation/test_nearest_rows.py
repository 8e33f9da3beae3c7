"""A candidate's outcome comes from rows whose request columns agree with the request, or come nearest."""

import dataclasses

import numpy as np
import pytest

from tests.evaluation_world import SPEC, telemetry
from training.evaluation.measured_requests import measured_requests
from training.evaluation.nearest_rows import RequestColumns
from training.telemetry import Categories


def rows(codes, numbers):
    base = telemetry(len(codes))
    request = {"kind": Categories(np.array(codes, np.int32), ("live", "vod")), "bitrate": np.array(numbers, float)}
    return dataclasses.replace(base, request=request)


def test_a_differing_category_outweighs_any_number_and_unknown_agrees_with_unknown_alone():
    columns = RequestColumns.of(rows([0, 0, 0, 1, -1, -1, 0], [1.0, 1.0, 1e9, 1.0, np.nan, np.nan, np.nan]))
    apart = columns.apart(np.zeros(7, np.int64), np.arange(7))
    assert apart[1] == 0.0 < apart[2] < apart[3]
    assert columns.apart(np.array([4]), np.array([5])) == 0.0
    assert apart[2] < columns.apart(np.array([0]), np.array([6])) == 0.5 < apart[3]


def test_an_unknown_number_hides_no_other_number():
    clients = RequestColumns(np.zeros((3, 1), np.int32), np.array([[np.nan, 1.0], [2.0, 1.0], [2.0, 1e3]]))
    same, far = clients.apart(np.array([0, 0]), np.array([1, 2]))
    assert 0.0 < same < far < 1.0


def test_candidates_answer_for_the_workload_that_asks():
    """Live requests cost 1,000 times what others do, of every node: no row of the one may stand for the other."""
    base = telemetry(4_000)
    kind = np.random.default_rng(0).integers(0, 2, len(base)).astype(np.int32)
    cost = np.where(kind == 0, np.float32(1e5), np.float32(100.0))
    spoken = dataclasses.replace(
        base,
        ok=np.ones(len(base), np.bool_),
        outcomes=base.outcomes | {"cost": cost, "rtt_ms": cost},
        request={"kind": Categories(kind, ("live", "vod"))},
    )
    agreed = []
    for one in measured_requests(spoken, SPEC, start=40, requests=3, candidates=4, seed=0):
        asked = one.request["kind"].codes
        expected = np.where(asked == 0, 1e5, 100.0)[:, None]
        assert (one.cost == expected)[one.agrees].all()
        agreed.append(one.agrees[one.candidates >= 0])
    assert np.concatenate(agreed).mean() > 0.8


@pytest.mark.parametrize("known", [False, True])
def test_telemetry_without_request_columns_draws_as_ever(known):
    base = telemetry(4_000)
    alike = Categories(np.zeros(len(base), np.int32), ("live",))
    given, bare = (dataclasses.replace(base, request=r) for r in ({"kind": alike} if known else {}, {}))
    (first, *_), (plain, *_) = (
        measured_requests(rows, SPEC, start=40, requests=1, candidates=4, seed=0) for rows in (given, bare)
    )
    np.testing.assert_array_equal(first.candidates, plain.candidates)
    np.testing.assert_array_equal(first.cost, plain.cost)
    assert first.agrees is None or first.agrees[first.candidates >= 0].all()

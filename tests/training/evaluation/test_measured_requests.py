"""Batches drawn from measured rows: who asks, among which nodes, and that every outcome is real."""

import tracemalloc
from collections import Counter
from dataclasses import replace

import msgspec
import numpy as np
import polars as pl
import pytest

from scheduler.errors import InputError
from scheduler.spec import parse_spec
from training.evaluation import measured_requests as under_test
from training.evaluation.measured_requests import measured_requests, node_state
from training.telemetry import Categories, Entities, read_telemetry
from training.telemetry.slice_starts import slice_starts
from training.telemetry.units import slice_seconds, slice_times

SPEC = parse_spec("""
name = "tiny"
telemetry = { client = "c", node = "n", slice = { column = "s", seconds = 60 }, time = "t", arrival = ["ms"] }
outcomes = { ms = { min = 0 } }
cost = { success = "ms", failure = 500 }
request = { kind = { type = "category" } }
node = { load = {} }
history = { values = ["ms"], half_lives = ["1h"], keys = { node = ["node"] } }
features = { load = { op = "node", column = "load" } }
heads = { latency = { target = "ms", link = "identity" } }
utility = { heads = { latency = -1.0 } }
""")


@pytest.fixture
def telemetry(tmp_path):
    """Three slices; client 2 measures one node a slice, client 3 four, the others seven, most twice."""
    rng = np.random.default_rng(3)
    rows = [
        {"s": s, "t": 6000.0 + 60 * s + rng.uniform(0, 60), "c": c, "n": n, "kind": f"k{c}", "ok": True}
        for s in range(3)
        for c, known in enumerate((7, 7, 1, 4))
        for n in range(known)
        for _ in range(1 + (n > 0))
    ]
    frame = pl.DataFrame(rows).with_columns(ms=pl.int_range(pl.len()).cast(pl.Float64), load=pl.col("t") / 2)
    frame.write_parquet(tmp_path / "telemetry.parquet")
    pl.DataFrame({"id": range(4)}).write_parquet(tmp_path / "clients.parquet")
    pl.DataFrame({"id": range(7)}).write_parquet(tmp_path / "nodes.parquet")
    return read_telemetry(tmp_path, SPEC)


def draw(telemetry, **changed):
    settings = {"start": 1, "requests": 4, "candidates": 5, "seed": 0} | changed
    return list(measured_requests(telemetry, SPEC, **settings))


def test_batches_are_evenly_spread_over_each_slice_from_the_start_on(telemetry):
    times = [r.time for r in draw(telemetry)]
    assert times == [6060, 6075, 6090, 6105, 6120, 6135, 6150, 6165]


def test_every_client_with_two_nodes_asks_once_a_batch(telemetry):
    assert all(r.client.tolist() == [0, 1, 3] for r in draw(telemetry))


def test_candidates_are_distinct_measured_nodes_filled_up_at_the_end(telemetry):
    for r in draw(telemetry):
        for client, nodes in zip(r.client, r.candidates, strict=True):
            real = nodes[nodes >= 0]
            assert len(set(real)) == len(real) == (4 if client == 3 else 5)
            assert (nodes[: len(real)] >= 0).all()
            assert set(real) <= set(telemetry.node[telemetry.client == client])


def test_an_outcome_is_a_row_of_that_slice_client_and_node(telemetry):
    measured = {
        (s, c, n, ms)
        for s, c, n, ms in zip(telemetry.slice, telemetry.client, telemetry.node, telemetry.outcomes["ms"], strict=True)
    }
    for r in draw(telemetry):
        number = int((r.time - 6000) // 60)
        for i, j in zip(*np.nonzero(r.candidates >= 0), strict=True):
            assert (number, r.client[i], r.candidates[i, j], r.outcomes["ms"][i, j]) in measured
            assert r.cost[i, j] == r.outcomes["ms"][i, j]
            assert r.arrival[i, j] == pytest.approx(r.time + r.cost[i, j] / 1000)


def test_what_fills_up_has_no_outcome(telemetry):
    for r in draw(telemetry):
        blank = r.candidates < 0
        assert blank.sum() == 1
        assert not r.ok[blank].any()
        assert all(np.isnan(a[blank]).all() for a in (r.outcomes["ms"], r.cost, r.arrival))


@pytest.mark.slow
def test_nodes_and_repeats_are_drawn_uniformly(telemetry):
    batches = draw(telemetry, requests=4000, candidates=2, start=2)
    nodes, firsts, rows = Counter(), Counter(), Counter()
    for r in batches:
        nodes.update(r.candidates[0].tolist())
        firsts[int(r.candidates[0, 0])] += 1
        rows.update(r.outcomes["ms"][0, r.candidates[0] == 6].tolist())
    # Bounds of five standard deviations.
    assert all(abs(nodes[n] - 8000 / 7) < 5 * np.sqrt(4000 * 2 / 7 * 5 / 7) for n in range(7))
    assert all(abs(firsts[n] - 4000 / 7) < 5 * np.sqrt(4000 / 7 * 6 / 7) for n in range(7))
    assert len(rows) == 2
    assert max(rows.values()) - min(rows.values()) < 10 * np.sqrt(sum(rows.values()) / 4)


def test_the_request_is_that_of_the_client(telemetry):
    for r in draw(telemetry):
        assert r.request["kind"].raw() == [f"k{c}" for c in r.client]


def test_the_state_of_a_node_is_the_last_one_logged(telemetry):
    for r in draw(telemetry):
        for n in range(7):
            logged = telemetry.node_state["load"][(telemetry.node == n) & (telemetry.time <= r.time)]
            assert r.node_state["load"][n] == logged[-1]


def test_draws_depend_on_the_seed_and_the_slice_alone(telemetry):
    late, late_too, other = (
        np.stack([r.cost for r in draw(telemetry, start=start, seed=seed)][-4:])
        for start, seed in ((2, 0), (0, 0), (2, 1))
    )
    np.testing.assert_array_equal(late, late_too)
    assert not np.array_equal(late, other, equal_nan=True)


def test_a_slice_without_choices_has_no_batch(telemetry):
    alone = replace(telemetry, client=np.arange(len(telemetry), dtype=np.int32))
    assert draw(alone) == []


def test_slices_that_begin_early_do_not_turn_time_back(telemetry):
    early = replace(telemetry, time=telemetry.time - np.where(telemetry.slice == 1, 59, 0))
    assert slice_starts(early, SPEC) == {0: 6000, 1: 6060, 2: 6120}


def sliced(seconds):
    """Return the spec with another length of a slice."""
    slice_ = msgspec.structs.replace(SPEC.telemetry.slice, seconds=seconds)
    return msgspec.structs.replace(SPEC, telemetry=msgspec.structs.replace(SPEC.telemetry, slice=slice_))


@pytest.fixture
def many(tmp_path):
    """Thirty slices in which two clients measure three nodes, ten times each."""
    rng = np.random.default_rng(4)
    rows = [
        {"s": s, "t": 6000.0 + 60 * (s + rng.uniform()), "c": c, "n": n, "kind": "k", "load": 0.0, "ms": rng.uniform()}
        for s in range(30)
        for c in range(2)
        for n in range(3)
        for _ in range(10)
    ]
    (folder := tmp_path / "many").mkdir()
    pl.DataFrame(rows).write_parquet(folder / "telemetry.parquet")
    pl.DataFrame({"id": range(2)}).write_parquet(folder / "clients.parquet")
    pl.DataFrame({"id": range(3)}).write_parquet(folder / "nodes.parquet")
    return folder


@pytest.mark.parametrize("seconds", [2.5, 12.0, 30.0, 90.0, 600.0, 1500.0])
def test_requests_are_made_when_the_rows_were_whatever_the_spec_says_of_the_length_of_a_slice(many, seconds):
    right, wrong = draw(read_telemetry(many, SPEC)), sliced(seconds)
    found = measured_requests(read_telemetry(many, wrong), wrong, start=1, requests=4, candidates=5, seed=0)
    for ours, expected in zip(found, right, strict=True):
        np.testing.assert_array_equal(ours.cost, expected.cost)
        assert ours.time == pytest.approx(expected.time, abs=60.0)


def test_without_times_slices_are_as_far_apart_as_the_spec_says(many):
    for seconds in (6.0, 60.0, 600.0):
        text = msgspec.structs.replace(sliced(seconds).telemetry, time=None)
        spec = msgspec.structs.replace(SPEC, telemetry=text)
        found = measured_requests(read_telemetry(many, spec), spec, start=28, requests=2, candidates=3, seed=0)
        assert [one.time / seconds for one in found] == [28.0, 28.5, 29.0, 29.5]


def begins_at_least_a_length_apart(telemetry, seconds):
    """Return where slices begin that never overlap in time: as every figure of before was made."""
    starts, begin = {}, -np.inf
    for number in np.unique(telemetry.slice).tolist():
        first = telemetry.time[telemetry.slice == number].min()
        begin = starts[number] = max(first // seconds * seconds, begin + seconds)
    return starts


@pytest.mark.parametrize("seed", range(50))
def test_slices_as_long_as_the_spec_says_begin_where_they_always_did(telemetry, seed):
    """Wherever the first one begins, however few rows there are, and whichever slices are left out."""
    rng = np.random.default_rng(seed)
    number = np.sort(rng.choice(40, rng.integers(3, 30)))
    time = np.sort(rng.uniform(0, 60) + 60 * number + rng.uniform(0, 60, number.size))
    rows = np.zeros(number.size, np.int64)
    few = replace(
        telemetry,
        **{name: getattr(telemetry, name)[rows] for name in ("client", "node", "ok")},
        slice=number.astype(np.int32),
        time=time,
    )
    times = slice_times(pl.LazyFrame({"@slice": number, "@time": time}))
    few = replace(few, slice_seconds=slice_seconds(times, SPEC))
    assert few.slice_seconds == 60.0
    assert slice_starts(few, SPEC) == begins_at_least_a_length_apart(few, 60.0)


def test_batches_of_uneven_slices_stay_in_order_and_near_their_rows(many):
    rows = read_telemetry(many, SPEC)
    uneven = replace(rows, time=6000.0 + (rows.time - 6000.0) ** 2 / 1800.0)  # the first ones last seconds
    found = draw(uneven, start=0)
    assert [one.time for one in found] == sorted(one.time for one in found)
    for one in found:
        first = uneven.time[uneven.slice == one.slice].min()
        assert first - 60.0 < one.time <= first + 120.0


def peak_bytes(call):
    """Return what a call returns, and the most memory that it took at once."""
    tracemalloc.start()
    try:
        return call(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("first", [2024010112, 2**31 - 3])
def test_slices_of_large_numbers_need_no_memory_of_that_size(telemetry, first):
    renumbered = replace(telemetry, slice=telemetry.slice + np.int32(first))
    found, peak = peak_bytes(lambda: draw(renumbered, start=first + 1))
    assert [one.slice - first for one in found] == [one.slice for one in draw(telemetry)]
    assert peak < 10_000_000


@pytest.mark.slow
def test_one_client_that_measured_every_node_does_not_make_all_others_wide(telemetry):
    n_clients, n_nodes = 20_000, 20_000
    client = np.concatenate([np.zeros(n_nodes), np.repeat(np.arange(1, n_clients), 2)]).astype(np.int32)
    node = np.concatenate([np.arange(n_nodes), np.arange(2 * n_clients - 2) % n_nodes]).astype(np.int32)
    rows = np.zeros(len(client), np.int64)
    wide = replace(
        telemetry.where(telemetry.slice == 1),
        **{name: getattr(telemetry, name)[rows] for name in ("time", "arrival", "slice", "ok")},
        client=client,
        node=node,
        outcomes={name: values[rows] for name, values in telemetry.outcomes.items()},
        request={"kind": telemetry.request["kind"].take(rows)},
        node_state={"load": telemetry.node_state["load"][rows]},
        clients=Entities(ids=np.arange(n_clients), columns={}),
        nodes=Entities(ids=np.arange(n_nodes), columns={}),
    )
    (one,), peak = peak_bytes(lambda: draw(wide, start=0, requests=1))
    assert len(one.client) == n_clients
    assert peak < 200_000_000  # of 3.2 GB for a number for each client and node
    measured = set(zip(client.tolist(), node.tolist(), strict=True))
    real = one.candidates >= 0
    assert {(c, n) for c, row in enumerate(one.candidates.tolist()) for n in row if n >= 0} <= measured
    assert real.sum(axis=1).tolist() == [5] + [2] * (n_clients - 1)


@pytest.mark.parametrize(("drawn", "wide"), [(1 << 22, 1), (7, 1_000), (7, 1)])
def test_how_many_numbers_are_drawn_at_once_or_skipped_changes_nothing(telemetry, monkeypatch, drawn, wide):
    expected = draw(telemetry)
    monkeypatch.setattr(under_test, "DRAWN", drawn)
    monkeypatch.setattr(under_test, "WIDE", wide)
    for ours, theirs in zip(draw(telemetry), expected, strict=True):
        np.testing.assert_array_equal(ours.candidates, theirs.candidates)
        np.testing.assert_array_equal(ours.cost, theirs.cost)


@pytest.mark.parametrize("changed", [{"requests": 0}, {"candidates": 1}])
def test_counts_that_make_no_choice_are_refused(telemetry, changed):
    with pytest.raises(InputError, match="expected 1 request and 2 candidates or more"):
        draw(telemetry, **changed)


def with_zones(telemetry, codes, zones):
    """Beside its load every node reports a category."""
    return replace(telemetry, node_state={**telemetry.node_state, "zone": Categories(codes, zones)})


def test_telemetry_in_two_parts_is_one_whatever_the_codes_of_its_categories(telemetry):
    codes = np.arange(len(telemetry), dtype=np.int32) % 4 - 1
    whole = draw(with_zones(telemetry, codes, ("a", "b", "c")))
    early = telemetry.slice < 2
    flipped = np.array([2, 1, 0, -1], np.int32)[codes[~early]]
    first = with_zones(telemetry.where(early), codes[early], ("a", "b", "c"))
    second = with_zones(telemetry.where(~early), flipped, ("c", "b", "a"))
    found = draw(first) + draw(second, known=node_state(first))
    assert [one.slice for one in found] == [1] * 4 + [2] * 4
    for ours, theirs in zip(found, whole, strict=True):
        np.testing.assert_array_equal(ours.candidates, theirs.candidates)
        np.testing.assert_array_equal(ours.node_state["load"], theirs.node_state["load"])
        assert list(ours.node_state["zone"].raw()) == list(theirs.node_state["zone"].raw())

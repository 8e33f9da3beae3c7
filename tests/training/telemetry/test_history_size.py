"""Room for running statistics: counted keys, what auto stands for, and who is told that there is too little."""

import dataclasses

import hypothesis.strategies as st
import msgspec
import numpy as np
import pytest
from hypothesis import given

from scheduler.history.kernels.hash_table import find
from scheduler.history.kernels.statistics import update
from scheduler.history.store import new_history
from scheduler.model.manifest import TableUse
from tests.evaluation_world import SPEC, telemetry
from tests.models import EXTENDED, spec
from training.features.dataset import build_dataset
from training.telemetry import Categories, count_keys
from training.telemetry.history_keys import row_keys
from training.telemetry.history_size import HEADROOM, LEAST, auto_capacity, needed, shortages, sized


def with_keys(**keys):
    return msgspec.structs.replace(SPEC, history=msgspec.structs.replace(SPEC.history, keys=keys))


def with_capacity(capacity):
    return msgspec.structs.replace(SPEC, history=msgspec.structs.replace(SPEC.history, capacity=capacity))


def test_keys_are_counted_as_they_are_in_the_rows():
    rows = telemetry(300)
    kinds, isps = np.array(["live", "vod", None]), np.array(["green", "red", "yellow", None])
    kind, isp = kinds[rows.request["kind"].codes], isps[rows.nodes.columns["isp"].codes[rows.node]]
    columns = {"client": rows.client, "node": rows.node, "request.kind": kind, "node.isp": isp}
    keys = {
        "node": ("node",),
        "pair": ("client", "node"),
        "kinds": ("request.kind", "node.isp"),
        "all": ("node.isp", "client", "request.kind", "node"),
    }
    expected = {
        name: len({row for row in zip(*(columns[part] for part in parts), strict=True) if None not in row})
        for name, parts in keys.items()
    }
    assert count_keys(rows, with_keys(**keys)) == expected
    in_rows = sum(None not in pair for pair in zip(kind, isp, strict=True))
    assert dict(row_keys(rows, with_keys(**keys)))["kinds"].size == in_rows


def test_the_order_of_parts_matters_to_no_count_and_swapped_values_are_other_keys():
    rows = telemetry(300)
    swapped = Categories(rows.request["kind"].codes, ("green", "red"))
    rows = dataclasses.replace(rows, request={"kind": swapped})
    found = count_keys(rows, with_keys(a=("request.kind", "node.isp"), b=("node.isp", "request.kind")))
    assert found["a"] == found["b"] > 3  # "green", "red" and "red", "green" among them


@given(st.integers(0, 10**8))
def test_auto_makes_room_for_half_as_many_again_and_is_a_power_of_two(n):
    found = auto_capacity(n)
    assert found >= max(LEAST, HEADROOM * n)
    assert found & (found - 1) == 0
    assert found == LEAST or found < 2 * HEADROOM * n + 2
    assert auto_capacity(10**12) == 2**31


@pytest.mark.slow
def test_auto_lets_go_of_nothing_and_of_less_than_one_in_a_hundred_where_keys_have_doubled():
    n, rng, values = 20_000, np.random.default_rng(0), np.zeros(3)
    keys = rng.integers(1, 2**63, 2 * n).astype(np.uint64)
    history = new_history(spec(), int(HEADROOM * n))
    for number, key in enumerate(keys):
        update(history, key, values, float(number))
        if number == n:
            assert history.counters[1] == 0
    held = sum(find(history, key) >= 0 for key in keys)
    assert 0.99 < held / (2 * n) <= 1.0


def test_each_table_is_sized_by_its_own_keys():
    text = EXTENDED.replace("capacity = 1_024\n", "").replace("capacity = 64\n", "").replace("capacity = 4_096\n", "")
    parsed = spec(text)
    keys = dict.fromkeys(parsed.history.keys, 1_000) | {"client": 3_000, "node": 200_000}
    wanted, found = needed(parsed, keys), sized(parsed, keys)
    assert wanted["latent_factors"] == {"rtt": 203_000, "carriers_speed": 2_000}
    assert wanted["change_points"] == {"calm": 3_000, "carrier": 1_000}
    assert found.history.capacity == auto_capacity(sum(wanted["history"].values()))
    for name in ("latent_factors", "change_points"):
        capacities = {part: section.capacity for part, section in getattr(found, name).items()}
        assert capacities == {part: auto_capacity(n) for part, n in wanted[name].items()}
    assert sized(found, keys) == found
    assert found.fingerprint() == parsed.fingerprint()


def test_a_number_is_left_as_it_is():
    assert sized(with_capacity(17), {"node": 10**6, "pair": 10**6}).history.capacity == 17


def test_what_a_replay_needs_room_for_and_loses_is_known_afterwards():
    rows = telemetry(3_000)
    memory, tight = build_dataset(rows, SPEC, seed=0).memory, build_dataset(rows, with_capacity(16), seed=0).memory
    keys = sum(count_keys(rows, SPEC).values())
    assert memory.history.capacity == auto_capacity(keys)
    assert memory.tables["history"] == TableUse(capacity=LEAST, keys=keys, entries=keys, evicted=0, share=0.0)
    assert shortages(memory.tables) == []
    assert tight.tables["history"].capacity == 16
    assert memory.into(with_capacity(16)).history.capacity == LEAST


def test_outcomes_that_were_never_shown_are_no_shortage():
    hidden = msgspec.structs.replace(SPEC, training=msgspec.structs.replace(SPEC.training, reveal=0.01))
    use = build_dataset(telemetry(300), hidden, seed=0).memory.tables["history"]
    assert use.entries < use.keys
    assert use.share == 0.0


@pytest.mark.parametrize(
    ("counters", "share"),
    [((100, 0), 0.0), ((90, 0), 0.0), ((99, 5_000), 0.01), ((98, 5_000), 0.02), ((50, 7), 0.07), ((10, 900), 0.9)],
)
def test_a_share_is_of_keys_however_often_one_takes_the_place_of_another(counters, share):
    use = TableUse.of(64, 100, np.array(counters))
    assert use.share == pytest.approx(share)
    assert bool(shortages({"history": use})) == (share > 0.01)


def test_a_shortage_says_how_many_and_what_would_do_even_where_auto_chose_too_little():
    (line,) = shortages({"history": TableUse.of(4_096, 10_000, np.array([8_000, 12_345]))})
    assert "2,000 of 10,000 keys (20%)" in line
    assert "entries were evicted 12,345 times" in line
    assert "capacity = 16384 under [history]" in line
    (line,) = shortages({"latent_factors": TableUse.of(16_384, 10_000, np.array([8_000, 12_345]))})
    assert "capacity = 32768 under [latent_factors.NAME]" in line

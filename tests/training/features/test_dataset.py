"""What a head is fitted on: a split in time that never mixes, a bounded vocabulary, nothing from later on."""

import dataclasses

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.errors import DataError
from scheduler.spec import Head
from tests.evaluation_world import SPEC, telemetry
from tests.small_world import UNTIL
from training.features.dataset import build_dataset, without_slices
from training.features.split import split_slices
from training.features.vocabulary import find_vocabulary
from training.telemetry import Categories, Entities, read_telemetry


def training(**changes):
    return msgspec.structs.replace(SPEC, training=msgspec.structs.replace(SPEC.training, **changes))


def same(a, b):
    return all(
        np.array_equal(x, y, equal_nan=True)
        for x, y in zip((a.x, *a.targets.values()), (b.x, *b.targets.values()), strict=True)
    )


@pytest.mark.slow
@given(
    present=st.sets(st.integers(0, 1000), min_size=5, max_size=60),
    burn_in=st.floats(0, 0.9),
    validation=st.floats(0.01, 0.9),
)
def test_every_part_of_a_split_has_a_slice_and_they_follow_each_other(present, burn_in, validation):
    slices = np.repeat(np.array(sorted(present), np.int32), 3)
    first, stop, calibrate, judge = split_slices(slices, training(burn_in=burn_in, validation=validation))
    assert min(present) < first < stop < calibrate < judge <= max(present)
    assert {first, stop, calibrate, judge} <= present


def test_the_split_takes_the_shares_of_the_spec():
    slices = np.arange(100, 200, dtype=np.int32)
    assert split_slices(slices, training(burn_in=0.05, validation=0.2)) == (105, 180, 185, 190)
    assert split_slices(slices, training(burn_in=0.0, validation=0.5)) == (101, 150, 162, 175)


@pytest.mark.parametrize("n", [1, 4])
def test_too_few_slices_to_split_are_refused(n):
    with pytest.raises(DataError, match=rf"^training: expected at least 5 slices, found {n}$"):
        split_slices(np.arange(n, dtype=np.int32), SPEC)


def test_rows_of_a_part_never_stand_in_another():
    rows = telemetry(3_000)
    # As where the slice is the day of the client's clock: at its edges, time and slice disagree.
    jitter = np.random.default_rng(0).integers(-1, 2, len(rows)).astype(np.int32)
    mixed = dataclasses.replace(rows, slice=np.maximum(rows.slice + jitter, 0))
    made = build_dataset(mixed, SPEC, seed=0)
    first, stop, calibrate, judge = split_slices(mixed.slice, SPEC)
    fitted, stopping, calibrating, judging = np.split(made.slices, [made.split, made.calibrate, made.judge])
    assert first <= fitted.min()
    assert fitted.max() < stop <= stopping.min()
    assert stopping.max() < calibrate <= calibrating.min() <= calibrating.max() < judge <= judging.min()
    assert len(made.slices) == len(made.x) == (mixed.slice >= first).sum()


@pytest.mark.parametrize("embargo", [1, 2])
def test_an_embargo_leaves_out_the_slices_before_each_part(embargo):
    rows = telemetry(3_000)
    spec = training(validation=0.4, embargo=embargo)
    kept, without = set(build_dataset(rows, spec, seed=0).slices), set()
    for bound in split_slices(rows.slice, spec).bounds:
        without |= set(range(bound - embargo, bound))
    assert kept == set(range(3, 60)) - without


def test_no_next_outcome_is_one_that_an_embargo_leaves_out():
    rows = telemetry(3_000)
    spec = training(validation=0.4, embargo=2)
    kept = build_dataset(rows, spec, seed=0)
    left_out = ~np.isin(rows.slice, kept.slices)
    spoiled = dataclasses.replace(rows, outcomes={n: np.where(left_out, v * 9.0, v) for n, v in rows.outcomes.items()})
    for name, values in build_dataset(spoiled, spec, seed=0).again.items():
        assert np.isfinite(values).any()
        np.testing.assert_array_equal(values, kept.again[name])


def test_rows_of_some_slices_can_be_left_out():
    made = build_dataset(telemetry(3_000), SPEC, seed=0)
    less = without_slices(made, np.array([10, 11]))
    np.testing.assert_array_equal(less.slices, made.slices[~np.isin(made.slices, [10, 11])])
    for name in ("split", "calibrate", "judge"):
        assert less.slices[getattr(less, name)] == made.slices[getattr(made, name)]
    assert {len(y) for y in [less.x, *less.targets.values(), *less.outcomes.values(), *less.again.values()]} == {
        len(less.slices)
    }


def test_the_first_slices_only_fill_history():
    rows = telemetry(3_000)
    made = build_dataset(rows, training(burn_in=0.5), seed=0)
    assert made.slices.min() == 30
    assert not np.isnan(made.x[:, made.features.names.index("node_mean")]).any()


def test_without_revealed_outcomes_history_knows_nothing():
    made = build_dataset(telemetry(), training(reveal=0.0), seed=0)
    history = [made.features.names.index(name) for name in ("node_mean", "pair_mean", "pair_failed")]
    assert np.isnan(made.x[:, history]).all()
    assert not np.isnan(made.targets["failure"]).any()


def test_a_seed_fixes_the_sample_and_the_cap_holds_for_all_parts_together():
    rows, spec = telemetry(3_000), training(rows=400, reveal=0.5)
    one, two, other = (build_dataset(rows, spec, seed=seed) for seed in (1, 1, 2))
    assert len(one.x) == 400
    assert same(one, two)
    assert not same(one, other)


def test_a_sample_that_misses_a_part_is_refused():
    rows = telemetry(4_000)
    rows = dataclasses.replace(
        rows, slice=np.searchsorted([1, 3_997, 3_998, 3_999], np.arange(4_000), "right").astype(np.int32)
    )
    with pytest.raises(
        DataError,
        match=r"^training: expected rows before slice 2, before 3, before 4 and after, found 100, 0, 0 and 0$",
    ):
        build_dataset(rows, training(rows=100), seed=0)


def test_targets_are_what_each_head_predicts_and_outcomes_what_its_value_means():
    heads = {**SPEC.heads, "level": Head(target="log1p(rtt_ms)", link="identity", given_ok=True)}
    rows = telemetry()
    made = build_dataset(rows, msgspec.structs.replace(SPEC, heads=heads), seed=0)
    kept = rows.slice >= split_slices(rows.slice, SPEC).fit
    failed, rtt = ~rows.ok[kept], rows.outcomes["rtt_ms"][kept]
    np.testing.assert_array_equal(made.targets["failure"], failed)
    np.testing.assert_array_equal(made.outcomes["failure"], failed)
    np.testing.assert_allclose(made.targets["latency"], np.where(failed, np.nan, np.log1p(rtt)), rtol=1e-6)
    np.testing.assert_array_equal(made.outcomes["latency"], np.where(failed, np.nan, rtt))
    np.testing.assert_array_equal(made.outcomes["level"], made.targets["latency"])


def test_categories_come_most_frequent_first_and_those_that_never_occur_not_at_all():
    kinds = Categories(np.repeat([3, 1, 0, -1], [5, 2, 2, 9]).astype(np.int32), ("live", "bulk", "never", "vod"))
    rows = telemetry(18)
    rows = dataclasses.replace(rows, request={"kind": kinds})
    found = find_vocabulary(rows, SPEC)
    assert found == {
        "request.kind": ("vod", "bulk", "live"),
        "request.isp": ("blue", "red", "white"),  # by client, not by row
        "node.isp": ("green", "red", "yellow"),
    }


def with_news(rows, first):
    """Rows of which those from a slice on name a kind, a carrier, clients and nodes that none before names."""
    late = rows.slice >= first
    codes = np.where(late, 2, rows.request["kind"].codes).astype(np.int32)
    kind = Categories(codes, (*rows.request["kind"].values, "new"))
    old = rows.nodes.columns["isp"]
    isp = Categories(np.append(old.codes, 3).astype(np.int32), (*old.values, "newcomer"))
    columns = {name: isp if name == "isp" else np.append(c, 0.0) for name, c in rows.nodes.columns.items()}
    nodes = Entities(ids=np.append(rows.nodes.ids, "late"), columns=columns)
    node = np.where(late & (np.arange(len(rows)) % 2 == 0), len(rows.nodes), rows.node).astype(np.int32)
    return dataclasses.replace(rows, request={"kind": kind}, nodes=nodes, node=node)


def test_the_vocabulary_and_capacities_do_not_depend_on_slices_that_only_judge():
    rows = telemetry(3_000)
    judge = split_slices(rows.slice, SPEC).judge
    one, other = (build_dataset(made, SPEC, seed=0) for made in (rows, with_news(rows, judge)))
    assert other.vocabulary == one.vocabulary
    assert other.memory.history == one.memory.history
    before = build_dataset(with_news(rows, judge - 1), SPEC, seed=0)
    assert "new" in before.vocabulary["request.kind"]
    assert "newcomer" in before.vocabulary["node.isp"]


def test_capacities_are_sized_without_the_keys_of_slices_that_only_judge():
    """Every late row names a node of its own, whose keys would take four times the room."""
    rows = telemetry(12_000)
    late = rows.slice >= split_slices(rows.slice, SPEC).judge
    n = int(late.sum())
    columns = {
        name: Categories(np.append(c.codes, np.full(n, -1)).astype(np.int32), c.values)
        if isinstance(c, Categories)
        else np.append(c, np.zeros(n))
        for name, c in rows.nodes.columns.items()
    }
    node = rows.node.copy()
    node[late] = len(rows.nodes) + np.arange(n)
    nodes = Entities(ids=np.append(rows.nodes.ids, [f"m{i}" for i in range(n)]), columns=columns)
    memory = build_dataset(dataclasses.replace(rows, nodes=nodes, node=node), SPEC, seed=0).memory
    assert memory.history.capacity == 1_024
    assert memory.tables["history"].keys > 2 * n  # how full it became counts all that it was shown


def test_the_vocabulary_is_bounded_and_the_rare_are_left_out(monkeypatch):
    monkeypatch.setattr("training.features.vocabulary.MAX_CATEGORIES", 3)
    codes = np.concatenate([np.full(i + 1, i) for i in range(9)]).astype(np.int32)
    rows = dataclasses.replace(telemetry(len(codes)), request={"kind": Categories(codes, tuple(range(100, 109)))})
    assert find_vocabulary(rows, SPEC)["request.kind"] == (108, 107, 106)


def test_rows_from_until_on_are_never_looked_at(small_world, tmp_path):
    """All that may change of later rows is changed, their types excepted."""
    spec, later = small_world.spec, pl.col("slice") >= UNTIL
    frame = pl.read_parquet(small_world.data / "telemetry.parquet")
    for name in ("clients.parquet", "nodes.parquet"):
        (tmp_path / name).write_bytes((small_world.data / name).read_bytes())
    numbers = [name for name, dtype in frame.schema.items() if dtype.is_float()]
    texts = ["workload", "customer"]
    changed = frame.with_columns(
        *(
            pl.when(later).then(pl.lit(float("nan"))).otherwise(pl.col(n)).cast(frame.schema[n]).alias(n)
            for n in numbers
        ),
        *(pl.when(later).then(pl.lit("new")).otherwise(pl.col(n)).alias(n) for n in texts),
        pl.when(later).then(~pl.col("ok")).otherwise(pl.col("ok")).alias("ok"),
        pl.when(later).then(pl.lit(None)).otherwise(pl.col("ts")).alias("ts"),
    )
    assert not changed.equals(frame)
    changed.write_parquet(tmp_path / "telemetry.parquet")
    before, after = (
        build_dataset(read_telemetry(folder, spec, until=UNTIL), spec, seed=0)
        for folder in (small_world.data, tmp_path)
    )
    assert before.slices.max() == UNTIL - 1
    assert before.vocabulary == after.vocabulary
    assert same(before, after)

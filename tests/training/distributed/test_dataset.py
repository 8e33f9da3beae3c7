"""What workers put together is what one machine would have built, bit for bit, also where one of them is killed."""

import os
import shutil
import signal

import msgspec
import numpy as np
import polars as pl
import pytest
from distributed import Client

from scheduler.errors import DataError
from scheduler.spec import TrainedMean
from tests.small_world import UNTIL, write_logged
from tests.training.distributed.test_sharding import with_change_points, with_factors
from training.distributed import cluster_dataset, connect
from training.distributed import slice_ranges as under_test
from training.features.dataset import build_dataset
from training.features.split import seen_until
from training.pipeline.train import read_window
from training.telemetry import read_telemetry
from training.telemetry.files.scan import telemetry_files

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def here():
    """A cluster of threads of this process."""
    with Client(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0") as client:
        yield client


def changed(spec, **training):
    return msgspec.structs.replace(spec, training=msgspec.structs.replace(spec.training, **training))


def both(client, data, spec, monkeypatch, **options):
    """Build on a cluster, in ranges of a few slices, and on one machine."""
    monkeypatch.setattr(under_test, "RANGE_ROWS", 3_000)
    rows = read_telemetry(data, spec, until=UNTIL)
    made = cluster_dataset(client, data, spec, until=UNTIL, seed=3, **options)
    assert made.evicted == 0
    assert made.read == read_window(rows) | seen_until(rows.slice, rows.time, spec)
    expected = build_dataset(rows, spec, seed=3)
    ours, theirs = made.dataset.memory, expected.memory
    assert ours[:3] == theirs[:3]  # sections of the spec, capacities among them
    for name, use in theirs.tables.items():
        assert (ours.tables[name].capacity, ours.tables[name].share) == (use.capacity, use.share)
        assert ours.tables[name].keys == pytest.approx(use.keys, rel=0.05)
    return made.dataset, expected


def assert_same(made, expected):
    assert made.features.names == expected.features.names
    assert made.vocabulary == expected.vocabulary
    assert (made.split, made.calibrate, made.judge) == (expected.split, expected.calibrate, expected.judge)
    np.testing.assert_array_equal(made.slices, expected.slices)
    np.testing.assert_array_equal(made.x, expected.x)
    pairs = [(made.targets, expected.targets), (made.outcomes, expected.outcomes)]
    assert (made.again is None) == (expected.again is None)
    if expected.again is not None:
        assert any(np.isfinite(values).any() for values in expected.again.values())
        pairs.append((made.again, expected.again))
    assert (made.weight is None) == (expected.weight is None)
    if expected.weight is not None:
        np.testing.assert_array_equal(made.weight, expected.weight)
    for ours, theirs in pairs:
        assert list(ours) == list(theirs)
        for name, values in theirs.items():
            np.testing.assert_array_equal(ours[name], values)


def test_by_default_there_is_a_shard_for_each_worker(small_world, monkeypatch):
    class Older:
        """A client that lists five workers unless it is told otherwise, as in distributed 2025.5."""

        def scheduler_info(self, n_workers=5):
            return {"workers": {f"tcp://a:{k}": {} for k in range(7)[: n_workers if n_workers >= 0 else 7]}}

    class Planned(Exception):  # noqa: N818 - ends the call, and is no error
        """How many shards there are to be."""

    def plan(_, n_shards):
        raise Planned(n_shards)

    monkeypatch.setattr("training.distributed.dataset.plan_shardings", plan)
    with pytest.raises(Planned, match="7"):
        cluster_dataset(Older(), small_world.data, small_world.spec, until=UNTIL, seed=3)


@pytest.mark.parametrize("n_shards", [1, 3])
def test_every_feature_row_is_that_of_one_machine(here, small_world, tmp_path, monkeypatch, n_shards):
    made, expected = both(here, small_world.data, small_world.spec, monkeypatch, n_shards=n_shards, scratch=tmp_path)
    assert_same(made, expected)
    assert not np.isnan(made.x).all(axis=0).any()  # every feature was put to the test
    assert list(tmp_path.iterdir()) == []


def test_what_is_drawn_at_random_is_what_one_machine_draws(here, small_world, monkeypatch):
    spec = changed(small_world.spec, rows=4_000, reveal=0.4)
    made, expected = both(here, small_world.data, spec, monkeypatch)
    assert len(made.x) == 4_000
    assert_same(made, expected)


def test_an_embargo_leaves_out_what_one_machine_leaves_out(here, small_world, monkeypatch):
    made, expected = both(here, small_world.data, changed(small_world.spec, embargo=2), monkeypatch)
    assert set(np.unique(read_telemetry(small_world.data, small_world.spec).slice)) - set(expected.slices)
    assert_same(made, expected)


def test_rows_are_weighed_by_the_same_propensities(here, small_world, tmp_path, monkeypatch):
    write_logged(tmp_path / "data", explore=0.2)
    spec = changed(small_world.spec, propensity_weights=20.0)
    spec = msgspec.structs.replace(spec, telemetry=msgspec.structs.replace(spec.telemetry, propensity="propensity"))
    made, expected = both(here, tmp_path / "data", spec, monkeypatch, n_shards=3)
    assert expected.weight.max() > 5.0 * expected.weight.min()
    assert_same(made, expected)


def test_outcomes_that_were_never_known_teach_nothing_on_any_machine(here, small_world, tmp_path, monkeypatch):
    data, spec = tmp_path / "data", small_world.spec
    shutil.copytree(small_world.data, data)
    for file in telemetry_files(data):
        rows = pl.read_parquet(file)
        late = np.random.default_rng(0).choice([1.0, 4_000.0, np.inf, np.nan], rows.height)
        rows.with_columns(known_after_s=pl.Series(late)).write_parquet(file)
    keys = tuple(name for name, parts in spec.history.keys.items() if parts in (("client", "node"), ("node",)))
    trained = TrainedMean(keys=keys, value=spec.history.values[0])
    spec = msgspec.structs.replace(spec, features={**spec.features, "trained": trained})
    made, expected = both(here, data, spec, monkeypatch, n_shards=3)
    assert_same(made, expected)
    for ours, theirs in zip(made.means, expected.means, strict=True):
        np.testing.assert_array_equal(ours.rows, theirs.rows)
    plain = build_dataset(read_telemetry(small_world.data, spec, until=UNTIL), spec, seed=3)
    assert expected.means.all.rows.sum() < plain.means.all.rows.sum()
    for name, values in plain.targets.items():
        np.testing.assert_array_equal(expected.targets[name], values)


def test_factor_models_see_all_outcomes(here, small_world, monkeypatch):
    made, expected = both(here, small_world.data, with_factors(small_world.spec), monkeypatch)
    assert np.isfinite(made.x[:, made.features.names.index("level")]).any()
    assert_same(made, expected)


def test_means_of_training_are_those_of_one_machine(here, small_world, monkeypatch):
    plain = changed(small_world.spec, rehearse=0.5, reveal=0.4)
    keys = tuple(name for name, parts in plain.history.keys.items() if parts in (("client", "node"), ("node",)))
    trained = TrainedMean(keys=keys, value=plain.history.values[0])
    spec = msgspec.structs.replace(plain, features={**plain.features, "trained": trained})
    made, expected = both(here, small_world.data, spec, monkeypatch)
    assert np.isfinite(made.x[:, made.features.names.index("trained")]).any()
    assert_same(made, expected)
    for ours, theirs in zip(made.means, expected.means, strict=True):
        np.testing.assert_array_equal(ours.keys, theirs.keys)
        np.testing.assert_array_equal(ours.rows, theirs.rows)
    assert made.means.before.rows.sum() < made.means.all.rows.sum()


def test_change_points_see_all_outcomes_of_their_group(here, small_world, monkeypatch):
    made, expected = both(here, small_world.data, with_change_points("node", small_world.spec), monkeypatch)
    assert np.isfinite(made.x[:, made.features.names.index("fresh")]).any()
    assert_same(made, expected)


def test_where_slices_overlap_in_time_rows_are_the_same_and_so_are_the_rejected_ones(
    here, small_world, tmp_path, monkeypatch
):
    for name in ("clients.parquet", "nodes.parquet"):
        shutil.copy(small_world.data / name, tmp_path)
    frame = pl.read_parquet(small_world.data / "telemetry.parquet")
    jitter = np.random.default_rng(0).integers(-1, 2, frame.height)
    mixed = (pl.col("slice").cast(pl.Int64) + pl.Series(jitter)).clip(0)
    lost = pl.when(pl.int_range(pl.len()) % 500 == 0).then(None).otherwise(mixed)
    frame.with_columns(slice=lost).write_parquet(tmp_path / "telemetry.parquet")
    made, expected = both(here, tmp_path, small_world.spec, monkeypatch)
    assert len(made.x) == len(expected.x) > 0

    def ordered(x):
        return x[np.lexsort(np.nan_to_num(x, nan=-1.0).T)]

    np.testing.assert_array_equal(ordered(made.x), ordered(expected.x))


def test_bad_data_is_the_error_that_one_machine_raises(here, small_world, tmp_path):
    for name in ("clients.parquet", "nodes.parquet", "telemetry.parquet"):
        shutil.copy(small_world.data / name, tmp_path)
    frame = pl.read_parquet(tmp_path / "telemetry.parquet")
    frame.with_columns(latency_ms=pl.lit(None, pl.Float32)).write_parquet(tmp_path / "telemetry.parquet")
    messages = []
    for build in (
        lambda: cluster_dataset(here, tmp_path, small_world.spec),
        lambda: read_telemetry(tmp_path, small_world.spec),
    ):
        with pytest.raises(DataError, match="expected a value where a request succeeded") as raised:
            build()
        messages.append(str(raised.value))
    assert messages[0] == messages[1]


def test_a_killed_worker_does_not_lose_the_run(small_world, tmp_path, monkeypatch):
    killed = []
    with connect("local:2") as client:

        def kill(what, done, _):
            if what == "replay shards" and done == 0 and not killed:
                pid = next(iter(client.run(os.getpid).values()))
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

        made, expected = both(client, small_world.data, small_world.spec, monkeypatch, scratch=tmp_path, progress=kill)
        assert killed
    assert_same(made, expected)


def test_times_in_another_unit_are_refused_as_on_one_machine(here, small_world, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(small_world.data, data)
    file = data / "telemetry.parquet"
    pl.read_parquet(file).with_columns(ts=pl.col("ts").dt.epoch("ms")).write_parquet(file)
    with pytest.raises(DataError, match="column 'ts': expected times in seconds") as one:
        read_telemetry(data, small_world.spec)
    with pytest.raises(DataError) as many:
        cluster_dataset(here, data, small_world.spec)
    assert str(many.value) == str(one.value)

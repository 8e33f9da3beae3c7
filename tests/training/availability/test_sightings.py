"""Sightings become telemetry: what became of each, when it was known, and which are censored."""

import numpy as np
import polars as pl
import pytest

from scheduler.errors import DataError, InputError
from training.availability import write_lifetimes
from training.availability.sightings import LEAD_MS, lifetimes
from training.specs.builtin import find_spec
from training.telemetry import read_telemetry

HOURS = 3600.0


def sightings(seed=0, n_snapshots=30, n_nodes=8):
    """Snapshots at uneven times with a hole in their numbers, and nodes seen at random by two clients."""
    rng = np.random.default_rng(seed)
    numbers = np.flatnonzero(rng.random(2 * n_snapshots) < 0.5)[:n_snapshots] + 3
    times = np.cumsum(rng.uniform(0.5, 8.0, len(numbers))) * HOURS
    rows = [
        (int(number), float(time), client, node, float(rng.uniform(1e3, 1e6)))
        for number, time in zip(numbers, times, strict=True)
        for client in (0, 7)
        for node in range(n_nodes)
        if rng.random() < 0.1 + 0.1 * node
    ]
    names = ["slice", "ts", "client_id", "node_id", "throughput_kbps"]
    return pl.DataFrame(rows, schema=names, orient="row").sample(fraction=1.0, shuffle=True, seed=seed)


def write(folder, rows, state=None):
    folder.mkdir()
    rows.write_parquet(folder / "telemetry.parquet")
    pl.DataFrame({"id": [0, 7]}).write_parquet(folder / "clients.parquet")
    nodes = rows["node_id"].unique().sort()
    pl.DataFrame({"id": nodes, "country": ["KR"] * len(nodes), "kind": ["volunteer"] * len(nodes)}).write_parquet(
        folder / "nodes.parquet"
    )
    if state is not None:
        state.write_parquet(folder / "node_state.parquet")
    return folder


def twin(rows, horizon):
    """Look through all later snapshots for each sighting."""
    times = {r["slice"]: r["ts"] for r in rows.to_dicts()}
    order = sorted(times)
    seen = {(r["slice"], r["client_id"], r["node_id"]): r["throughput_kbps"] for r in rows.to_dicts()}
    out = {}
    for slice_, client, node in seen:
        ahead = order[order.index(slice_) + 1 :][:horizon]
        if len(ahead) < horizon:
            continue
        again = next((s for s in ahead if (s, client, node) in seen), None)
        known = times[ahead[-1] if again is None else again] - times[slice_]
        speed = None if again is None else seen[again, client, node]
        out[slice_, client, node] = (again is not None, speed, known * 1000 - LEAD_MS)
    return out


@pytest.mark.parametrize("horizon", [1, 3, 12])
@pytest.mark.parametrize("seed", range(3))
def test_what_became_of_a_sighting_is_what_looking_ahead_finds(seed, horizon):
    rows = sightings(seed)
    got = {
        (r["slice"], r["client_id"], r["node_id"]): (r["listed"], r["throughput_kbps"], r["known_ms"])
        for r in lifetimes(rows, horizon).to_dicts()
    }
    expected = twin(rows, horizon)
    assert got.keys() == expected.keys()
    for key, (listed, speed, known) in expected.items():
        assert got[key][:2] == (listed, speed)
        assert got[key][2] == pytest.approx(known, abs=1e-3)


def test_later_snapshots_change_no_outcome_that_is_known():
    rows = sightings()
    cut = sorted(rows["slice"].unique())[20]
    past, whole = lifetimes(rows.filter(pl.col("slice") < cut), 4), lifetimes(rows, 4)
    assert whole.filter(pl.col("slice") <= past["slice"].max()).equals(past)


def test_sightings_whose_horizon_passes_the_last_snapshot_are_censored_even_where_seen_again():
    slices = [0, 1, 2, 3]
    rows = pl.DataFrame(
        {"slice": slices, "ts": [s * HOURS for s in slices], "client_id": 0, "node_id": 5, "throughput_kbps": 1.0}
    )
    assert lifetimes(rows, 2)["slice"].to_list() == [0, 1]


def test_what_a_snapshot_says_of_earlier_sightings_is_known_when_its_own_are_decided(tmp_path):
    state = sightings().select("slice", "node_id").unique().with_columns(rtt_ms=20.0, sessions=3, score=5)
    state = state.with_columns(uptime_s=pl.lit(None, pl.Float64), total_users=9)
    folder = write_lifetimes(write(tmp_path / "data", sightings(), state), tmp_path / "out", 12)
    got = read_telemetry(folder, find_spec("vpngate"))
    checked = 0
    for row in got.ok.nonzero()[0]:
        later = (got.client == got.client[row]) & (got.node == got.node[row]) & (got.slice > got.slice[row])
        if later.any():
            following = got.time[later].min()
            assert following - 2 * LEAD_MS / 1000 < got.arrival[row] < following
            checked += 1
    assert checked > 50


def test_the_state_of_a_node_is_joined_and_its_present_speed_kept_beside_the_next(tmp_path):
    rows = sightings()
    state = rows.select("slice", "node_id", "ts").unique(["slice", "node_id"]).with_columns(score=pl.col("node_id") * 2)
    out = write_lifetimes(write(tmp_path / "data", rows, state), tmp_path / "out", 2)
    got = pl.read_parquet(out / "telemetry.parquet")
    assert (got["score"] == got["node_id"] * 2).all()
    now = got.join(rows, on=["slice", "client_id", "node_id"], how="left", suffix="_now")
    assert (now["speed_kbps"] == now["throughput_kbps_now"]).all()
    assert (out / "nodes.parquet").read_bytes() == (tmp_path / "data" / "nodes.parquet").read_bytes()


def test_dates_and_seconds_mean_the_same():
    rows = sightings()
    dated = rows.with_columns(ts=pl.from_epoch((pl.col("ts") * 1000).round().cast(pl.Int64), time_unit="ms"))
    one, two = lifetimes(rows, 3), lifetimes(dated, 3)
    assert one["listed"].equals(two["listed"])
    assert np.abs(one["known_ms"].to_numpy() - two["known_ms"].to_numpy()).max() <= 1.0


def test_a_node_seen_twice_in_a_slice_is_refused(tmp_path):
    rows = sightings()
    data = write(tmp_path / "data", pl.concat([rows, rows[:1]]))
    with pytest.raises(DataError, match="once in a slice"):
        write_lifetimes(data, tmp_path / "out", 1)
    assert not (tmp_path / "out").exists()


def test_a_horizon_below_one_or_beyond_the_data_is_refused(tmp_path):
    data = write(tmp_path / "data", sightings())
    with pytest.raises(InputError, match=r"horizon: expected at least 1 snapshot, found 0"):
        write_lifetimes(data, tmp_path / "out", 0)
    with pytest.raises(DataError, match="expected more than 99 snapshots"):
        write_lifetimes(data, tmp_path / "out", 99)


@pytest.mark.parametrize("column", ["slice", "ts", "client_id", "node_id", "throughput_kbps"])
def test_a_missing_column_is_named(tmp_path, column):
    data = write(tmp_path / "data", sightings())
    pl.read_parquet(data / "telemetry.parquet").drop(column).write_parquet(data / "telemetry.parquet")
    with pytest.raises(DataError, match=rf"telemetry.parquet: column '{column}'"):
        write_lifetimes(data, tmp_path / "out", 1)

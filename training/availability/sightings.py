"""Sightings of nodes, turned into telemetry whose outcome is whether and when a node is seen again.

A sighting is a row of one snapshot: a client saw a node. Its outcome for a horizon of ``h`` snapshots is whether the
same client sees the node again within the next ``h`` snapshots, and how fast it is then. It is known when that
happens, or after the last of these snapshots. Sightings whose horizon ends after the last snapshot are censored: none
of them is kept, because keeping only those that were seen again would make nodes look livelier than they are.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl

from scheduler.errors import DataError, InputError
from scheduler.runtime.durable import replacing
from training.telemetry.files.kinds import (
    ID,
    INTEGER,
    NUMBER,
    TIME,
    check_types,
    check_whole,
    is_text,
    refuse,
    widened,
    widest,
)
from training.telemetry.tables import CLIENTS, NODES, naming, scan

STATE = "node_state.parquet"

LEAD_MS = 1000
"""A snapshot is read this long before decisions are made from it, so the outcomes of earlier sightings are in history
by then. Times of arrival are float32 milliseconds after the sighting; up to half a year their error is smaller."""

_KEYS = ["slice", "client_id", "node_id"]
_SIGHTINGS = {"slice": INTEGER, "ts": TIME, "client_id": ID, "node_id": ID, "throughput_kbps": NUMBER}


def write_lifetimes(data: Path, out: Path, horizon: int) -> Path:
    """Turn a folder of sightings into a telemetry directory for one horizon.

    Parameters
    ----------
    data
        Holds ``telemetry.parquet`` with the columns ``slice``, ``ts``, ``client_id``, ``node_id``,
        ``throughput_kbps`` and any more, one row a sighting; ``clients.parquet``; ``nodes.parquet``; and, where there
        is one, ``node_state.parquet`` with more columns by ``slice`` and ``node_id``.
    out
        Receives ``telemetry.parquet`` and copies of the two tables; existing files are replaced.
    horizon
        Snapshots.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    InputError
        If the horizon is below 1.
    DataError
        If a file or a column is missing or of a wrong type, a client saw a node twice in one slice, or no horizon
        ends within the data.
    """
    rows = lifetimes(read_sightings(data), horizon)
    if rows.is_empty():
        raise DataError(f"{data}: expected more than {horizon} snapshots, found no sighting whose horizon has ended")
    out.mkdir(parents=True, exist_ok=True)
    tables = (CLIENTS, NODES)
    with replacing(*(out / name for name in (*tables, "telemetry.parquet"))) as parts:
        for table, part in zip(tables, parts, strict=False):
            with naming(data / table):
                shutil.copyfile(data / table, part)
        rows.write_parquet(parts[-1])
    return out


def read_sightings(data: Path) -> pl.DataFrame:
    """Read the sightings of a folder with what ``node_state.parquet`` adds to them; see `write_lifetimes`."""
    rows = _read(data / "telemetry.parquet", _SIGHTINGS)
    if (data / STATE).exists():
        state = _read(data / STATE, {key: _SIGHTINGS[key] for key in ("slice", "node_id")})
        new = [name for name in state.columns if name not in rows.columns]
        rows, state = _alike(data / STATE, rows, state)
        rows = rows.join(state.select("slice", "node_id", *new), on=["slice", "node_id"], how="left")
    twice = rows.filter(pl.struct(_KEYS).is_duplicated())
    if not twice.is_empty():
        raise DataError(f"{data}: expected a client to see a node once in a slice, found {twice.select(_KEYS).row(0)}")
    return rows


def _read(file: Path, types: dict[str, str]) -> pl.DataFrame:
    with naming(file):
        schema = pl.read_parquet_schema(file)
        check_types(file, schema, types)
        targets = {name: widest(kind, [schema[name]]) for name, kind in types.items()}
        check_whole(file, scan(file), schema, targets)
        wide = [widened(name, schema[name], target) for name, target in targets.items()]
        return scan(file).with_columns(wide).collect()


def _alike(file: Path, rows: pl.DataFrame, state: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return sightings and what is added to them with keys of the same types."""
    for key in ("slice", "node_id"):
        types = [rows.schema[key], state.schema[key]]
        if pl.Null not in types and is_text(types[0]) != is_text(types[1]):
            refuse(file, key, f"{types[0]} as in telemetry.parquet", types[1])
        target = widest(_SIGHTINGS[key], types)
        rows, state = (one.with_columns(widened(key, one.schema[key], target)) for one in (rows, state))
    return rows, state


def lifetimes(sightings: pl.DataFrame, horizon: int) -> pl.DataFrame:
    """Return the sightings whose horizon has ended, with their outcomes.

    Parameters
    ----------
    sightings
        As `read_sightings` returns them.
    horizon
        Snapshots.

    Returns
    -------
    pl.DataFrame
        The columns of the sightings, but ``throughput_kbps`` is that of the next sighting (null where there is none
        within the horizon) and the present one is called ``speed_kbps``; and ``listed``, whether the node was seen
        again within the horizon, and ``known_ms``, after how many milliseconds that was known. By slice, client and
        node.

    Raises
    ------
    InputError
        If the horizon is below 1.
    """
    if horizon < 1:
        raise InputError(f"horizon: expected at least 1 snapshot, found {horizon}")
    rows = with_gaps(sightings).filter(pl.col("remaining") >= horizon)
    listed = (pl.col("gap") <= horizon).fill_null(value=False)
    known = pl.when("listed").then(pl.col("next_s")).otherwise(pl.col("deadline_s"))
    return (
        rows.join(snapshots(sightings).select("at", deadline_s=pl.col("time_s").shift(-horizon)), on="at")
        .with_columns(listed=listed, throughput_kbps=pl.when(listed).then("next_kbps"))
        .with_columns(known_ms=pl.max_horizontal((known - pl.col("time_s")) * 1000.0 - LEAD_MS, 0.0))
        .drop("at", "time_s", "gap", "remaining", "next_s", "next_kbps", "deadline_s")
        .sort(_KEYS)
    )


def with_gaps(sightings: pl.DataFrame) -> pl.DataFrame:
    """Add to each sighting when its node is seen next, over the snapshots that there are.

    Returns
    -------
    pl.DataFrame
        With ``at``, the number of its snapshot, ``time_s``; ``gap``, the snapshots until the same client sees the same
        node again, ``next_s`` and ``next_kbps``, null where it never does; ``remaining``, the snapshots after its own.
    """
    numbered = snapshots(sightings).select("slice", "at")
    pair = ["client_id", "node_id"]
    return (
        sightings.with_columns(time_s=_seconds(sightings))
        .join(numbered, on="slice")
        .sort("at")
        .rename({"throughput_kbps": "speed_kbps"})
        .with_columns(
            gap=(pl.col("at").shift(-1) - pl.col("at")).over(pair),
            next_s=pl.col("time_s").shift(-1).over(pair),
            next_kbps=pl.col("speed_kbps").shift(-1).over(pair),
            remaining=numbered.height - 1 - pl.col("at"),
        )
    )


def snapshots(sightings: pl.DataFrame) -> pl.DataFrame:
    """Return the snapshots in order with their number ``at`` and the time ``time_s`` of their last row."""
    times = sightings.group_by("slice").agg(time_s=_seconds(sightings).max()).sort("slice")
    return times.with_columns(at=pl.int_range(pl.len(), dtype=pl.Int64))


def _seconds(sightings: pl.DataFrame) -> pl.Expr:
    dated = sightings.schema["ts"] == pl.Datetime
    return (pl.col("ts").dt.epoch("us") / 1e6 if dated else pl.col("ts")).cast(pl.Float64)

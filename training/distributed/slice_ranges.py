"""Read and check each range of slices on a worker, and write its rows to one file per shard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from scheduler.columns.ids import Id
from scheduler.runtime.durable import replacing
from scheduler.spec import Spec
from training.distributed.sharding import Shard, Sharding, shard_numbers
from training.distributed.sketch import sketch
from training.features.vocabulary import category_counts, occurring
from training.telemetry import Categories, Columns, Entities, Telemetry
from training.telemetry.history_keys import row_keys
from training.telemetry.read import read_part

RANGE_ROWS = 2_000_000
"""Rows of a range: some 0.5 GB while they are checked, and few enough that files stay large. A slice is never cut, so
one with more rows is a range by itself."""


class Plan(NamedTuple):
    """What every task knows: the data, its spec, the shardings, and a folder for files that all workers see."""

    data: Path
    spec: Spec
    shardings: tuple[Sharding, ...]
    scratch: Path


class SliceRange(NamedTuple):
    """Slices from ``start`` and before ``until``; None is open, so that the first and last range take odd slices."""

    number: int
    start: int | None
    until: int | None


class Slices(NamedTuple):
    """Facts about the slices, after all ranges were read.

    Attributes
    ----------
    counts
        How many rows each has, rejected ones included, in order.
    until
        The first one that is never looked at, or None.
    middles
        Median times, see `training.telemetry.read.slice_middles`; None where the spec has no time.
    accepted
        Those with accepted rows, each once, in order.
    """

    counts: dict[int, int]
    until: int | None
    middles: pl.DataFrame | None
    accepted: NDArray[np.int32]


class Met(NamedTuple):
    """What rows name.

    Attributes
    ----------
    categories
        By ``request.COLUMN`` and ``node.COLUMN`` the values that the telemetry holds, and how many rows have each.
    sketches
        By history key what `training.distributed.sketch.sketch` keeps of its values.
    clients, nodes
        For each of the two tables' rows whether it is named.
    """

    categories: dict[str, tuple[tuple[Id, ...], NDArray[np.int64]]]
    sketches: dict[str, NDArray[np.uint8]]
    clients: NDArray[np.bool_]
    nodes: NDArray[np.bool_]


class SplitRange(NamedTuple):
    """Facts about a range, after it was split.

    Attributes
    ----------
    n_read, n_measured, n_rows
        Rows looked at, with the cost's outcome, and accepted.
    slices, lengths
        The accepted rows' slices as runs in the order of rows.
    first_times, last_times
        Of the earliest and the latest row of each run.
    met
        What the rows name.
    """

    n_read: int
    n_measured: int
    n_rows: int
    slices: NDArray[np.int32]
    lengths: NDArray[np.int64]
    first_times: NDArray[np.float64]
    last_times: NDArray[np.float64]
    met: Met


def plan_ranges(counts: Mapping[int, int], until: int | None) -> list[SliceRange]:
    """Group slices into ranges of at least `RANGE_ROWS` rows each, except the last."""
    starts: list[int] = []
    filled = 0
    for number, n in counts.items():
        if not starts or filled >= RANGE_ROWS:
            starts.append(number)
            filled = 0
        filled += n
    bounds: list[int | None] = [None, *starts[1:], until]
    return [SliceRange(k, bounds[k], bounds[k + 1]) for k in range(len(starts))]


def split_range(plan: Plan, one: SliceRange, middles: pl.DataFrame | None) -> SplitRange:
    """Read and check a range, and write its rows to one file for each shard of each sharding."""
    part = read_part(plan.data, plan.spec, start=one.start, until=one.until, middles=middles)
    rows = part.telemetry
    frame = to_frame(rows)
    for sharding in plan.shardings:
        owner = shard_numbers(rows, sharding)
        sorted_rows = frame[np.argsort(owner, kind="stable")]
        ends = np.cumsum(np.bincount(owner, minlength=sharding.n_shards))
        for shard, begin, end in zip(sharding.shards(), [0, *ends[:-1]], ends, strict=True):
            _write(sorted_rows[int(begin) : int(end)], shard_file(plan, one.number, shard))
    changes = np.flatnonzero(np.diff(rows.slice, prepend=-1))
    return SplitRange(
        n_read=rows.n_read,
        n_measured=part.n_measured,
        n_rows=len(rows),
        slices=rows.slice[changes],
        lengths=np.diff(np.append(changes, len(rows))),
        first_times=np.minimum.reduceat(rows.time, changes) if len(rows) else rows.time,
        last_times=np.maximum.reduceat(rows.time, changes) if len(rows) else rows.time,
        met=_met(rows, plan.spec),
    )


def meet_range(plan: Plan, one: SliceRange, middles: pl.DataFrame | None) -> Met:
    """Read and check a range, and return what its rows name."""
    part = read_part(plan.data, plan.spec, start=one.start, until=one.until, middles=middles)
    return _met(part.telemetry, plan.spec)


def _met(rows: Telemetry, spec: Spec) -> Met:
    return Met(
        categories={
            name: (column.values, category_counts(column))
            for name, column in _own(rows).items()
            if isinstance(column, Categories)
        },
        sketches={name: sketch(keys) for name, keys in row_keys(rows, spec)},
        clients=occurring(rows.client, len(rows.clients)),
        nodes=occurring(rows.node, len(rows.nodes)),
    )


def shard_file(plan: Plan, range_number: int, shard: Shard) -> Path:
    """Return the file of a range's rows that belong to a shard."""
    return plan.scratch / f"{shard.sharding.by}-{shard.number}" / f"{range_number:06d}.arrow"


def _write(frame: pl.DataFrame, file: Path) -> None:
    """Write beside the place and rename: a task that is run again, or twice at once, leaves a whole file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file, is_durable=False) as (part,):
        frame.write_ipc(part, compression="lz4")


def _own(telemetry: Telemetry) -> Columns:
    """Return the columns that telemetry itself holds under the names that a vocabulary gives them."""
    return {f"request.{name}": column for name, column in telemetry.request.items()} | {
        f"node.{name}": column for name, column in telemetry.node_state.items()
    }


def to_frame(telemetry: Telemetry) -> pl.DataFrame:
    """Return rows as a frame, with their numbers as ``row``; categories as codes."""
    columns: dict[str, NDArray[Any]] = {
        "row": np.arange(len(telemetry)),
        "time": telemetry.time,
        "arrival": telemetry.arrival,
        "slice": telemetry.slice,
        "client": telemetry.client,
        "node": telemetry.node,
        "ok": telemetry.ok,
    }
    if telemetry.propensity is not None:
        columns["propensity"] = telemetry.propensity
    columns |= {f"outcome.{name}": values for name, values in telemetry.outcomes.items()}
    columns |= {name: c.codes if isinstance(c, Categories) else c for name, c in _own(telemetry).items()}
    return pl.DataFrame(columns)


def from_frame(
    frame: pl.DataFrame, clients: Entities, nodes: Entities, categories: Mapping[str, tuple[Id, ...]]
) -> Telemetry:
    """Return what `to_frame` was given; ``categories`` are what the codes mean."""

    def side(prefix: str) -> Columns:
        columns: Columns = {}
        for name in frame.columns:
            if name.startswith(prefix):
                values = frame[name].to_numpy()
                known = categories.get(name)
                columns[name.removeprefix(prefix)] = values if known is None else Categories(values, known)
        return columns

    outcomes = [name for name in frame.columns if name.startswith("outcome.")]
    return Telemetry(
        time=frame["time"].to_numpy(),
        arrival=frame["arrival"].to_numpy(),
        slice=frame["slice"].to_numpy(),
        client=frame["client"].to_numpy(),
        node=frame["node"].to_numpy(),
        ok=frame["ok"].to_numpy(),
        outcomes={name.removeprefix("outcome."): frame[name].to_numpy() for name in outcomes},
        request=side("request."),
        node_state=side("node."),
        clients=clients,
        nodes=nodes,
        rejected={},
        n_read=frame.height,
        propensity=frame["propensity"].to_numpy() if "propensity" in frame.columns else None,
    )

"""What is in a telemetry directory: the figures behind ``fogline check``, and the identity of a data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from scheduler.history.store import capacities
from scheduler.spec import Spec
from training.telemetry.data import Data
from training.telemetry.data_id import data_id
from training.telemetry.describe import CategorySummary, CountRange, describe
from training.telemetry.history_keys import count_keys
from training.telemetry.history_size import auto_capacity, automatic, needed, sized
from training.telemetry.read import Progress, read_telemetry
from training.telemetry.telemetry import Telemetry
from training.telemetry.units import date_text, slice_length


@dataclass(frozen=True, kw_only=True)
class OutcomeSummary:
    """An outcome over the accepted rows; min, median, mean and max are NaN where it was never measured."""

    nulls: int
    min: float
    median: float
    mean: float
    max: float


@dataclass(frozen=True, kw_only=True)
class TableSummary:
    """How many entries a table of running statistics will need.

    ``keys`` counts by history key, latent factors or change points; ``total`` is their sum. ``capacity`` is about
    how many fit, ``auto`` whether that was chosen by these keys, ``enough`` whether all of them fit, and ``advised``
    what ``auto`` would choose.
    """

    keys: dict[str, int]
    total: int
    capacity: int
    auto: bool
    enough: bool
    advised: int


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """What a check found.

    ``slices`` counts distinct ones, ``first_time`` and ``last_time`` are in seconds, the dates the
    same in UTC (None where the spec has no time column, so that times only count slices). ``slice_seconds`` is how long
    a slice lasts by the times (NaN where they do not tell), ``slice_seconds_spec`` by the spec. ``clients`` and
    ``nodes`` are the sizes of the tables. ``rejected`` counts per rule, so its sum may exceed ``rows - accepted``.
    ``advice`` says what the spec should say by the figures; for the others see
    `training.telemetry.describe.Description`.
    """

    rows: int
    accepted: int
    rejected: dict[str, int]
    slices: int
    first_slice: int
    last_slice: int
    first_time: float
    last_time: float
    first_date: str | None
    last_date: str | None
    span_seconds: float
    slice_seconds: float
    slice_seconds_spec: float
    clients: int
    nodes: int
    outcomes: dict[str, OutcomeSummary]
    rows_a_slice: CountRange
    nodes_a_client_and_slice: CountRange
    failed: float
    cost: float
    categories: dict[str, CategorySummary]
    advice: list[str]
    tables: dict[str, TableSummary]
    data_id: str


def check_telemetry(
    folder: Data, spec: Spec, *, rejected_to: Path | None = None, progress: Progress | None = None
) -> CheckReport:
    """Read a telemetry directory and say what is in it.

    Takes and raises what `read_telemetry` does.
    """
    telemetry = read_telemetry(folder, spec, rejected_to=rejected_to, progress=progress)
    slices = np.unique(telemetry.slice)
    first, last = float(telemetry.time[0]), float(telemetry.time[-1])
    timed = spec.telemetry.time is not None
    seen = describe(telemetry, spec)
    return CheckReport(
        rows=telemetry.n_read,
        accepted=len(telemetry),
        rejected=telemetry.rejected,
        slices=len(slices),
        first_slice=int(slices[0]),
        last_slice=int(slices[-1]),
        first_time=first,
        last_time=last,
        first_date=date_text(first) if timed else None,
        last_date=date_text(last) if timed else None,
        span_seconds=last - first,
        slice_seconds=_slice_length(telemetry) if timed else np.nan,
        slice_seconds_spec=spec.telemetry.slice.seconds,
        clients=len(telemetry.clients),
        nodes=len(telemetry.nodes),
        outcomes=_summaries(telemetry),
        rows_a_slice=seen.rows_a_slice,
        nodes_a_client_and_slice=seen.nodes_a_client_and_slice,
        failed=seen.failed,
        cost=seen.cost,
        categories=seen.categories,
        advice=seen.advice(spec),
        tables=_tables(count_keys(telemetry, spec), spec),
        data_id=data_id(folder),
    )


def _slice_length(telemetry: Telemetry) -> float:
    rows = pl.DataFrame({"slice": telemetry.slice, "time": telemetry.time})
    return slice_length(rows.group_by("slice").agg(pl.col("time").median()).sort("slice"))


def _tables(keys: dict[str, int], spec: Spec) -> dict[str, TableSummary]:
    room, auto = capacities(sized(spec, keys)), automatic(spec)
    return {
        name: TableSummary(
            keys=parts,
            total=sum(parts.values()),
            capacity=room[name],
            auto=auto[name],
            enough=sum(parts.values()) <= room[name],
            advised=auto_capacity(sum(parts.values())),
        )
        for name, parts in needed(spec, keys).items()
    }


def _summaries(telemetry: Telemetry) -> dict[str, OutcomeSummary]:
    return {name: _summary(values) for name, values in telemetry.outcomes.items()}


def _summary(values: NDArray[np.float32]) -> OutcomeSummary:
    measured = values[~np.isnan(values)]
    nulls = len(values) - len(measured)
    if not len(measured):
        return OutcomeSummary(nulls=nulls, min=np.nan, median=np.nan, mean=np.nan, max=np.nan)
    low, median, high = (float(figure) for figure in (measured.min(), np.median(measured), measured.max()))
    mean = float(measured.mean(dtype=np.float64))
    return OutcomeSummary(nulls=nulls, min=low, median=median, mean=mean, max=high)

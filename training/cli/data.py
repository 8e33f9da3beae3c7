"""``fogline check``."""

from __future__ import annotations

import math
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.cli.options import Data, Json, SpecName, Wide
from training.cli.output import print_json, progress_bar
from training.cli.table import Cell, Column, FigureTable, Row, number, print_sentence, print_table
from training.specs.builtin import find_spec

if TYPE_CHECKING:
    from training.telemetry import CheckReport, TableSummary


def check(
    data: Data,
    spec: SpecName,
    rejected: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for rejected.parquet, the rejected rows with their reasons."),
    ] = None,
    wide: Wide = False,
    json: Json = False,
) -> None:
    """Check a telemetry directory against a spec and say what is in it."""
    from training.heads.lightgbm_params import resolve_lightgbm
    from training.telemetry import check_telemetry

    parsed = resolve_lightgbm(find_spec(spec))
    with progress_bar(json) as progress:
        report = check_telemetry(
            data, parsed, rejected_to=rejected, progress=lambda done, of: progress("read", done, of)
        )
    if json:
        print_json(asdict(report))
        return
    print_sentence(
        f"{report.accepted:,} of {report.rows:,} rows accepted: slices {report.first_slice} to {report.last_slice}, "
        f"{report.clients:,} clients, {report.nodes:,} nodes. Data set {report.data_id[:12]}.\n"
    )
    print_sentence(_times(report) + "\n")
    if report.rejected:
        print_table(_rejected(report), wide=wide)
    print_table(_outcomes(report), wide=wide)
    print_table(_keys(report), wide=wide)
    for name, table in report.tables.items():
        print_sentence(_room(name, table))


def _rejected(report: CheckReport) -> FigureTable:
    """Return how many rows each rule rejected, the most first."""
    most_first = sorted(report.rejected.items(), key=lambda item: -item[1])
    rows = tuple(Row(rule, (Cell(f"{count:,}"),)) for rule, count in most_first)
    return FigureTable("Rejected", "rule", (Column("rows"),), rows)


def _outcomes(report: CheckReport) -> FigureTable:
    columns = (Column("null", 3), Column("min", 2), Column("median", 0), Column("max", 1))
    rows = tuple(
        Row(name, (Cell(f"{o.nulls:,}"), *(Cell(number(value)) for value in (o.min, o.median, o.max))))
        for name, o in report.outcomes.items()
    )
    return FigureTable("Outcomes", "outcome", columns, rows)


def _keys(report: CheckReport) -> FigureTable:
    """Return how many entries each key of the running statistics will need."""
    rows = tuple(
        Row(f"{name} {key}" if name != "history" else key, (Cell(f"{count:,}"),))
        for name, table in report.tables.items()
        for key, count in table.keys.items()
    )
    return FigureTable("Running statistics: entries that they will need", "key", (Column("entries"),), rows)


def _room(name: str, table: TableSummary) -> str:
    """Return whether a table of running statistics has room for the keys of the data."""
    if table.auto:
        return f"{name}: {table.total:,} entries; training makes room for {table.capacity:,} (capacity = auto)."
    if table.enough:
        return f"{name}: {table.total:,} entries fit, as there is room for about {table.capacity:,}."
    return (
        f"Warning: {name}: {table.total:,} entries do not fit, as there is room for about {table.capacity:,} only; "
        f"room for {table.advised:,} would do, and capacity = auto has training choose."
    )


def _times(report: CheckReport) -> str:
    """Return when the rows begin and end, and how long a slice lasts."""
    by_spec = f"{timedelta(seconds=report.slice_seconds_spec)} by the spec"
    if report.first_date is None:
        return f"Times: none, so that rows begin with their slices, which last {by_spec}."
    known = math.isfinite(report.slice_seconds)
    seen = f"{timedelta(seconds=round(report.slice_seconds))} by the times" if known else "unknown by the times"
    span = timedelta(seconds=round(report.span_seconds))
    return f"Times: {report.first_date} to {report.last_date}, {span}. A slice lasts {seen}, {by_spec}."

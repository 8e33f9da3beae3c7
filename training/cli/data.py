"""``fogline check``."""

from __future__ import annotations

import math
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    from training.telemetry import check_telemetry, data_of

    parsed = resolve_lightgbm(find_spec(spec))
    with progress_bar(json) as progress:
        report = check_telemetry(
            data_of(data), parsed, rejected_to=rejected, progress=lambda done, of: progress("read", done, of)
        )
    if json:
        print_json(plain(report))
        return
    first, *others = sentences(report)
    print_sentence(first + "\n")
    for table in tables_of(report):
        print_table(table, wide=wide)
    for line in others:
        print_sentence(line)


def sentences(report: CheckReport) -> list[str]:
    """Return what a check found in words: first rows, times and density, then whether tables fit, then advice."""
    rows = (
        f"{report.accepted:,} of {report.rows:,} rows accepted: slices {report.first_slice} to {report.last_slice}, "
        f"{report.clients:,} clients, {report.nodes:,} nodes. Data set {report.data_id[:12]}."
    )
    first = f"{rows}\n\n{_times(report)}\n{_density(report)}"
    room = [_room(name, table) for name, table in report.tables.items()]
    return [first, *room, *(f"Advice: {line}." for line in report.advice)]


def tables_of(report: CheckReport) -> list[FigureTable]:
    """Return the figures of a check as tables."""
    found = [_rejected(report)] if report.rejected else []
    found.append(_outcomes(report))
    if report.categories:
        found.append(_categories(report))
    return [*found, _keys(report)]


def plain(report: CheckReport) -> dict[str, Any]:
    """Return a report as JSON has it; categories are pairs, as integers are no keys there."""
    found = asdict(report)
    for one in found["categories"].values():
        one["common"] = [[value, count] for value, count in one["common"].items()]
    return found


def _rejected(report: CheckReport) -> FigureTable:
    """Return how many rows each rule rejected, the most first."""
    most_first = sorted(report.rejected.items(), key=lambda item: -item[1])
    rows = tuple(Row(rule, (Cell(f"{count:,}"),)) for rule, count in most_first)
    return FigureTable("Rejected", "rule", (Column("rows"),), rows)


def _outcomes(report: CheckReport) -> FigureTable:
    columns = (Column("null", 3), Column("min", 2), Column("median", 0), Column("mean", 1), Column("max", 1))
    rows = tuple(
        Row(name, (Cell(f"{o.nulls:,}"), *(Cell(number(value)) for value in (o.min, o.median, o.mean, o.max))))
        for name, o in report.outcomes.items()
    )
    return FigureTable("Outcomes", "outcome", columns, rows)


def _density(report: CheckReport) -> str:
    """Return how many rows a slice has, how many nodes a client meets in one, and how many requests fail."""
    rows, met = report.rows_a_slice, report.nodes_a_client_and_slice
    return (
        f"Rows a slice: {rows.min:,.0f} to {rows.max:,.0f}, median {rows.median:,.0f}. "
        f"Nodes a client and slice: {met.min:,.0f} to {met.max:,.0f}, median {met.median:,.0f}. "
        f"{report.failed:.2%} of the requests failed; the mean cost is {number(report.cost)}."
    )


def _categories(report: CheckReport) -> FigureTable:
    """Return how many values each category has, and the most frequent with their counts."""
    rows = tuple(
        Row(
            name,
            (
                Cell(f"{one.values:,}"),
                Cell(f"{one.nulls:,}"),
                Cell(", ".join(f"{value} ({count:,})" for value, count in [*one.common.items()][:4])),
            ),
        )
        for name, one in report.categories.items()
    )
    return FigureTable(
        "Categories", "column", (Column("values", 0), Column("null", 2), Column("most frequent", 1)), rows
    )


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

"""``fogline check``."""

from __future__ import annotations

import math
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from training.cli.options import Data, Json, SpecName
from training.cli.output import print_json, progress_bar
from training.specs.builtin import find_spec

if TYPE_CHECKING:
    from training.telemetry import CheckReport, TableSummary


def check(
    data: Data,
    spec: SpecName,
    json: Json = False,
    rejected: Annotated[
        Path | None, typer.Option(help="Folder for rejected.parquet, the rejected rows with their reasons.")
    ] = None,
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
    console = Console()
    console.print(
        f"{report.accepted:,} of {report.rows:,} rows accepted: slices {report.first_slice} to {report.last_slice}, "
        f"{report.clients:,} clients, {report.nodes:,} nodes. Data set {report.data_id[:12]}."
    )
    console.print(_times(report))
    rejected_table = Table("rule", "rows rejected", title="Rejected")
    for rule, count in report.rejected.items():
        rejected_table.add_row(rule, f"{count:,}")
    if report.rejected:
        console.print(rejected_table)
    outcomes = Table("outcome", "null", "min", "median", "max", title="Outcomes")
    for name, o in report.outcomes.items():
        outcomes.add_row(name, f"{o.nulls:,}", *(f"{x:,.6g}" for x in (o.min, o.median, o.max)))
    console.print(outcomes)
    tables = Table("table", "key", "entries", title="Running statistics: entries that they will need")
    for name, table in report.tables.items():
        for key, count in table.keys.items():
            tables.add_row(name, key, f"{count:,}")
    console.print(tables)
    for name, table in report.tables.items():
        console.print(_room(name, table), soft_wrap=True, highlight=False)


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

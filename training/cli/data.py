"""``fogline check``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from training.cli.options import Data, Json, SpecName
from training.cli.output import print_json, progress_bar
from training.specs.builtin import find_spec


def check(
    data: Data,
    spec: SpecName,
    json: Json = False,
    rejected: Annotated[
        Path | None, typer.Option(help="Folder for rejected.parquet, the rejected rows with their reasons.")
    ] = None,
) -> None:
    """Check a telemetry directory against a spec and say what is in it."""
    from training.telemetry import check_telemetry

    with progress_bar(json) as progress:
        report = check_telemetry(
            data, find_spec(spec), rejected_to=rejected, progress=lambda done, of: progress("read", done, of)
        )
    if json:
        print_json(asdict(report))
        return
    console = Console()
    console.print(
        f"{report.accepted:,} of {report.rows:,} rows accepted: slices {report.first_slice} to {report.last_slice}, "
        f"{report.clients:,} clients, {report.nodes:,} nodes. Data set {report.data_id[:12]}."
    )
    rejected_table = Table("rule", "rows rejected", title="Rejected")
    for rule, count in report.rejected.items():
        rejected_table.add_row(rule, f"{count:,}")
    if report.rejected:
        console.print(rejected_table)
    outcomes = Table("outcome", "null", "min", "median", "max", title="Outcomes")
    for name, o in report.outcomes.items():
        outcomes.add_row(name, f"{o.nulls:,}", *(f"{x:,.6g}" for x in (o.min, o.median, o.max)))
    console.print(outcomes)

"""``fogline lifetime``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from training.cli.options import Json, Seed, SpecName
from training.cli.output import print_json, print_warnings, progress_bar
from training.specs.builtin import find_spec


def lifetime(
    data: Annotated[
        Path,
        typer.Argument(
            help="Sightings: telemetry.parquet, nodes.parquet, clients.parquet, and maybe node_state.parquet."
        ),
    ],
    spec: SpecName = "vpngate",
    horizon: Annotated[
        list[int] | None, typer.Option(help="Snapshots ahead; may be given several times. Default: 1, 4 and 28.")
    ] = None,
    start: Annotated[
        int | None, typer.Option("--from", help="First slice to judge. Default: that of the last fifth.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Receives telemetry, artifact and pictures of each horizon.")] = Path(
        ".fogline/lifetime"
    ),
    seed: Seed = 0,
    threads: Annotated[int, typer.Option(min=0, help="Threads for LightGBM; 0 for one a core.")] = 0,
    json: Json = False,
) -> None:
    """Predict whether nodes are seen again and how fast they are then, beside frequencies and Kaplan-Meier."""
    from training.availability import LifetimeOptions, judge_lifetimes, lifetime_tables

    options = LifetimeOptions(
        horizons=tuple(horizon or LifetimeOptions.horizons), start=start, out=out, seed=seed, threads=threads
    )
    with progress_bar(json) as progress:
        result = judge_lifetimes(data, find_spec(spec), options, progress)
    print_warnings(result.warnings(), json)
    if json:
        print_json(result.to_json())
        return
    for table in lifetime_tables(result):
        Console().print(table)
    Console().print(f"Models and pictures: {out}", soft_wrap=True)

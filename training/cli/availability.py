"""``fogline lifetime``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.cli.lifetime_tables import lifetime_tables
from training.cli.options import Json, Registry, Seed, SpecName, Threads, Wide
from training.cli.output import made_by, made_by_in_words, print_json, print_warnings, progress_bar
from training.cli.places import check_folder, registry_to_write
from training.cli.table import print_sentence, print_table, print_text
from training.specs.builtin import find_spec


def lifetime(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Sightings: telemetry.parquet, nodes.parquet, clients.parquet, and maybe node_state.parquet.",
        ),
    ],
    spec: SpecName = "vpngate",
    horizon: Annotated[
        list[int] | None,
        typer.Option(metavar="N", help="Snapshots ahead; may be given several times. Default: 1, 4 and 28."),
    ] = None,
    start: Annotated[
        int | None,
        typer.Option("--from", metavar="SLICE", help="First slice to judge. Default: that of the last fifth."),
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Receives telemetry, artifact and pictures of each horizon.")
    ] = Path(".fogline/lifetime"),
    registry: Registry = None,
    seed: Seed = 0,
    threads: Threads = 0,
    wide: Wide = False,
    json: Json = False,
) -> None:
    """Predict whether nodes are seen again and how fast they are then, beside frequencies and Kaplan-Meier."""
    place = registry_to_write(registry)
    check_folder(out, "models and pictures")
    from training.availability import LifetimeOptions, judge_lifetimes

    options = LifetimeOptions(
        horizons=tuple(horizon or LifetimeOptions.horizons),
        start=start,
        out=out,
        seed=seed,
        threads=threads,
        registry=place,
    )
    with progress_bar(json) as progress:
        result = judge_lifetimes(data, find_spec(spec), options, progress)
    print_warnings(result.warnings(), json)
    if json:
        print_json({**result.to_json(), **made_by(seed)})
        return
    for table in lifetime_tables(result):
        print_table(table, wide=wide)
    print_sentence(made_by_in_words(seed))
    print_text(f"Models and pictures: {out}\nRegistered: {', '.join(one.model for one in result.horizons)}")

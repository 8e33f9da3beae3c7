"""Options that several subcommands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scheduler.model.mlflow_client import DEFAULT
from training.specs.builtin import shipped

Data = Annotated[
    Path,
    typer.Argument(help="Telemetry directory: telemetry.parquet (or telemetry/**), nodes.parquet, clients.parquet."),
]

SpecName = Annotated[
    str,
    typer.Option("--spec", "-s", help=f"A spec's TOML file, or one that ships with fogline: {', '.join(shipped())}."),
]

Registry = Annotated[
    str | None,
    typer.Option(help=f"MLflow URI. Default: MLFLOW_REGISTRY_URI, MLFLOW_TRACKING_URI, or {DEFAULT}."),
]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on standard output.")]

Seed = Annotated[int, typer.Option(min=0, help="Fixes every random draw.")]

Seeds = Annotated[
    int, typer.Option(min=1, help="How often all is drawn and decided anew; shows mean and spread of each figure.")
]

Without = Annotated[list[str] | None, typer.Option(help="A baseline to leave out; may be given several times.")]

Cold = Annotated[
    str,
    typer.Option(
        metavar="clients|nodes|both",
        help="Only decisions of clients, among nodes, or both, that the model's training held out.",
    ),
]

ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="Artifact folder, or models:/NAME@ALIAS or models:/NAME/VERSION. Default: the spec's champion.",
    ),
]

Start = Annotated[
    int | None,
    typer.Option(
        "--from",
        help="First slice to evaluate; rows before it are known to every policy. Default: the spec's.",
    ),
]

NCandidates = Annotated[int, typer.Option("--candidates", "-k", min=2, help="Candidates drawn for each request.")]

NRequests = Annotated[
    int | None,
    typer.Option("--requests", min=1, help="Requests of each client in a slice. Default: the spec's."),
]

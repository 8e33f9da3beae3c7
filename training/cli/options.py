"""Options that several subcommands share. Help fits 80 columns, which short names of values leave room for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scheduler.model.mlflow_client import DEFAULT
from training.cli.places import registry_of
from training.specs.builtin import shipped

if TYPE_CHECKING:
    from scheduler.model.model import Model
    from scheduler.spec import Spec

ALL = 2**31
"""What ``--until all`` is read as: no slice has this number, and all come before it."""

Data = Annotated[
    list[Path],
    typer.Argument(
        metavar="DATA...",
        help="Telemetry directory (telemetry.parquet or telemetry/**, nodes.parquet, clients.parquet), or Parquet and "
        "CSV files of any layout that the spec reads.",
    ),
]

SpecName = Annotated[
    str,
    typer.Option(
        "--spec",
        "-s",
        metavar="SPEC",
        help=f"A spec's TOML file, or one that ships with fogline: {', '.join(shipped())}.",
    ),
]

Registry = Annotated[
    str | None,
    typer.Option(
        metavar="URI",
        help=f"MLflow URI. Default: MLFLOW_REGISTRY_URI, MLFLOW_TRACKING_URI, or SQLite in {DEFAULT.removeprefix('sqlite:///')}.",
    ),
]

Log = Annotated[bool, typer.Option("--log/--no-log", help="Keep the figures in the run of the model's version.")]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on standard output.")]

Wide = Annotated[bool, typer.Option("--wide", help="Show every figure, in lines as long as that takes.")]

Seed = Annotated[int, typer.Option(min=0, metavar="N", help="Fixes every random draw.")]

Threads = Annotated[int, typer.Option(min=0, metavar="N", help="Threads for LightGBM; 0 for one a core.")]

Seeds = Annotated[
    int,
    typer.Option(
        min=1,
        metavar="N",
        help="How often all is drawn and decided anew; shows mean and standard deviation of each figure.",
    ),
]

Without = Annotated[
    list[str] | None, typer.Option(metavar="NAME", help="A baseline to leave out; may be given several times.")
]

Cold = Annotated[
    str,
    typer.Option(
        metavar="clients|nodes|both",
        help="Only decisions of clients, among nodes, or both, that the model's training left out.",
    ),
]

ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="Artifact folder, or models:/NAME@ALIAS or models:/NAME/VERSION. Default: the spec's champion.",
    ),
]

Start = Annotated[
    int | None,
    typer.Option(
        "--from",
        metavar="SLICE",
        help="First slice to evaluate; every policy knows the rows before it. Default: evaluation.start of the spec.",
    ),
]

NCandidates = Annotated[
    int | None,
    typer.Option(
        "--candidates",
        "-k",
        min=2,
        metavar="N",
        help="Candidates drawn for each request. Default: evaluation.candidates of the spec.",
    ),
]

NRequests = Annotated[
    int | None,
    typer.Option(
        "--requests",
        min=1,
        metavar="N",
        help="Requests of each client in a slice. Default: evaluation.requests of the spec.",
    ),
]


def _slice_or_all(text: str) -> int:
    """Read the value of ``--until``."""
    if text == "all":
        return ALL
    if not text.isdecimal():
        raise typer.BadParameter(f"expected the number of a slice, or all, found {text!r}")
    return int(text)


Until = Annotated[
    int | None,
    typer.Option(
        metavar="SLICE|all",
        parser=_slice_or_all,
        help="Rows of this slice and later ones are never looked at. Default: evaluation.start of the spec, "
        "so that evaluate can judge what comes after.",
    ),
]


def load_model(source: str, registry: str | None) -> Model:
    """Return a model from a folder or a registry, by default the one that the environment or the place names."""
    from scheduler.model.model import Model

    return Model.load(source, registry_of(registry))


def end_of_rows(spec: Spec, until: int | None) -> int | None:
    """Return the first slice that is not looked at: ``--until``, else the first that the spec evaluates; None: none."""
    end = spec.evaluation.start if until is None else until
    return None if end == ALL else end

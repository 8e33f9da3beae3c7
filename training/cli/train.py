"""``fogline train`` and ``fogline tune``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from scheduler.model.mlflow_client import registry_uri
from training.cli.options import Data, Json, Registry, Seed, SpecName
from training.cli.output import print_json, print_warnings, progress_bar
from training.specs.builtin import find_spec

_FATES = {
    "moved": "moved to the new version, because",
    "kept": "stays, because",
    "cannot be told": "stays, because it cannot be told whether the new version is better:",
}
"""What became of the champion in words, by the outcome of a promotion; `training.tracking.versions` is slow to load."""


def train(
    data: Data,
    spec: SpecName,
    until: Annotated[int | None, typer.Option(help="Rows of this slice and later ones are never looked at.")] = None,
    registry: Registry = None,
    out: Annotated[Path, typer.Option(help="Where the artifact goes, as NAME-VERSION.")] = Path("models/artifacts"),
    seed: Seed = 0,
    threads: Annotated[int, typer.Option(min=0, help="Threads for LightGBM; 0 for one a core.")] = 0,
    cluster: Annotated[
        str | None,
        typer.Option(help="Dask scheduler whose workers read, replay and fit, or local:N for N processes here."),
    ] = None,
    scratch: Annotated[
        Path, typer.Option(help="Folder for a cluster's intermediate files, which all workers must see.")
    ] = Path(".fogline/scratch"),
    promote: Annotated[
        bool, typer.Option("--promote", help="Make the new version champion whatever the comparison says.")
    ] = False,
    cold_nodes: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Share of the nodes to leave out, for fogline evaluate --cold.")
    ] = 0.0,
    cold_clients: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Share of the clients to leave out, likewise.")
    ] = 0.0,
    json: Json = False,
) -> None:
    """Train a model, verify it, register it, and promote it if it beats the champion."""
    from training.pipeline.options import TrainingOptions
    from training.pipeline.pipeline import train_and_register
    from training.telemetry.cold_start import HoldOut

    options = TrainingOptions(
        until=until,
        registry=registry_uri(registry, os.environ),
        out=out,
        seed=seed,
        threads=threads,
        promote=promote,
        held_out=HoldOut(cold_nodes, cold_clients),
        cluster=cluster,
        scratch=scratch,
    )
    with progress_bar(json) as progress:
        result = train_and_register(data, find_spec(spec), options, progress)
    print_warnings(result.warnings(), json)
    if json:
        print_json(result.to_json())
        return
    console = Console()
    heads = Table("head", "figure", "value", title=f"{result.uri}: figures on the last slices, never fitted on")
    for name, head in result.summary.heads.items():
        for metric, value in head.metrics.items():
            heads.add_row(name, metric, f"{value:,.6g}")
    console.print(heads)
    console.print(f"Artifact: {result.summary.folder}")
    console.print(f"Champion: {_FATES[result.promotion.outcome]} {result.promotion.reason}.")


def tune(
    data: Data,
    spec: SpecName,
    until: Annotated[
        int | None,
        typer.Option(
            help="Rows of this slice and later ones are never looked at. Default: the spec's first slice to evaluate."
        ),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Finished trials wanted, those of earlier calls included.")] = 30,
    folds: Annotated[int, typer.Option(min=1, help="Folds in time order, over the last slices before --until.")] = 3,
    objective: Annotated[
        Literal["gap_closed", "gap_closed_log", "loss"],
        typer.Option(help="Gap closed by replayed decisions, or the cheaper prediction loss."),
    ] = "gap_closed",
    only: Annotated[
        list[str] | None, typer.Option(help="Vary this setting alone, such as reveal; may be given several times.")
    ] = None,
    registry: Registry = None,
    out: Annotated[Path, typer.Option(help="The tuned spec to write.")] = Path("tuned.toml"),
    storage: Annotated[Path, typer.Option(help="SQLite file that keeps the trials.")] = Path(".fogline/tuning.db"),
    seed: Seed = 0,
    threads: Annotated[int, typer.Option(min=0, help="Threads for LightGBM; 0 for one a core.")] = 0,
    json: Json = False,
) -> None:
    """Search for better training settings on time-ordered folds; a killed search goes on with the same call."""
    from training.tuning.tune import TuningOptions
    from training.tuning.tune import tune as search

    options = TuningOptions(
        registry=registry_uri(registry, os.environ),
        until=until,
        trials=trials,
        folds=folds,
        objective=objective,
        only=tuple(only or ()),
        out=out,
        storage=storage,
        seed=seed,
        threads=threads,
    )
    with progress_bar(json) as progress:
        result = search(data, find_spec(spec), options, progress)
    print_warnings(result.warnings, json)
    if json:
        print_json(result.to_json())
        return
    console = Console()
    found = Table("setting", "before", "best", title=f"{result.n_trials} trials, {result.n_pruned} pruned")
    for name, value in result.best.params.items():
        found.add_row(name, f"{result.first.params[name]:.4g}", f"{value:.4g}")
    found.add_row(objective, f"{result.first.value:.4f}", f"{result.best.value:.4f}", style="bold")
    console.print(found)
    console.print(f"Tuned spec: {out}. Train with it: fogline train {data} --spec {out}", soft_wrap=True)

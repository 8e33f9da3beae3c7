"""``fogline evaluate`` and ``fogline report``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scheduler.model.mlflow_client import registry_uri
from training.cli.comparison_table import comparison_table
from training.cli.options import (
    Cold,
    Data,
    Json,
    ModelName,
    NCandidates,
    NRequests,
    Registry,
    Seed,
    Seeds,
    SpecName,
    Start,
    Wide,
    Without,
)
from training.cli.output import print_json, print_warnings, progress_bar
from training.cli.table import print_table, print_text
from training.specs.builtin import find_spec

if TYPE_CHECKING:
    from training.evaluation.results import Comparison


def evaluate(
    data: Data,
    spec: SpecName,
    model: ModelName = None,
    start: Start = None,
    candidates: NCandidates = 20,
    requests: NRequests = None,
    seed: Seed = 0,
    seeds: Seeds = 1,
    without: Without = None,
    cold: Cold = "",
    registry: Registry = None,
    wide: Wide = False,
    json: Json = False,
) -> None:
    """Replay measured data through the scheduler and the baselines and compare what they picked."""
    comparison = _compare(data, spec, model, start, candidates, requests, seed, seeds, without, cold, registry, json)
    print_warnings(comparison.warnings(), json)
    if json:
        print_json(comparison.to_json())
    else:
        print_table(comparison_table(comparison), wide=wide)


def report(
    data: Data,
    spec: SpecName,
    model: ModelName = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page to write.")] = Path("fogline-report.html"),
    start: Start = None,
    candidates: NCandidates = 20,
    requests: NRequests = None,
    seed: Seed = 0,
    seeds: Seeds = 1,
    without: Without = None,
    cold: Cold = "",
    registry: Registry = None,
    wide: Wide = False,
    json: Json = False,
) -> None:
    """Evaluate like [bold]evaluate[/bold] and write a self-contained HTML page about it."""
    from training.report.page import write_report

    comparison = _compare(data, spec, model, start, candidates, requests, seed, seeds, without, cold, registry, json)
    page = write_report(comparison, out)
    print_warnings(comparison.warnings(), json)
    if json:
        print_json({**comparison.to_json(), "report": str(page)})
    else:
        print_table(comparison_table(comparison), wide=wide)
        print_text(f"Report: {page}")


def _compare(
    data: Path,
    spec: str,
    model: str | None,
    start: int | None,
    candidates: int,
    requests: int | None,
    seed: int,
    seeds: int,
    without: list[str] | None,
    cold: str,
    registry: str | None,
    json: bool,  # noqa: FBT001
) -> Comparison:
    from training.evaluation.evaluate import run_evaluation

    parsed = find_spec(spec)
    with progress_bar(json) as progress:
        return run_evaluation(
            data,
            parsed,
            model or f"models:/{parsed.name}@champion",
            start=start,
            candidates=candidates,
            requests=requests,
            seed=seed,
            seeds=seeds,
            without=without or (),
            cold=cold,
            registry=registry_uri(registry, os.environ),
            progress=progress,
        )

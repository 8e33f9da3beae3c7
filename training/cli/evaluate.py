"""``fogline evaluate`` and ``fogline report``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scheduler.errors import RegistryError
from scheduler.model.mlflow_client import registry_uri
from training.cli.comparison_table import comparison_table
from training.cli.options import (
    Cold,
    Data,
    Json,
    Log,
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
    log: Log = True,
    wide: Wide = False,
    json: Json = False,
) -> None:
    """Replay measured data through the scheduler and the baselines and compare what they picked."""
    comparison = _compare(data, spec, model, start, candidates, requests, seed, seeds, without, cold, registry, json)
    problems = _log(comparison, spec, model, registry) if log else []
    print_warnings([*comparison.warnings(), *problems], json)
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
    log: Log = True,
    wide: Wide = False,
    json: Json = False,
) -> None:
    """Evaluate like [bold]evaluate[/bold] and write a self-contained HTML page about it."""
    from training.report.page import write_report

    comparison = _compare(data, spec, model, start, candidates, requests, seed, seeds, without, cold, registry, json)
    page = write_report(comparison, out)
    problems = _log(comparison, spec, model, registry, page) if log else []
    print_warnings([*comparison.warnings(), *problems], json)
    if json:
        print_json({**comparison.to_json(), "report": str(page)})
    else:
        print_table(comparison_table(comparison), wide=wide)
        print_text(f"Report: {page}")


def _log(
    comparison: Comparison, spec: str, model: str | None, registry: str | None, page: Path | None = None
) -> list[str]:
    """Log an evaluation to the version; return why that could not be, as the figures stand all the same."""
    from training.evaluation.logged import log_comparison

    source = model or f"models:/{find_spec(spec).name}@champion"
    try:
        log_comparison(comparison, source, registry=registry_uri(registry, os.environ), page=page)
    except RegistryError as error:
        return [f"the evaluation was not logged: {error}"]
    return []


def _compare(
    data: list[Path],
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
    from training.telemetry import data_of

    parsed = find_spec(spec)
    with progress_bar(json) as progress:
        return run_evaluation(
            data_of(data),
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

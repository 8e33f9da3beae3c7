"""Subcommands of ``fogline``."""

from __future__ import annotations

import math
import os
import sys
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from scheduler.errors import FoglineError, InputError, SpecError
from scheduler.registry import DEFAULT, registry_uri
from training.progress import bars, silent
from training.shipped import find_spec, shipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from training.evaluate import Comparison
    from training.progress import Report

DONE, FAILED, MISUSED = 0, 1, 2
"""Exit codes."""

_FIGURES = ("mean", "median", "p95", "mean_log", "fail", "gap_closed", "gap_closed_log", "regret", "regret_log")
"""Columns of a comparison's table; `training.comparison`, which has them too, is slow to load."""

app = typer.Typer(
    name="fogline",
    help="Schedule traffic on an edge network with a quality model learned from telemetry.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

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


@app.command()
def check(
    data: Data,
    spec: SpecName,
    json: Json = False,
    rejected: Annotated[
        Path | None, typer.Option(help="Folder for rejected.parquet, the rejected rows with their reasons.")
    ] = None,
) -> None:
    """Check a telemetry directory against a spec and say what is in it."""
    from training.ingest import check_telemetry

    with _progress(json) as progress:
        report = check_telemetry(
            data, find_spec(spec), rejected_to=rejected, progress=lambda done, of: progress("read", done, of)
        )
    if json:
        _print_json(asdict(report))
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


@app.command()
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
    from training.holdout import HoldOut
    from training.pipeline import TrainingOptions, train_and_register

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
    with _progress(json) as progress:
        result = train_and_register(data, find_spec(spec), options, progress)
    if json:
        _print_json(result.to_json())
        return
    console = Console()
    heads = Table("head", "figure", "value", title=f"{result.uri}: figures on the last slices, never fitted on")
    for name, head in result.summary.heads.items():
        for metric, value in head.metrics.items():
            heads.add_row(name, metric, f"{value:,.6g}")
    console.print(heads)
    console.print(f"Artifact: {result.summary.folder}")
    moved = "moved to the new version" if result.promotion.moved else "stays"
    console.print(f"Champion: {moved}, because {result.promotion.reason}.")


@app.command()
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
    from training.tune import TuningOptions
    from training.tune import tune as search

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
    with _progress(json) as progress:
        result = search(data, find_spec(spec), options, progress)
    if json:
        _print_json(result.to_json())
        return
    console = Console()
    found = Table("setting", "before", "best", title=f"{result.n_trials} trials, {result.n_pruned} pruned")
    for name, value in result.best.params.items():
        found.add_row(name, f"{result.first.params[name]:.4g}", f"{value:.4g}")
    found.add_row(objective, f"{result.first.value:.4f}", f"{result.best.value:.4f}", style="bold")
    console.print(found)
    console.print(f"Tuned spec: {out}. Train with it: fogline train {data} --spec {out}", soft_wrap=True)


@app.command()
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
    json: Json = False,
) -> None:
    """Replay measured data through the scheduler and the baselines and compare what they picked."""
    comparison = _compare(data, spec, model, start, candidates, requests, seed, seeds, without, cold, registry, json)
    if json:
        _print_json(comparison.to_json())
    else:
        _print_comparison(comparison)


@app.command()
def report(
    data: Data,
    spec: SpecName,
    model: ModelName = None,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("fogline-report.html"),
    start: Start = None,
    candidates: NCandidates = 20,
    requests: NRequests = None,
    seed: Seed = 0,
    seeds: Seeds = 1,
    without: Without = None,
    cold: Cold = "",
    registry: Registry = None,
    json: Json = False,
) -> None:
    """Evaluate like [bold]evaluate[/bold] and write a self-contained HTML page about it."""
    from training.report import write_report

    comparison = _compare(data, spec, model, start, candidates, requests, seed, seeds, without, cold, registry, json)
    page = write_report(comparison, out)
    if json:
        _print_json({**comparison.to_json(), "report": str(page)})
    else:
        _print_comparison(comparison)
        Console().print(f"Report: {page}")


@app.command()
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
    from training.lifetime import LifetimeOptions, judge_lifetimes, lifetime_tables

    options = LifetimeOptions(
        horizons=tuple(horizon or LifetimeOptions.horizons), start=start, out=out, seed=seed, threads=threads
    )
    with _progress(json) as progress:
        result = judge_lifetimes(data, find_spec(spec), options, progress)
    if json:
        _print_json(result.to_json())
        return
    for table in lifetime_tables(result):
        Console().print(table)
    Console().print(f"Models and pictures: {out}", soft_wrap=True)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where telemetry, registry, artifact and report go.")] = Path(
        ".fogline/demo"
    ),
    seed: Seed = 0,
    threads: Annotated[int, typer.Option(min=0, help="Threads for LightGBM; 0 for one a core.")] = 0,
    json: Json = False,
) -> None:
    """Do the main job once on a small made-up fleet: telemetry, training, registry, 100,000 decisions, report."""
    from training.demo import run_demo

    with _progress(json) as progress:
        result = run_demo(out, seed=seed, threads=threads, progress=progress)
    if json:
        _print_json(result.to_json())
        return
    _print_comparison(result.comparison)
    Console().print(f"Model: {result.uri}\nReport: {result.report}")


def run(arguments: list[str]) -> int:
    """Run a command line and return its exit code; errors go to standard error, with ``--json`` also as JSON."""
    try:
        app(arguments, prog_name="fogline")
    except SystemExit as stop:  # how typer ends: 0, or 2 after it has said what was wrong with the call
        code = stop.code if isinstance(stop.code, int) else FAILED
        if code != DONE:
            said = getattr(stop.__context__, "format_message", None)
            _answer(arguments, "UsageError", "see standard error" if said is None else said())
        return code
    except (FoglineError, OSError) as error:
        print(f"fogline: {error}", file=sys.stderr)  # noqa: T201
        _answer(arguments, type(error).__name__, str(error))
        return MISUSED if isinstance(error, SpecError | InputError) else FAILED
    return DONE


def _answer(arguments: list[str], kind: str, message: str) -> None:
    """Print an error as JSON to whom asked for JSON."""
    if "--json" in arguments:
        _print_json({"error": {"type": kind, "message": message}})


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
    from training.evaluate import run_evaluation

    parsed = find_spec(spec)
    with _progress(json) as progress:
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


@contextmanager
def _progress(json: bool) -> Iterator[Report]:  # noqa: FBT001
    with nullcontext(silent) if json and not sys.stderr.isatty() else bars() as progress:
        yield progress


def _print_json(value: Mapping[str, Any]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()


def _print_comparison(comparison: Comparison) -> None:
    seeds = f" of {comparison.seeds} seeds (mean, ± standard deviation)" if comparison.spread else ""
    cold = {"": "", "both": " of cold clients among cold nodes"}.get(comparison.cold, f" with cold {comparison.cold}")
    title = f"{comparison.n:,} decisions{cold}{seeds} on {comparison.data}, model {comparison.model}"
    table = Table(
        Column("policy", overflow="fold", min_width=9),
        title=title,
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for f in _FIGURES:
        table.add_column(f.replace("_", "\n"), justify="right", no_wrap=True)
    for name, score in comparison.policies.items():
        cells = [_cell(getattr(score, f), getattr(comparison.spread.get(name), f, None)) for f in _FIGURES]
        table.add_row(name, *cells, style="bold" if name == "learned" else "")
    Console().print(table)


def _cell(value: float, spread: float | None) -> str:
    """Return a figure, with its spread below it where there is one; nothing where it does not exist."""
    if not math.isfinite(value):
        return ""
    text = f"{value:,.4g}"
    return text if spread is None else f"{text}\n±{spread:.1g}"

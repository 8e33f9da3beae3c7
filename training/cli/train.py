"""``fogline train`` and ``fogline tune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from scheduler.runtime.durable import check_writable
from training.cli.options import ALL, Data, Json, Registry, Seed, SpecName, Threads, Until, Wide, end_of_rows
from training.cli.output import made_by, made_by_in_words, print_json, print_warnings, progress_bar
from training.cli.places import check_folder, registry_to_write
from training.cli.table import print_sentence, print_table, print_text
from training.cli.training_tables import head_tables, tuning_table
from training.specs.builtin import find_spec, spec_file

_FATES = {
    "moved": "moved to the new version, because",
    "kept": "stays, because",
    "cannot be told": "stays, because it cannot be told whether the new version is better:",
}
"""What became of the champion in words, by the outcome of a promotion; `training.tracking.versions` is slow to load."""


def train(
    data: Data,
    spec: SpecName,
    until: Until = None,
    registry: Registry = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the artifact goes, as NAME-VERSION.")] = Path(
        "models/artifacts"
    ),
    seed: Seed = 0,
    threads: Threads = 0,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Dask scheduler whose workers read, replay and fit, or local:N for N processes here.",
        ),
    ] = None,
    scratch: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder for a cluster's intermediate files, which all workers must see."),
    ] = Path(".fogline/scratch"),
    promote: Annotated[
        bool, typer.Option("--promote", help="Make the new version champion whatever the comparison says.")
    ] = False,
    cold_nodes: Annotated[
        float,
        typer.Option(
            min=0.0, max=0.9, metavar="SHARE", help="Share of the nodes to leave out, for fogline evaluate --cold."
        ),
    ] = 0.0,
    cold_clients: Annotated[
        float, typer.Option(min=0.0, max=0.9, metavar="SHARE", help="Share of the clients to leave out, likewise.")
    ] = 0.0,
    wide: Wide = False,
    json: Json = False,
) -> None:
    """Train a model, verify it, register it, and promote it if it beats the champion."""
    place = registry_to_write(registry)
    check_folder(out, "the artifact")
    from training.pipeline.options import TrainingOptions
    from training.pipeline.pipeline import train_and_register
    from training.telemetry import data_of
    from training.telemetry.cold_start import ColdShares

    parsed = find_spec(spec)
    options = TrainingOptions(
        until=end_of_rows(parsed, until),
        registry=place,
        out=out,
        seed=seed,
        threads=threads,
        promote=promote,
        cold_shares=ColdShares(cold_nodes, cold_clients),
        cluster=cluster,
        scratch=scratch,
    )
    with progress_bar(json) as progress:
        result = train_and_register(data_of(data), parsed, options, progress)
    warnings = [*result.warnings(), *_beyond(until, int(result.summary.window["last_slice"]))]
    print_warnings(warnings, json)
    if json:
        print_json({**result.to_json(), "warnings": warnings, **made_by(seed, parsed)})
        return
    heads = {name: head.metrics for name, head in result.summary.heads.items()}
    for table in head_tables(f"{result.uri} on the last slices, never fitted on", heads):
        print_table(table, wide=wide)
    for name, head in result.summary.heads.items():
        if head.choice():
            print_sentence(f"Head {name} {head.choice()}.")
    print_text(f"Artifact: {result.summary.folder}")
    print_sentence(made_by_in_words(seed, parsed))
    if result.registered.known:
        print_sentence(f"Registry: {result.uri} is this very model already; nothing was registered.")
    print_sentence(f"Champion: {_FATES[result.promotion.outcome]} {result.promotion.reason}.")


def _beyond(until: int | None, last: int) -> list[str]:
    """Return a warning where ``--until`` names a slice that the data do not reach."""
    if until is None or until == ALL or until <= last + 1:
        return []
    return [f"--until {until}: the last slice with rows before it is {last}, so it may have kept nothing back"]


def tune(
    data: Data,
    spec: SpecName,
    until: Until = None,
    trials: Annotated[
        int, typer.Option(min=1, metavar="N", help="Finished trials wanted, those of earlier calls included.")
    ] = 30,
    folds: Annotated[
        int, typer.Option(min=1, metavar="N", help="Folds in time order, over the last slices before --until.")
    ] = 3,
    objective: Annotated[
        Literal["gap_closed", "gap_closed_log", "loss"],
        typer.Option(
            metavar="NAME",
            help="gap_closed or gap_closed_log by replayed decisions, or loss, the cheaper prediction loss.",
        ),
    ] = "gap_closed",
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Vary this setting alone, such as reveal; may be given several times."),
    ] = None,
    registry: Registry = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The tuned spec to write.")] = Path("tuned.toml"),
    storage: Annotated[Path, typer.Option(metavar="FILE", help="SQLite file that keeps the trials.")] = Path(
        ".fogline/tuning.db"
    ),
    seed: Seed = 0,
    threads: Threads = 0,
    wide: Wide = False,
    json: Json = False,
) -> None:
    """Search for better training settings on time-ordered folds; a killed search goes on with the same call."""
    place = registry_to_write(registry)
    check_writable(out, "the tuned spec")
    check_writable(storage, "the trials")
    from training.telemetry import data_of
    from training.tuning.tune import TuningOptions
    from training.tuning.tune import tune as search

    parsed = find_spec(spec)
    options = TuningOptions(
        registry=place,
        until=until,
        trials=trials,
        folds=folds,
        objective=objective,
        only=tuple(only or ()),
        out=out,
        storage=storage,
        seed=seed,
        threads=threads,
        text=spec_file(spec).read_text(encoding="utf-8"),
    )
    with progress_bar(json) as progress:
        result = search(data_of(data), parsed, options, progress)
    warnings = [*result.warnings, *_beyond(until, result.last_slice)]
    print_warnings(warnings, json)
    if json:
        print_json({**result.to_json(), "warnings": warnings, **made_by(seed, parsed)})
        return
    if result.best is None:
        return
    print_table(tuning_table(result, result.best), wide=wide)
    print_sentence(made_by_in_words(seed, parsed))
    if not result.gain.told:
        why = "The folds differ more than the settings" if result.gain.n_folds > 1 else "One fold tells no chance apart"
        print_sentence(f"{why}: the best may be no better than the spec's own.\n")
    print_text(f"Tuned spec: {out}\nTrain with it: fogline train {' '.join(map(str, data))} --spec {out}")

"""Calls for notebooks and programs: frames or folders in, objects out, by the same code as the command line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import polars as pl

from scheduler.errors import InputError
from scheduler.model.mlflow_client import registry_uri
from scheduler.runtime.durable import write_text
from scheduler.spec import Spec, parse_spec
from training.cli.comparison_table import comparison_table
from training.cli.data import sentences, tables_of
from training.cli.init_tables import columns_table, decisions
from training.cli.options import ALL, end_of_rows
from training.cli.training_tables import head_tables
from training.specs.builtin import find_spec
from training.telemetry import CheckReport, as_data, check_telemetry

if TYPE_CHECKING:
    from scheduler.model.model import Model
    from scheduler.scheduler import Scheduler
    from training.cli.table import FigureTable
    from training.draft.draft import Draft
    from training.evaluation.results import Comparison
    from training.pipeline.pipeline import TrainingResult

SpecLike: TypeAlias = "str | Path | Spec | Drafted"
"""The name of a shipped spec, a TOML file, a parsed spec, or one that `init` has drafted."""


@dataclass(frozen=True)
class Drafted:
    """A drafted spec: its text, the spec, and what was found."""

    text: str
    spec: Spec
    draft: Draft

    def save(self, path: str | Path) -> Path:
        """Write the spec's text to a file, to be read and corrected, and return where it is."""
        write_text(Path(path), self.text)
        return Path(path)

    def _repr_html_(self) -> str:
        told = [f"{title}: {text}" for title, text in decisions(self.draft).items()]
        return _html([columns_table(self.draft)], told) + f"<details><summary>spec</summary>{_pre(self.text)}</details>"


@dataclass(frozen=True)
class Checked:
    """What a check of telemetry found."""

    report: CheckReport

    @property
    def advice(self) -> list[str]:
        """Return what the spec should say by the figures, a line each."""
        return self.report.advice

    def _repr_html_(self) -> str:
        return _html(tables_of(self.report), sentences(self.report))


@dataclass(frozen=True)
class Trained:
    """A trained and registered model."""

    result: TrainingResult
    registry: str

    @property
    def uri(self) -> str:
        """Return the URI that `scheduler.Model.load` takes, with the registry beside it."""
        return self.result.uri

    @property
    def model(self) -> Model:
        """Return the model, verified and ready for a `scheduler.Scheduler`."""
        return self.result.summary.model

    @property
    def metrics(self) -> dict[str, float]:
        """Return the figures of all heads on rows that were never fitted."""
        return self.result.summary.metrics()

    def _repr_html_(self) -> str:
        heads = {name: head.metrics for name, head in self.result.summary.heads.items()}
        promotion = self.result.promotion
        told = [f"Artifact: {self.result.summary.folder}", f"Champion {promotion.outcome}: {promotion.reason}"]
        return _html(list(head_tables(f"{self.uri} on rows never fitted", heads)), [*self.result.warnings(), *told])


@dataclass(frozen=True)
class Evaluated:
    """An evaluation: all policies on the same requests."""

    comparison: Comparison

    @property
    def policies(self) -> pl.DataFrame:
        """Return a row for each policy with all its figures, the least mean cost first."""
        rows = [{"policy": name, **figures} for name, figures in self.comparison.to_json()["policies"].items()]
        return pl.DataFrame(rows).sort("mean")

    @property
    def regret(self) -> float:
        """Return the learned policy's regret in the mean: below 1 it beats every baseline."""
        return self.comparison.policies["learned"].regret

    def report(self, path: str | Path) -> Path:
        """Write the evaluation as an HTML page and return where it is."""
        from training.report.page import write_report

        return write_report(self.comparison, path)

    def _repr_html_(self) -> str:
        return _html([comparison_table(self.comparison)], self.comparison.warnings())


def init(
    data: Any,  # noqa: ANN401 - frames of any library
    name: str = "mine",
    *,
    clients: Any = None,  # noqa: ANN401
    nodes: Any = None,  # noqa: ANN401
    **options: Any,  # noqa: ANN401 - those of `DraftOptions`
) -> Drafted:
    """Draft a spec from raw telemetry, as ``fogline init``.

    Parameters
    ----------
    data
        A frame with the Arrow C interface, a folder, a file or several.
    name
        Of the spec and its models.
    clients, nodes
        Tables beside a frame.
    options
        What is known of the data, see `training.draft.draft.DraftOptions`.

    Raises
    ------
    DataError
        If the data has no column for a role.
    InputError
        If a column that was named is not there, or there is no such option.
    """
    from training.draft.draft import DraftOptions, draft
    from training.draft.spec_text import spec_text

    if unknown := [option for option in options if option not in DraftOptions._fields]:
        raise InputError(f"init: expected some of {', '.join(DraftOptions._fields)}, found {', '.join(unknown)}")
    made = draft(as_data(data, clients, nodes), DraftOptions(**options))
    text = spec_text(made, name)
    return Drafted(text, parse_spec(text), made)


def check(
    data: Any,  # noqa: ANN401 - frames of any library
    spec: SpecLike,
    *,
    clients: Any = None,  # noqa: ANN401
    nodes: Any = None,  # noqa: ANN401
    rejected: str | Path | None = None,
) -> Checked:
    """Check telemetry against a spec, as ``fogline check``.

    Parameters
    ----------
    data, clients, nodes
        As for `init`.
    spec
        What the columns mean.
    rejected
        Folder for the rejected rows with their reasons.

    Raises
    ------
    DataError, SpecError
        If the data does not match the spec, or the spec is wrong.
    """
    folder = None if rejected is None else Path(rejected)
    return Checked(check_telemetry(as_data(data, clients, nodes), _spec_of(spec), rejected_to=folder))


def train(  # noqa: PLR0913 - what the command line may say
    data: Any,  # noqa: ANN401 - frames of any library
    spec: SpecLike,
    *,
    clients: Any = None,  # noqa: ANN401
    nodes: Any = None,  # noqa: ANN401
    until: int | str | None = None,
    registry: str | None = None,
    out: str | Path = "models/artifacts",
    seed: int = 0,
    threads: int = 0,
    promote: bool = False,
) -> Trained:
    """Train a model, verify it, register it, and promote it if it beats the champion, as ``fogline train``.

    Parameters
    ----------
    data, clients, nodes
        As for `init`.
    spec
        What the model sees, predicts and maximises.
    until
        Slice from which on nothing is looked at, by default the first that the spec evaluates; ``"all"`` for none.
    registry
        MLflow URI; by default that of the environment, else SQLite under ``.fogline``.
    out, seed, threads, promote
        As on the command line.

    Raises
    ------
    DataError, SpecError, RegistryError
        As `training.pipeline.pipeline.train_and_register`.
    """
    from training.pipeline.options import TrainingOptions
    from training.pipeline.pipeline import train_and_register

    parsed, uri = _spec_of(spec), registry_uri(registry, os.environ)
    if isinstance(until, str):
        if until != "all":
            raise InputError(f"until: expected the number of a slice, or all, found {until!r}")
        until = ALL
    options = TrainingOptions(
        registry=uri,
        until=end_of_rows(parsed, until),
        out=Path(out),
        seed=seed,
        threads=threads,
        promote=promote,
    )
    return Trained(train_and_register(as_data(data, clients, nodes), parsed, options), uri)


def evaluate(  # noqa: PLR0913 - what the command line may say
    data: Any,  # noqa: ANN401 - frames of any library
    spec: SpecLike,
    model: str | Path | Trained | None = None,
    *,
    clients: Any = None,  # noqa: ANN401
    nodes: Any = None,  # noqa: ANN401
    start: int | None = None,
    candidates: int | None = None,
    requests: int | None = None,
    seed: int = 0,
    seeds: int = 1,
    without: Sequence[str] = (),
    registry: str | None = None,
    log: bool = True,
) -> Evaluated:
    """Let a model and the baselines decide the slices that training left, as ``fogline evaluate``.

    Parameters
    ----------
    data, clients, nodes
        As for `init`.
    spec
        That of the model.
    model
        A trained one, a folder or a URI; by default the spec's champion.
    start, candidates, requests
        First slice to decide, nodes to choose from in a request, and requests of a client in a slice; by default those
        of the spec's evaluation.
    seed, seeds
        Of the first draw of requests, and of how many draws.
    without
        Baselines to leave out.
    registry
        MLflow URI; by default that of a trained model, else as on the command line.
    log
        Keep the figures in the run of the model's version.

    Raises
    ------
    DataError, InputError, ArtifactError, RegistryError
        As `training.evaluation.evaluate.run_evaluation`.
    """
    from training.evaluation.evaluate import run_evaluation
    from training.evaluation.logged import log_comparison

    parsed = _spec_of(spec)
    uri = model.registry if isinstance(model, Trained) and registry is None else registry_uri(registry, os.environ)
    source = model.uri if isinstance(model, Trained) else model or f"models:/{parsed.name}@champion"
    comparison = run_evaluation(
        as_data(data, clients, nodes),
        parsed,
        source,
        start=start,
        candidates=candidates,
        requests=requests,
        seed=seed,
        seeds=seeds,
        without=without,
        registry=uri,
    )
    if log:
        log_comparison(comparison, source, registry=uri)
    return Evaluated(comparison)


def warm(  # noqa: PLR0913 - what the command line may say
    data: Any,  # noqa: ANN401 - frames of any library
    spec: SpecLike,
    model: str | Path | Trained | None = None,
    *,
    clients: Any = None,  # noqa: ANN401
    nodes: Any = None,  # noqa: ANN401
    seed: int = 0,
    registry: str | None = None,
) -> Scheduler:
    """Return a scheduler that knows the nodes, clients and outcomes of telemetry, ready for its first request.

    Parameters
    ----------
    data, clients, nodes
        As for `init`: all telemetry there is, that which training left included.
    spec, model, registry
        As for `evaluate`.
    seed
        Fixes every random draw.

    Raises
    ------
    DataError, InputError, ArtifactError, RegistryError
        If the data or the model cannot be read, or do not fit.
    """
    from scheduler.model.model import Model
    from training.pipeline.warm import warm_scheduler
    from training.telemetry import read_telemetry

    parsed = _spec_of(spec)
    if isinstance(model, Trained):
        loaded = model.model
    else:
        loaded = Model.load(model or f"models:/{parsed.name}@champion", registry_uri(registry, os.environ))
    return warm_scheduler(loaded, read_telemetry(as_data(data, clients, nodes), parsed), parsed, seed=seed)


def _spec_of(spec: SpecLike) -> Spec:
    if isinstance(spec, Drafted):
        return spec.spec
    return spec if isinstance(spec, Spec) else find_spec(str(spec))


def _html(tables: Sequence[FigureTable], lines: Sequence[str] = ()) -> str:
    told = "".join(f"<p>{escape(line)}</p>" for line in lines)
    return "<div>" + "".join(map(_table_html, tables)) + told + "</div>"


def _table_html(table: FigureTable) -> str:
    heading = "".join(f"<th>{escape(name)}</th>" for name in (table.names, *(one.heading for one in table.columns)))
    rows = []
    for row in table.rows:
        cells = "".join(f"<td>{escape(f'{cell.text} {cell.deviation}'.strip())}</td>" for cell in row.cells)
        name = f"<strong>{escape(row.name)}</strong>" if row.marked else escape(row.name)
        rows.append(f"<tr><th>{name}</th>{cells}</tr>")
    caption = f"<caption>{escape(table.title)}</caption>"
    return f"<table>{caption}<thead><tr>{heading}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _pre(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"

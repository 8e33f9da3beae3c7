"""From telemetry to a registered version: train, compare with the champion, track, register, promote."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import msgspec

from scheduler.errors import InputError
from scheduler.features.trained_means import trained_keys
from scheduler.model.manifest import head_files
from scheduler.spec import Spec
from training.heads.lightgbm_params import head_params, resolve_lightgbm, used_params
from training.heads.summary import TrainingSummary
from training.pipeline.champion import Contest, contest
from training.pipeline.options import TrainingOptions
from training.pipeline.promotion import Promotion
from training.pipeline.train import fit_rehearsed, train_model, write_model
from training.progress import ProgressCallback, silent
from training.telemetry import Data, Telemetry, data_id, data_name, read_telemetry
from training.telemetry.cold_start import ColdShares, without_cold
from training.telemetry.history_size import shortages
from training.tracking.head_figures import save_pictures
from training.tracking.runs import DataSet, Registered, track

FEW_ROWS = 200
"""A head that was fitted on fewer rows is a guess: at LightGBM's default of 20 rows a leaf a tree has ten leaves at
most, each a mean of 20 outcomes."""

CONTEST_ROWS = 20_000_000
"""Rows that a contest after a training on a cluster reads into the calling process, if the judged slices and those
before them that calibrate and stop are no more: some 2 GB."""


class Workers(NamedTuple):
    """Resources of a cluster: workers, the largest memory of one in bytes, and evicted history entries."""

    n: int
    peak_bytes: int
    evicted: int


class TrainingResult(NamedTuple):
    """Result of a run: the training, the version, its promotion, the cluster's resources, and the contest behind it."""

    summary: TrainingSummary
    registered: Registered
    promotion: Promotion
    workers: Workers | None = None
    contest: Contest = Contest()

    @property
    def uri(self) -> str:
        """Return the URI that `Model.load` takes."""
        return self.registered.uri

    def warnings(self) -> list[str]:
        """Return what speaks against the model, a line each: first a simple statistic that is better."""
        lines = (self.contest.simple, unrehearsed(self.summary.model.spec), fitted_on_few(self.summary))
        return [line for line in lines if line] + shortages(self.summary.tables())

    def to_json(self) -> dict[str, Any]:
        """Return what ``fogline train --json`` prints."""
        model = self.summary.model
        return {
            "model": self.uri,
            "artifact": str(self.summary.folder),
            "version": model.version,
            "run_id": self.registered.run_id,
            "registered": not self.registered.known,
            "window": self.summary.window,
            "metrics": self.summary.metrics(),
            "offsets": {name: head.start for name, head in self.summary.heads.items()},
            "losses": {name: dict(head.losses) for name, head in self.summary.heads.items() if head.losses},
            "tables": msgspec.to_builtins(self.summary.tables()),
            "warnings": self.warnings(),
            "promoted": self.promotion.moved,
            "promotion": self.promotion.outcome,
            "reason": self.promotion.reason,
            "more_decisions": None if self.contest.verdict is None else self.contest.verdict.more,
            **({} if self.workers is None else {"workers": self.workers._asdict()}),
        }


def unrehearsed(spec: Spec) -> str:
    """Return that means of training were not rehearsed, in words; empty where they were, or where there are none.

    While telemetry is replayed, means of training grow with it; in service they stay as they are. Only rows of a
    rehearsal show that to the trees.
    """
    if not trained_keys(spec) or spec.training.rehearse > 0.0:
        return ""
    return "means of training: expected training.rehearse above 0, found 0, so the model trusts them too much"


def fitted_on_few(summary: TrainingSummary) -> str:
    """Return that heads were fitted on few rows, in words; empty where none was."""
    few = {name: head.n_rows for name, head in summary.heads.items() if head.n_rows < FEW_ROWS}
    if not few:
        return ""
    found = ", ".join(f"{name} on {n}" for name, n in few.items())
    return f"training: expected {FEW_ROWS} rows or more to fit a head on, found {found}: the model is a guess"


def train_and_register(
    data: Data, spec: Spec, options: TrainingOptions, progress: ProgressCallback = silent
) -> TrainingResult:
    """Train a model on a telemetry directory, compare it with the champion, register it, and promote a better one.

    Registering comes last: all that can fail has been done by then. Where the two models cannot be compared, the
    champion stays, and the result says why.

    Raises
    ------
    SpecError
        If LightGBM would not use its parameters as the spec says.
    DataError
        If the data does not match the spec, or is too little.
    ForestError
        If a head cannot be represented as a forest.
    RegistryError
        If the registry cannot be reached; the artifact is written all the same.
    """
    spec = resolve_lightgbm(spec)
    trained = _train_on_cluster if options.cluster is not None else _train_here
    summary, workers, telemetry = trained(data, spec, options, progress)
    found = contest(telemetry, spec, summary, options, progress)
    registered = _register(data, spec, summary, workers, options, found)
    return TrainingResult(summary, registered, registered.promotion, workers, found)


class _Trained(NamedTuple):
    """A training's summary and workers, and the telemetry for a contest, which is read when it is asked for."""

    summary: TrainingSummary
    workers: Workers | None
    telemetry: Callable[[], Telemetry]


def _train_here(data: Data, spec: Spec, options: TrainingOptions, progress: ProgressCallback) -> _Trained:
    telemetry = read_telemetry(data, spec, until=options.until, progress=lambda done, of: progress("read", done, of))
    telemetry = without_cold(telemetry, options.cold_shares)
    summary = train_model(telemetry, spec, options.out, seed=options.seed, threads=options.threads, progress=progress)
    return _Trained(summary, None, lambda: telemetry)


def _train_on_cluster(data: Data, spec: Spec, options: TrainingOptions, progress: ProgressCallback) -> _Trained:
    """Replay and fit on workers; only the kept rows, and those for a contest, are ever in this process."""
    from training.distributed import cluster_dataset, connect, peak_memory, serve_on_cluster
    from training.distributed.fit import fit_heads_on_cluster

    if not isinstance(data, str | Path):
        raise InputError(f"cluster: expected a folder or file that workers can read, found {data}")
    if options.cold_shares != ColdShares():
        raise InputError(f"cluster: expected no nodes or clients to leave out, found {options.cold_shares}")
    with connect(str(options.cluster)) as client:
        n = len(client.scheduler_info(n_workers=-1)["workers"])
        made = cluster_dataset(
            client,
            Path(data),
            spec,
            until=options.until,
            seed=options.seed,
            scratch=options.scratch,
            progress=progress,
        )
        dataset, fitted = fit_rehearsed(
            made.dataset,
            spec,
            made.read,
            slices=made.slices.accepted,
            fit=lambda rows: fit_heads_on_cluster(
                client, rows, spec, seed=options.seed, threads=options.threads, progress=progress
            ),
            serve=lambda first: serve_on_cluster(
                client,
                Path(data),
                spec,
                [(start, one.folder) for start, one in first],
                made.slices,
                seed=options.seed,
                progress=progress,
            ),
            threads=options.threads,
            scratch=options.scratch,
        )
        workers = Workers(n, max(made.peak_bytes, peak_memory(client)), made.evicted)
    summary = write_model(dataset, fitted, spec, options.out, made.read)
    start = contest_start(made.slices.counts, int(summary.window["first_stopping_slice"]))
    return _Trained(summary, workers, lambda: read_telemetry(data, spec, start=start, until=options.until))


def contest_start(counts: Mapping[int, int], latest: int) -> int:
    """Return from which slice on a contest after a training on a cluster reads, by the rows of each slice.

    Versions and averages begin with what is known of the slices before the judged ones, so that all are read if they
    are no more than `CONTEST_ROWS`; else the last that are, and those from ``latest`` on in any case.
    """
    start, n_rows = latest, 0
    for number in sorted(counts, reverse=True):
        n_rows += counts[number]
        if n_rows > CONTEST_ROWS:
            break
        start = min(start, number)
    return start


def _register(
    data: Data,
    spec: Spec,
    summary: TrainingSummary,
    workers: Workers | None,
    options: TrainingOptions,
    found: Contest,
) -> Registered:
    training = spec.training
    params = {
        "spec": spec.name,
        "until": options.until,
        "seed": options.seed,
        "reveal": training.reveal,
        "rounds": training.rounds,
        **_lightgbm_params(spec, summary, options.seed),
        **{f"{name}.trees": head.n_trees for name, head in summary.heads.items()},
        **{f"{name}.rows": head.n_rows for name, head in summary.heads.items()},
        **{f"{name}.offset": head.start for name, head in summary.heads.items()},
        **({} if workers is None else {"workers": workers.n}),
    }
    source = DataSet(data_name(data), str(data), data_id(data), int(summary.window["rows"]))
    with TemporaryDirectory() as pictures:
        return track(
            summary.folder,
            params=params,
            data=source,
            plots=save_pictures(summary.heads, Path(pictures)),
            tags=found.tags(),
            registry=options.registry,
            decide=lambda current: found.decide(current, force=options.promote),
        )


def _lightgbm_params(spec: Spec, summary: TrainingSummary, seed: int) -> dict[str, object]:
    """Return what each head's fit used: without a head's name what is the same for all of them."""
    used = {
        name: used_params((summary.folder / head_files(name)[1]).read_text(), head_params(name, spec, seed))
        for name in spec.heads
    }
    found: dict[str, object] = {}
    for parameter in dict.fromkeys(parameter for params in used.values() for parameter in params):
        values = {name: params[parameter] for name, params in used.items() if parameter in params}
        if len(values) == len(used) and len(set(values.values())) == 1:
            found[f"lightgbm.{parameter}"] = next(iter(values.values()))
        else:
            found.update({f"{name}.lightgbm.{parameter}": value for name, value in values.items()})
    return found

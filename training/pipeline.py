"""From telemetry to a registered version: train, track, compare with the champion, promote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from scheduler.errors import ArtifactError, InputError, RegistryError
from scheduler.model import Model
from scheduler.spec import Spec
from training.baselines import Learned, Policy, Random, Setting
from training.evaluate import artifact_folder, evaluate, split_telemetry
from training.holdout import HoldOut, hold_out
from training.ingest import Telemetry, data_id, read_telemetry
from training.pictures import save_pictures
from training.progress import Report, silent
from training.publish import CHAMPION, Comparison, DataSet, Promotion, Registered, champion, promote, track
from training.rounds import measured_rounds
from training.train import TrainingSummary, fit_rehearsed, train_model, write_model

CONTEST = 20_000
"""Decisions in a comparison with the champion: enough to tell 1 % of the mean cost from noise on the measured sets,
done in seconds."""

CONTEST_CANDIDATES = 20


class TrainingOptions(NamedTuple):
    """What a training run may be told besides its data and spec.

    Attributes
    ----------
    registry
        MLflow URI.
    until
        Rows of this slice and later ones are never looked at.
    out
        Folder of artifacts.
    seed
        Fixes every random draw.
    threads
        For LightGBM; 0 for one a core.
    promote
        Make the new version champion whatever the comparison says.
    held_out
        Nodes and clients that are left out of everything, tables and all.
    cluster
        Address of a Dask scheduler whose workers read, replay and fit; see `training.cluster.connect`.
    scratch
        Folder for a cluster's intermediate files, which all workers must see.
    """

    registry: str
    until: int | None = None
    out: Path = Path("models/artifacts")
    seed: int = 0
    threads: int = 0
    promote: bool = False
    held_out: HoldOut = HoldOut()
    cluster: str | None = None
    scratch: Path = Path(".fogline/scratch")


class Contest(NamedTuple):
    """How a new model compares with the champion, or why it could not be compared; neither without a champion."""

    better: Comparison | None = None
    obstacle: str = ""


class Workers(NamedTuple):
    """What a cluster took: workers, the largest memory of one in bytes, and history entries let go for want of room."""

    n: int
    peak_bytes: int
    evicted: int


class TrainingResult(NamedTuple):
    """What came of it: the training, the registered version, whether it is the champion now, and a cluster's part."""

    summary: TrainingSummary
    registered: Registered
    promotion: Promotion
    workers: Workers | None = None

    @property
    def uri(self) -> str:
        """Return the URI that `Model.load` takes."""
        return self.registered.uri

    def to_json(self) -> dict[str, Any]:
        """Return what ``fogline train --json`` prints."""
        model = self.summary.model
        return {
            "model": self.uri,
            "artifact": str(self.summary.folder),
            "version": model.version,
            "run_id": self.registered.run_id,
            "window": self.summary.window,
            "metrics": self.summary.metrics(),
            "promoted": self.promotion.moved,
            "reason": self.promotion.reason,
            **({} if self.workers is None else {"workers": self.workers._asdict()}),
        }


def train_and_register(data: Path, spec: Spec, options: TrainingOptions, progress: Report = silent) -> TrainingResult:
    """Train a model on a telemetry directory, register it, and promote it if it beats the champion.

    Raises
    ------
    DataError
        If the data is not what the spec says, or too little.
    ForestError
        If a head cannot be represented as a forest.
    RegistryError
        If the registry cannot be reached; the artifact is written all the same.
    """
    trained = _train_on_cluster if options.cluster is not None else _train_here
    summary, workers, telemetry = trained(data, spec, options, progress)
    registered = _register(data, spec, summary, workers, options)
    contest = _contest(telemetry, spec, summary, options, progress)
    promotion = promote(
        registered.name,
        registered.version,
        better=contest.better,
        obstacle=contest.obstacle,
        force=options.promote,
        registry=options.registry,
    )
    return TrainingResult(summary, registered, promotion, workers)


class _Trained(NamedTuple):
    """A training's summary and workers, and the telemetry for a contest, which is read when it is asked for."""

    summary: TrainingSummary
    workers: Workers | None
    telemetry: Callable[[], Telemetry]


def _train_here(data: Path, spec: Spec, options: TrainingOptions, progress: Report) -> _Trained:
    telemetry = read_telemetry(data, spec, until=options.until, progress=lambda done, of: progress("read", done, of))
    telemetry = hold_out(telemetry, options.held_out)
    summary = train_model(telemetry, spec, options.out, seed=options.seed, threads=options.threads, progress=progress)
    return _Trained(summary, None, lambda: telemetry)


def _train_on_cluster(data: Path, spec: Spec, options: TrainingOptions, progress: Report) -> _Trained:
    """Replay and fit on workers; only the kept rows, and for a contest the last slices, are ever in this process."""
    from training.cluster import cluster_dataset, connect, peak_memory, rehearse_on_cluster
    from training.fit_cluster import fit_heads_on_cluster

    if options.held_out != HoldOut():
        raise InputError(f"cluster: expected no nodes or clients to hold out, found {options.held_out}")
    with connect(str(options.cluster)) as client:
        n = len(client.scheduler_info(n_workers=-1)["workers"])
        made = cluster_dataset(
            client,
            data,
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
            fit=lambda rows: fit_heads_on_cluster(
                client, rows, spec, seed=options.seed, threads=options.threads, progress=progress
            ),
            serve=lambda first: rehearse_on_cluster(
                client, data, spec, first.folder, made.slices, seed=options.seed, progress=progress
            ),
            scratch=options.scratch,
        )
        workers = Workers(n, max(made.peak_bytes, peak_memory(client)), made.evicted)
    summary = write_model(dataset, fitted, spec, options.out, made.read)
    start = int(summary.window["first_calibrated_slice"])
    return _Trained(summary, workers, lambda: read_telemetry(data, spec, start=start, until=options.until))


def _register(
    data: Path, spec: Spec, summary: TrainingSummary, workers: Workers | None, options: TrainingOptions
) -> Registered:
    training = spec.training
    params = {
        "spec": spec.name,
        "until": options.until,
        "seed": options.seed,
        "reveal": training.reveal,
        "rounds": training.rounds,
        **{f"lightgbm.{name}": value for name, value in training.lightgbm.items()},
        **{f"{name}.trees": head.n_trees for name, head in summary.heads.items()},
        **{f"{name}.rows": head.n_rows for name, head in summary.heads.items()},
        **({} if workers is None else {"workers": workers.n}),
    }
    folder = data.resolve()
    source = DataSet(folder.name, str(data), data_id(data), int(summary.window["rows"]))
    with TemporaryDirectory() as pictures:
        return track(
            summary.folder,
            params=params,
            data=source,
            plots=save_pictures(summary.heads, Path(pictures)),
            registry=options.registry,
        )


def _contest(
    read: Callable[[], Telemetry], spec: Spec, summary: TrainingSummary, options: TrainingOptions, progress: Report
) -> Contest:
    """Let the new model and the champion decide the same requests of the last slices, under the spec's utility.

    They cannot where there is no champion, or where it was made for other features, or cannot be loaded any more.
    Neither model was fitted on these slices if they were trained on the same data; a champion trained on later data
    has an advantage.
    """
    if champion(spec.name, options.registry) is None:
        return Contest()
    try:
        current = Model.load(artifact_folder(f"models:/{spec.name}@{CHAMPION}", options.registry))
    except (ArtifactError, RegistryError) as error:
        return Contest(obstacle=f"the champion cannot be loaded ({error}), so they cannot be compared")
    theirs, ours = current.spec.fingerprint(), spec.fingerprint()
    if theirs != ours:
        return Contest(
            obstacle=f"the champion was trained for other features (fingerprint {theirs}, now {ours}), "
            "so they cannot be compared"
        )
    start, telemetry = int(summary.window["first_judged_slice"]), read()
    before, n_slices = split_telemetry(telemetry, start)
    requests = min(spec.evaluation.requests, max(1, CONTEST // (n_slices * len(telemetry.clients))))
    setting = Setting(spec, telemetry.clients, telemetry.nodes, options.seed)
    policies: dict[str, Policy] = {
        "random": Random(setting),
        "champion": Learned(setting, current),
        "challenger": Learned(setting, summary.model),
    }
    rounds = measured_rounds(
        telemetry, spec, start=start, requests=requests, candidates=CONTEST_CANDIDATES, seed=options.seed
    )
    found = evaluate(rounds, policies, spec, before, n_rounds=n_slices * requests, progress=progress)
    new, old = (found.policies[name].mean for name in ("challenger", "champion"))
    return Contest(Comparison("mean cost on the last slices", challenger=new, champion=old))

"""Let a new model and the champion decide the same requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from scheduler.errors import ArtifactError, FoglineError, InputError, RegistryError
from scheduler.model.mlflow_client import resolve_uri
from scheduler.model.model import Model
from scheduler.spec import Spec
from training.artifacts.locate import artifact_folder
from training.evaluation.evaluate import evaluate, split_telemetry
from training.evaluation.measured_requests import measured_requests
from training.heads.summary import TrainingSummary
from training.pipeline.options import TrainingOptions
from training.pipeline.promotion import MetricChange, Promotion, champion_if_any, decide
from training.policies import Learned, Policy, Random, Setting
from training.progress import ProgressCallback
from training.telemetry import Telemetry

CONTEST = 20_000
"""Decisions in a comparison with the champion: enough to tell 1 % of the mean cost from noise on the measured sets,
done in seconds."""

CONTEST_CANDIDATES = 20


class Contest(NamedTuple):
    """How a new model compares with the champion, or why it could not be compared; neither without a champion.

    ``champion`` is the version that it was compared with.
    """

    champion: str | None = None
    change: MetricChange | None = None
    obstacle: str = ""

    def decide(self, current: str | None, *, force: bool) -> Promotion:
        """Return whether the new model takes over from the champion of now, who may be another one meanwhile."""
        if current in (None, self.champion):
            return decide(current, change=self.change, obstacle=self.obstacle, force=force)
        before = "there was no champion" if self.champion is None else f"version {self.champion} was champion"
        changed = f"{before} when they were compared, now it is version {current}"
        return decide(current, obstacle=self.obstacle or changed, force=force)


def contest(
    read: Callable[[], Telemetry],
    spec: Spec,
    summary: TrainingSummary,
    options: TrainingOptions,
    progress: ProgressCallback,
) -> Contest:
    """Let the new model and the champion decide the same requests of the last slices, under the spec's utility.

    Whatever keeps them from it becomes the obstacle: a registry that does not answer, a champion that cannot be loaded
    or was made for other features, no request with two nodes to choose from, no room in memory.
    """
    registry, current = resolve_uri(options.registry), None
    try:
        current = champion_if_any(spec.name, registry)
        if current is None:
            return Contest()
        return Contest(current, _compare(_load(spec, current, registry), read, spec, summary, options, progress))
    except Exception as error:  # noqa: BLE001 - whatever it is, the training stands and the champion stays
        return Contest(current, obstacle=f"{_said(error)}, so they cannot be compared")


def _load(spec: Spec, version: str, registry: str) -> Model:
    try:
        current = Model.load(artifact_folder(f"models:/{spec.name}/{version}", registry))
    except (ArtifactError, RegistryError) as error:
        raise InputError(f"the champion cannot be loaded ({error})") from error
    theirs, ours = current.spec.fingerprint(), spec.fingerprint()
    if theirs != ours:
        raise InputError(f"the champion was trained for other features (fingerprint {theirs}, now {ours})")
    return current


def _said(error: Exception) -> str:
    """Return an error in one line: in its own words if they are meant for people."""
    words = " ".join(str(error).split())
    return words if isinstance(error, FoglineError) else f"{type(error).__name__}: {words}"


def _compare(
    current: Model,
    read: Callable[[], Telemetry],
    spec: Spec,
    summary: TrainingSummary,
    options: TrainingOptions,
    progress: ProgressCallback,
) -> MetricChange:
    """Replay the last slices; neither model was fitted on them if they were trained on the same data.

    A champion trained on later data has an advantage.
    """
    start, telemetry = int(summary.window["first_judged_slice"]), read()
    before, n_slices = split_telemetry(telemetry, start)
    requests = min(spec.evaluation.requests, max(1, CONTEST // (n_slices * len(telemetry.clients))))
    setting = Setting(spec, telemetry.clients, telemetry.nodes, options.seed)
    policies: dict[str, Policy] = {
        "random": Random(setting),
        "champion": Learned(setting, current),
        "challenger": Learned(setting, summary.model),
    }
    batches = measured_requests(
        telemetry, spec, start=start, requests=requests, candidates=CONTEST_CANDIDATES, seed=options.seed
    )
    found = evaluate(batches, policies, spec, before, n_batches=n_slices * requests, progress=progress)
    new, old = (found.policies[name].mean for name in ("challenger", "champion"))
    return MetricChange("mean cost on the last slices", challenger=new, champion=old)

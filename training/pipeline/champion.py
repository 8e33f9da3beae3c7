"""Let a new model, the champion and simple statistics decide the same requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from scheduler.errors import ArtifactError, FoglineError, InputError, RegistryError
from scheduler.model.mlflow_client import resolve_uri
from scheduler.model.model import Model
from scheduler.spec import Spec
from training.artifacts.locate import artifact_folder
from training.evaluation.evaluate import evaluate, split_telemetry
from training.evaluation.head_losses import judge_by_losses
from training.evaluation.measured_requests import measured_requests
from training.evaluation.ope.support import LEAST_SUPPORT
from training.evaluation.ope.telemetry import judge_off_policy, unreserved, weigh
from training.evaluation.paired_intervals import Interval
from training.evaluation.results import Comparison
from training.evaluation.verdict import (
    BETTER,
    NOT_BETTER,
    UNTOLD,
    Asked,
    Verdict,
    judge,
    needed,
    percent,
    percent_range,
    relative_cost,
    untold,
)
from training.features.trained_means import as_of
from training.heads.summary import TrainingSummary, TrainingWindow
from training.pipeline.options import TrainingOptions
from training.pipeline.promotion import Promotion, champion_if_any, decide
from training.policies import BASELINES, SIMPLE, Learned, Policy, Random, Setting
from training.progress import ProgressCallback
from training.telemetry import Telemetry

CONTEST = 20_000
"""Decisions in a comparison with the champion, about: done in seconds. Where so many do not tell two models apart, the
verdict says how many would."""

MOSTLY = 0.5
"""Share of the requests of a log, at least, that have two nodes to choose from where it is replayed. With fewer a
verdict would be that of a few clients."""

NEW, OLD = "challenger", "champion"


class Contest(NamedTuple):
    """How a new model compares with the champion, or why it could not be compared; neither without a champion.

    Attributes
    ----------
    champion
        The version that it was compared with.
    verdict
        What came out, if they were compared.
    obstacle
        Why they were not.
    simple
        Which simple statistic is better than the new model, in words; empty if none is known to be.
    """

    champion: str | None = None
    verdict: Verdict | None = None
    obstacle: str = ""
    simple: str = ""

    def decide(self, current: str | None, *, force: bool) -> Promotion:
        """Return whether the new model takes over from the champion of now, who may be another one meanwhile."""
        if current in (None, self.champion):
            return decide(current, verdict=self.verdict, obstacle=self.obstacle, force=force)
        before = "there was no champion" if self.champion is None else f"version {self.champion} was champion"
        changed = f"{before} when they were compared, now it is version {current}"
        return decide(current, obstacle=self.obstacle or changed, force=force)

    def tags(self) -> dict[str, str]:
        """Return what run and version say of it besides the promotion."""
        return {"better_baseline": self.simple} if self.simple else {}


def contest(
    read: Callable[[], Telemetry],
    spec: Spec,
    summary: TrainingSummary,
    options: TrainingOptions,
    progress: ProgressCallback,
) -> Contest:
    """Let the new model, the champion and simple statistics decide the same requests of the last slices.

    Each version decides by its own spec, with its utility and its policy. The slices are those that neither training
    nor tuning of either has seen; see `first_unseen`. Without a champion the statistics alone are compared with.

    Whatever keeps the versions from it becomes the obstacle: a registry that does not answer, a champion that cannot be
    loaded or was made for other features, no slice that neither has seen, no room in memory. The new model is compared
    with the statistics all the same, if that can be done.
    """
    registry, current, old, obstacle = resolve_uri(options.registry), None, None, ""
    try:
        current = champion_if_any(spec.name, registry)
        old = None if current is None else _load(spec, current, registry)
    except Exception as error:  # noqa: BLE001 - whatever it is, the training stands and the champion stays
        obstacle = _said(error)
    for rival in dict.fromkeys((old, None)):
        try:
            found = _compare(current, rival, read, summary, options, progress)
        except Exception as error:  # noqa: BLE001 - as above
            obstacle = obstacle or _said(error)
        else:
            return found._replace(champion=current, obstacle=obstacle)
    return Contest(current, obstacle=obstacle)


def first_unseen(*versions: tuple[Spec, TrainingWindow]) -> int:
    """Return the first slice that neither training nor tuning of any version has seen.

    The slices that only judged a training count as unseen: nothing was chosen by them.
    """
    bounds = []
    for spec, window in versions:
        judged = window.get("first_judged_slice")
        bounds.append(int(judged) if judged is not None else int(window["last_slice"]) + 1)
        bounds.append(spec.training.tuned_until or 0)
    return max(bounds)


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
    """Return as an obstacle an error in one line: in its own words if they are meant for people."""
    words = " ".join(str(error).split())
    said = words if isinstance(error, FoglineError) else f"{type(error).__name__}: {words}"
    return f"{said}, so they cannot be compared"


def _compare(
    current: str | None,
    old: Model | None,
    read: Callable[[], Telemetry],
    summary: TrainingSummary,
    options: TrainingOptions,
    progress: ProgressCallback,
) -> Contest:
    """Replay the last slices."""
    new = summary.model
    models = {NEW: new} if old is None else {NEW: new, OLD: old}
    start, telemetry = first_unseen(*((m.spec, m.manifest.window) for m in models.values())), read()
    last = int(telemetry.slice.max())
    if start > last:
        raise InputError(
            f"no slice is left that neither training nor tuning of both has seen: expected slice {start} or later, "
            f"found slices up to {last}"
        )
    models = {name: as_of(model, telemetry, start) for name, model in models.items()}
    if not replayable(telemetry, start):
        return Contest(current, None if old is None else _compare_logged(telemetry, models, start, options))
    found = _replayed(telemetry, models, start, options, progress)
    asked = Asked(found.client, found.slice, options.seed)
    best, lead = _best_simple(found, asked, new.spec)
    simple = f"{best} is better by {percent_range(lead)}" if lead.low > 0.0 else ""
    if old is None:
        return Contest(simple=simple)
    verdict = judge(asked, found.picks[NEW], found.picks[OLD], new.spec.promotion)
    return Contest(current, _with_simple(verdict, best, lead, len(found.client)), simple=simple)


def replayable(telemetry: Telemetry, start: int) -> bool:
    """Return whether most clients have outcomes of two nodes in a slice, over all slices from a first one on."""
    rows = np.flatnonzero(telemetry.slice >= start)
    asked = np.stack([telemetry.slice[rows], telemetry.client[rows], telemetry.node[rows]])
    pairs = np.unique(asked, axis=1)
    _, n_nodes = np.unique(pairs[:2], axis=1, return_counts=True)
    return bool((n_nodes > 1).mean() >= MOSTLY)


def _compare_logged(telemetry: Telemetry, models: Mapping[str, Model], start: int, options: TrainingOptions) -> Verdict:
    """Compare on a log in which most clients used one node a slice: by propensities, else by the heads' losses.

    Propensities say nothing where either version would choose what the log never drew; see
    `training.evaluation.ope.support.refusal`.
    """
    spec = models[NEW].spec
    setting = Setting(spec, telemetry.clients, telemetry.nodes, options.seed)
    policies = {name: Learned(setting._replace(spec=unreserved(model.spec)), model) for name, model in models.items()}
    found = weigh(telemetry, policies, start, spec.evaluation.requests)
    refused = "without propensities" if found is None else found.refusal(telemetry, LEAST_SUPPORT)
    why = "mostly one node for each client and slice"
    if found is None or refused is not None:
        verdict = judge_by_losses(telemetry, models[NEW], models[OLD], start, options.seed)
        how = f"{why}, {refused}"
    else:
        verdict = judge_off_policy(telemetry, found, NEW, OLD, spec.promotion)
        how = f"{why}; off-policy by {len(found.rows):,} logged propensities worth {found.support():,.0f} decisions"
    return verdict._replace(reason=f"{verdict.reason}; on a log of {how}, so compared with no simple average")


def _replayed(
    telemetry: Telemetry, models: dict[str, Model], start: int, options: TrainingOptions, progress: ProgressCallback
) -> Comparison:
    spec = models[NEW].spec
    before, n_slices = split_telemetry(telemetry, start)
    requests = min(spec.evaluation.requests, max(1, CONTEST // (n_slices * len(telemetry.clients))))
    setting = Setting(spec, telemetry.clients, telemetry.nodes, options.seed)
    policies: dict[str, Policy] = {"random": Random(setting)}
    policies |= {name: Learned(setting._replace(spec=model.spec), model) for name, model in models.items()}
    policies |= {name: BASELINES[name](setting) for name in SIMPLE}
    batches = measured_requests(
        telemetry,
        spec,
        start=start,
        requests=requests,
        candidates=spec.evaluation.candidates,
        seed=options.seed,
    )
    return evaluate(batches, policies, spec, before, n_batches=n_slices * requests, progress=progress)


def _best_simple(found: Comparison, asked: Asked, spec: Spec) -> tuple[str, Interval]:
    """Return the simple statistic of the least mean cost, and by which share the new model's is above it."""
    best = min(SIMPLE, key=lambda name: found.policies[name].mean)
    return best, relative_cost(asked, found.picks[NEW], found.picks[best], spec.promotion.confidence)


def _with_simple(verdict: Verdict, best: str, lead: Interval, n_decisions: int) -> Verdict:
    """Return the verdict on a model that must beat the best simple statistic too."""
    words = f"{verdict.reason}; {percent(lead)} against {best}"
    if lead.low >= 0.0:
        return Verdict(NOT_BETTER, words)
    if lead.high >= 0.0 and verdict.outcome == BETTER:
        return untold(f"{words}, so it may be no better than {best}", [needed(lead, 0.0, n_decisions)])
    if lead.high >= 0.0 and verdict.outcome == UNTOLD:
        return untold(f"{words}, which it has to beat too", [verdict.more, needed(lead, 0.0, n_decisions)])
    return verdict._replace(reason=words)

"""Let a new model and the champion decide the same requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from scheduler.errors import ArtifactError, RegistryError
from scheduler.model.model import Model
from scheduler.spec import Spec
from training.artifacts.locate import artifact_folder
from training.evaluation.evaluate import evaluate, split_telemetry
from training.evaluation.measured_requests import measured_requests
from training.heads.summary import TrainingSummary
from training.pipeline.options import TrainingOptions
from training.pipeline.promotion import CHAMPION, Comparison, champion
from training.policies import Learned, Policy, Random, Setting
from training.progress import Report
from training.telemetry import Telemetry

CONTEST = 20_000
"""Decisions in a comparison with the champion: enough to tell 1 % of the mean cost from noise on the measured sets,
done in seconds."""

CONTEST_CANDIDATES = 20


class Contest(NamedTuple):
    """How a new model compares with the champion, or why it could not be compared; neither without a champion."""

    better: Comparison | None = None
    obstacle: str = ""


def contest(
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
    rounds = measured_requests(
        telemetry, spec, start=start, requests=requests, candidates=CONTEST_CANDIDATES, seed=options.seed
    )
    found = evaluate(rounds, policies, spec, before, n_rounds=n_slices * requests, progress=progress)
    new, old = (found.policies[name].mean for name in ("challenger", "champion"))
    return Contest(Comparison("mean cost on the last slices", challenger=new, champion=old))

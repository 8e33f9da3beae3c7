"""What a version would have cost on a log that another one wrote, and whether that is better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from scheduler.errors import DataError, InputError
from scheduler.model.model import Model
from scheduler.policy.compile import with_policy
from scheduler.spec import Spec
from training.artifacts.locate import artifact_folder
from training.evaluation.ope.decisions import LoggedDecisions
from training.evaluation.ope.evaluate import OffPolicy, evaluate_off_policy
from training.evaluation.ope.records import decisions_of_records, is_records
from training.evaluation.ope.telemetry import decisions_of_telemetry, unreserved
from training.evaluation.verdict import percent
from training.features.trained_means import as_of
from training.pipeline.champion import first_unseen
from training.policies import Learned, Setting
from training.progress import ProgressCallback, silent
from training.telemetry import Data, data_name, read_telemetry


@dataclass(frozen=True, kw_only=True)
class OffPolicyOptions:
    """How a log is judged.

    Attributes
    ----------
    spec
        Policy and columns; None for those of the model.
    propensity
        Column of the propensities; None for that of the spec.
    start
        First slice; None for the first that neither training nor tuning of the model has seen. Records have the slices
        of a dataset made of them.
    clip
        Bound of the weights; None for the square root of the number of decisions.
    seed
        Of the model's draws, and of the folds of the model of the cost.
    registry
        As for `scheduler.Model.load`.
    """

    spec: Spec | None = None
    propensity: str | None = None
    start: int | None = None
    clip: float | None = None
    seed: int = 0
    registry: str | None = None


@dataclass(frozen=True, kw_only=True)
class Estimated:
    """A version, the log that it was judged on, and what the log says.

    Attributes
    ----------
    model, data, unit
        The version, the log's name, and the unit of the cost.
    found
        The estimates.
    left_out
        By reason, how many recorded decisions were not judged.
    warnings
        Why the estimates may be too good.
    """

    model: str
    data: str
    unit: str
    found: OffPolicy
    left_out: Mapping[str, int]
    warnings: tuple[str, ...]

    def verdict(self) -> str:
        """Return the change of the estimate that counts in words."""
        found = self.found.change[self.found.best]
        words = "better" if found.high < 0.0 else "worse" if found.low > 0.0 else "cannot be told"
        sure = "" if words == "cannot be told" else " by more than chance"
        return f"Against what was logged, by {self.found.best}: {percent(found)}: {words}{sure}"

    def to_json(self) -> dict[str, Any]:
        """Return what ``fogline ope --json`` prints."""
        about = {"model": self.model, "data": self.data, "unit": self.unit}
        rest = {"left_out": dict(self.left_out), "warnings": list(self.warnings)}
        return {**about, **self.found.to_json(), **rest}


def estimate_challenger(
    data: Data, source: str, options: OffPolicyOptions, progress: ProgressCallback = silent
) -> Estimated:
    """Estimate what a version would have cost on a log with propensities.

    Parameters
    ----------
    data
        A folder of records, a telemetry directory, or other files that the spec reads.
    source
        The version, as for `scheduler.Model.load`.

    Raises
    ------
    InputError
        If model and spec differ in what a feature row means.
    DataError
        If the data cannot be read, or say too little about the version: with the reason.
    ArtifactError, RegistryError
        If the model cannot be read.
    """
    model = Model.load(artifact_folder(source, options.registry))
    spec = _spec(model, options)
    logged = logged_decisions(data, model, spec, options, progress)
    found = evaluate_off_policy(logged, clip=options.clip, confidence=spec.promotion.confidence, seed=options.seed)
    name = f"{model.name}-{model.version}"
    if found.refused is not None:
        raise DataError(f"{data_name(data)} does not say what {name} would have cost: {found.refused}")
    return Estimated(
        model=name,
        data=data_name(data),
        unit=spec.outcomes[spec.cost.success].unit,
        found=found,
        left_out=logged.left_out,
        warnings=_warnings(data, model, options),
    )


def logged_decisions(
    data: Data, model: Model, spec: Spec, options: OffPolicyOptions, progress: ProgressCallback
) -> LoggedDecisions:
    """Read a log, and ask the model about each of its decisions."""
    if isinstance(data, Path) and is_records(data):
        since = unseen_since(model) if options.start is None else None
        return decisions_of_records(data, with_policy(model, spec), options.start, since)
    start = first_unseen((model.spec, model.manifest.window)) if options.start is None else options.start
    telemetry = read_telemetry(data, spec, progress=lambda done, of: progress("read", done, of))
    last = int(telemetry.slice.max())
    if last < start:
        raise DataError(f"{data_name(data)}: expected slice {start} or later, found {last} at most")
    progress("ask the model", 0, 1)
    setting = Setting(unreserved(spec), telemetry.clients, telemetry.nodes, options.seed)
    policy = Learned(setting, as_of(model, telemetry, start))
    logged = decisions_of_telemetry(telemetry, policy, start, spec.evaluation.requests)
    progress("ask the model", 1, 1)
    return logged


def unseen_since(model: Model) -> float | None:
    """Return from which time on decisions are new to a model: neither training nor tuning has seen them.

    None where its artifact does not say: telemetry without a column of times, or slices that a column numbers and an
    artifact from before ``seen_until``.
    """
    window, roles = model.manifest.window, model.spec.telemetry
    if roles.time is None:
        return None
    if roles.slice.column is None and "last_slice" in window:
        return roles.slice.origin + first_unseen((model.spec, window)) * roles.slice.seconds
    seen = window.get("seen_until")
    return None if seen is None else float(np.nextafter(float(seen), np.inf))


def _warnings(data: Data, model: Model, options: OffPolicyOptions) -> tuple[str, ...]:
    """Return a warning where records may be judged by a model that was trained on them."""
    told = options.start is not None or unseen_since(model) is not None
    if told or not (isinstance(data, Path) and is_records(data)):
        return ()
    name = f"{model.name}-{model.version}"
    line = (
        f"{data_name(data)}: all decisions are judged, also any that {name} was trained on, where it looks better than "
        "it is: its artifact does not say at what time its training data end; name the first slice with --from"
    )
    return (line,)


def _spec(model: Model, options: OffPolicyOptions) -> Spec:
    spec = model.spec if options.spec is None else options.spec
    if spec.fingerprint() != model.spec.fingerprint():
        raise InputError(
            f"model: expected one for the spec {spec.name} (fingerprint {spec.fingerprint()}), found {model.name}-"
            f"{model.version} (fingerprint {model.spec.fingerprint()})"
        )
    if options.propensity is None:
        return spec
    return msgspec.structs.replace(
        spec, telemetry=msgspec.structs.replace(spec.telemetry, propensity=options.propensity)
    )

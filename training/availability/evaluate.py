"""``fogline lifetime``: for each horizon turn sightings into telemetry, fit a model on the past, judge it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from scheduler.errors import InputError, SpecError
from scheduler.spec import FAILED, Spec
from training.availability.metrics import MODEL, NEXT, SPEED, Floats, Judged, Scores, predict, presence, speed
from training.availability.sightings import read_sightings, snapshots, write_lifetimes
from training.features.targets import head_targets
from training.heads.lightgbm_params import resolve_lightgbm
from training.heads.metrics import reliability
from training.heads.summary import HeadSummary
from training.pipeline.train import train_model
from training.progress import ProgressCallback, silent
from training.telemetry import data_id, read_telemetry
from training.telemetry.history_size import shortages
from training.tracking.head_figures import save_pictures
from training.tracking.runs import DataSet, track

JUDGED = 0.2
"""Share of the snapshots, the last, that are judged where the caller names no start."""


@dataclass(frozen=True, kw_only=True)
class LifetimeOptions:
    """How lifetimes are judged.

    ``horizons`` are numbers of snapshots, ``start`` is the first slice that is judged (None: the last fifth of the
    snapshots), ``out`` receives a folder for each horizon, ``threads`` are LightGBM's, 0 for one a core. ``registry``
    is the MLflow URI in which each horizon's model is registered as NAME-hHORIZON; None registers none.
    """

    horizons: tuple[int, ...] = (1, 4, 28)
    start: int | None = None
    out: Path = Path(".fogline/lifetime")
    seed: int = 0
    threads: int = 0
    registry: str | None = None


class Lifetime(NamedTuple):
    """Result for one horizon: the artifact, the number of fitted sightings, the figures.

    ``warnings`` says what made the model worse than it need be, a line each. ``model`` is the URI of the registered
    version; empty if none was registered.
    """

    horizon: int
    hours: float
    artifact: Path
    n_fitted: int
    presence: Scores
    speed: Scores
    warnings: tuple[str, ...] = ()
    model: str = ""


class LifetimeResult(NamedTuple):
    """Results for all horizons, with the data and the first judged slice."""

    data: str
    spec: str
    start: int
    horizons: tuple[Lifetime, ...]

    def warnings(self) -> list[str]:
        """Return what made models worse than they need be, a line each."""
        return [f"horizon {one.horizon}: {line}" for one in self.horizons for line in one.warnings]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        found = [one._asdict() | {"artifact": str(one.artifact)} for one in self.horizons]
        return self._asdict() | {"horizons": found}


def judge_lifetimes(
    data: Path, spec: Spec, options: LifetimeOptions, progress: ProgressCallback = silent
) -> LifetimeResult:
    """Fit each horizon's model on the past and judge it on the slices from ``options.start`` on.

    A sighting is fitted only if its horizon had ended when the judged slices begin; within the training, an embargo of
    the horizon lies between its parts.

    Parameters
    ----------
    data
        A folder of sightings, see `training.availability.sightings.write_lifetimes`.
    spec
        Spec of the telemetry that is made from the sightings.

    Raises
    ------
    SpecError
        If the spec predicts no failure, or LightGBM would not use its parameters as the spec says.
    InputError
        If a horizon is below 1, or there are not enough slices before or after the start.
    DataError
        If the data cannot be read, or is too little to fit and judge on.
    """
    if not any(head.target == FAILED for head in spec.heads.values()):
        raise SpecError(f"spec {spec.name}: expected a head with the target {FAILED}, found none")
    spec = resolve_lightgbm(spec)
    sightings = read_sightings(data)
    slices = np.sort(sightings["slice"].unique().to_numpy()).astype(np.int64)
    start = int(slices[-max(1, round(JUDGED * slices.size))]) if options.start is None else options.start
    at = int(np.searchsorted(slices, start))
    most = min(at - 1, slices.size - at - 1)
    for horizon in options.horizons:
        if not 1 <= horizon <= most:
            raise InputError(
                f"horizon: expected 1 to {most} snapshots, with {at} before slice {start} and "
                f"{slices.size - at} from it on, found {horizon}"
            )
    work = _Work(data, spec, sightings, slices, at, options, progress)
    found = tuple(_judge(work, horizon) for horizon in options.horizons)
    return LifetimeResult(f"{data.resolve().name}@{data_id(data)[:12]}", spec.name, start, found)


class _Work(NamedTuple):
    """State that all horizons share; ``first`` is the number of the first judged snapshot."""

    data: Path
    spec: Spec
    sightings: pl.DataFrame
    slices: NDArray[np.int64]
    first: int
    options: LifetimeOptions
    progress: ProgressCallback


def _judge(work: _Work, horizon: int) -> Lifetime:
    spec, options = work.spec, work.options
    folder = options.out / f"h{horizon}"
    work.progress(f"horizon {horizon}", 0, 3)
    write_lifetimes(work.data, folder / "telemetry", horizon)
    end = work.first - horizon
    past = read_telemetry(folder / "telemetry", spec, until=int(work.slices[end]))
    fitted = msgspec.structs.replace(spec, training=msgspec.structs.replace(spec.training, embargo=horizon))
    summary = train_model(past, fitted, folder, seed=options.seed, threads=options.threads)
    work.progress(f"horizon {horizon}", 1, 3)
    telemetry = read_telemetry(folder / "telemetry", spec)
    at = np.searchsorted(work.slices, telemetry.slice).astype(np.int64)
    judged = Judged(telemetry, at, at >= work.first, work.first, end, horizon)
    values = predict(summary.model, judged)
    work.progress(f"horizon {horizon}", 2, 3)
    found = Lifetime(
        horizon,
        _hours(work, horizon),
        summary.folder,
        len(past),
        presence(judged, values[_head(spec, FAILED, "logistic")], work.sightings),
        _speed(judged, spec, values),
        tuple(shortages(summary.tables())),
    )
    plots = _draw(summary.heads, values, judged, spec, folder / "plots")
    if options.registry is not None:
        found = found._replace(model=_register(work, found, len(past), plots))
    work.progress(f"horizon {horizon}", 3, 3)
    return found


def _register(work: _Work, found: Lifetime, n_rows: int, plots: list[Path]) -> str:
    """Register a horizon's model under the spec's name and the horizon, with its figures; return its URI."""
    telemetry = work.options.out / f"h{found.horizon}" / "telemetry"
    figures = {
        f"{what}.{which}.{figure}": float(value)
        for what, scores in (("presence", found.presence), ("speed", found.speed))
        for which, values in scores.get(MODEL, {}).items()
        for figure, value in values.items()
    }
    return track(
        found.artifact,
        name=f"{work.spec.name}-h{found.horizon}",
        params={"horizon": found.horizon, "hours": found.hours, "seed": work.options.seed},
        data=DataSet(work.data.resolve().name, str(work.data), data_id(telemetry), n_rows),
        plots=plots,
        metrics=figures,
        registry=work.options.registry,
    ).uri


def _head(spec: Spec, target: str, link: str) -> str:
    """Return the first head with a target and link, or nothing."""
    return next((name for name, head in spec.heads.items() if (head.target, head.link) == (target, link)), "")


def _speed(judged: Judged, spec: Spec, values: dict[str, Floats]) -> Scores:
    """Judge speeds where the spec has a head for their mean, one for the mean of their logarithm, and the speed now."""
    mean, log_mean = (_head(spec, f"log1p({NEXT})", link) for link in ("log", "identity"))
    if not mean or not log_mean or SPEED not in judged.telemetry.node_state:
        return {}
    return speed(judged, values[mean], values[log_mean])


def _hours(work: _Work, horizon: int) -> float:
    """Return how many hours a horizon lasts, by the median over the snapshots."""
    times = snapshots(work.sightings)["time_s"].to_numpy()
    return float(np.median(times[horizon:] - times[:-horizon]) / 3600.0)


def _draw(
    heads: Mapping[str, HeadSummary], values: Mapping[str, Floats], judged: Judged, spec: Spec, folder: Path
) -> list[Path]:
    """Draw importance and calibration of each head, the latter over the judged sightings."""
    folder.mkdir(parents=True, exist_ok=True)
    _, outcomes = head_targets(judged.telemetry, spec, judged.rows)
    drawn = {}
    for name, head in heads.items():
        drawn[name] = head._replace(reliability=reliability(values[name], outcomes[name]))
    return save_pictures(drawn, folder)

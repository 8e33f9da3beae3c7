"""The training run: telemetry to heads to a verified artifact."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
from numpy.typing import NDArray

from scheduler.errors import DataError
from scheduler.model.calibration import calibration_table, head_values
from scheduler.model.manifest import Calibration
from scheduler.model.model import Model
from scheduler.spec import Head, Spec
from training.artifacts.write import content_version, write_artifact
from training.evaluation.on_policy import Block, blocks, serve_on_policy
from training.features.dataset import Dataset, build_dataset, joined, without_slices
from training.features.split import seen_until
from training.heads.calibration import calibrate, calibrate_quantile
from training.heads.fit import FittedHead, calibrated_on, fit_heads, head_rows, out_of_fold
from training.heads.lightgbm_params import resolve_lightgbm
from training.heads.metrics import head_metrics, quantile_metrics, reliability
from training.heads.summary import HeadSummary, TrainingSummary, TrainingWindow
from training.heads.uncertainty import Rows, error_level, find_errors, fit_variance_scale, uncertainty_metrics
from training.progress import ProgressCallback, silent
from training.sampling import evenly_spaced
from training.telemetry import Telemetry

GOLDEN_ROWS = 64
"""Real feature rows kept in an artifact, beside the corner cases made from them."""


def train_model(
    telemetry: Telemetry, spec: Spec, out: Path, *, seed: int = 0, threads: int = 0, progress: ProgressCallback = silent
) -> TrainingSummary:
    """Replay, fit, calibrate, judge, and write the artifact.

    Parameters
    ----------
    telemetry
        All of it is used: cut it where training must end.
    out
        The artifact becomes ``out/NAME-VERSION``; if this very model is there already, it is left as it is.
    threads
        For LightGBM; 0 for one a core.

    Raises
    ------
    SpecError
        If LightGBM would not use its parameters as the spec says; see `training.heads.lightgbm_params`.
    DataError
        If there is too little to fit, calibrate or judge on.
    ForestError
        If a head cannot be represented as a forest.
    """
    spec = resolve_lightgbm(spec)
    dataset = build_dataset(telemetry, spec, seed=seed, progress=progress)
    read = read_window(telemetry) | seen_until(telemetry.slice, telemetry.time, spec)
    dataset, fitted = fit_rehearsed(
        dataset,
        spec,
        read,
        slices=np.unique(telemetry.slice),
        fit=lambda rows: fit_heads(rows, spec, seed=seed, threads=threads, progress=progress),
        serve=lambda first: serve_on_policy(
            telemetry, spec, [(start, one.model) for start, one in first], seed=seed, progress=progress
        ),
        threads=threads,
    )
    return write_model(dataset, fitted, spec, out, read)


def fit_rehearsed(  # noqa: PLR0913 - how to fit and how to serve, on a cluster or here
    dataset: Dataset,
    spec: Spec,
    read: TrainingWindow,
    *,
    slices: NDArray[np.int32],
    fit: Callable[[Dataset], dict[str, FittedHead]],
    serve: Callable[[Sequence[tuple[int, TrainingSummary]]], Dataset],
    threads: int,
    scratch: Path | None = None,
) -> tuple[Dataset, dict[str, FittedHead]]:
    """Fit all heads; if the spec has a rehearsal, also on what first models saw in service.

    The first models serve in turn, each slices that it was not fitted on; see `training.evaluation.on_policy.blocks`.
    What they scored there also calibrates the last heads: the slices that only calibrate are few, and levels differ
    more from slice to slice than from model to model.

    Parameters
    ----------
    read
        As for `write_model`.
    slices
        All slices of the data, each once, in order.
    fit, serve
        Function that fits heads on rows; function that lets models serve, each from a slice on, and returns what they
        saw.
    threads
        Of this process, to score with.
    scratch
        Folder for the first models' artifacts meanwhile; by default the system's temporary folder.

    Returns
    -------
    tuple
        The rows that were fitted last, and the heads.
    """
    if spec.training.rehearse == 0.0:
        return dataset, fit(dataset)
    first, models, served = [], [], blocks(slices, spec)
    _check_rests(dataset, spec, served)
    with TemporaryDirectory(dir=scratch) as folder:
        for block in served:
            rows = without_slices(dataset, block.left_out)
            heads = fit(rows)
            first.append((heads, block.held_out))
            models.append((block.start, write_model(_as_before(rows), heads, spec, Path(folder), read)))
        seen = serve(models)
    unseen = [out_of_fold(heads, seen, held_out, threads=threads) for heads, held_out in first]
    dataset = joined(dataset, seen)
    return dataset, calibrated_on(fit(dataset), unseen)


def _check_rests(dataset: Dataset, spec: Spec, served: Sequence[Block]) -> None:
    """Raise `DataError` before anything is fitted where a head cannot be fitted without what its model is to serve."""
    targets = dataset._replace(x=dataset.x[:, :0])  # without features, which are most of its bytes
    for block in served:
        rest = without_slices(targets, block.left_out)
        try:
            for name in spec.heads:
                head_rows(name, rest, spec)
        except DataError as error:
            alone = f"slices {block.held_out[0]} to {block.held_out[-1]}, which are served"
            raise DataError(f"training.rehearse: expected to fit without {alone}, found {error}") from error


def _as_before(dataset: Dataset) -> Dataset:
    """Return a dataset whose models take along means of what comes before the rehearsal, not of what they serve."""
    means = dataset.means
    return dataset if means is None else dataset._replace(means=means._replace(all=means.before))


def read_window(telemetry: Telemetry) -> TrainingWindow:
    """Return how many rows telemetry has and how many were rejected, its first and last slice, and the cold shares."""
    return {
        "rows": len(telemetry),
        "rejected": telemetry.n_read - len(telemetry),
        "first_slice": int(telemetry.slice.min()),
        "last_slice": int(telemetry.slice.max()),
        **telemetry.cold_shares,
    }


def write_model(
    dataset: Dataset, fitted: Mapping[str, FittedHead], spec: Spec, out: Path, read: TrainingWindow
) -> TrainingSummary:
    """Calibrate and judge fitted heads, and write the artifact; its spec has the capacities that history had.

    Parameters
    ----------
    out, read
        As for `train_model`; what `read_window` says of the telemetry behind the dataset.
    """
    if dataset.memory is not None:
        spec = dataset.memory.into(spec)
    heads = {name: _summary(dataset, spec.heads[name], head) for name, head in fitted.items()}
    window = read | _fitted_window(dataset)
    folder = _write(out, spec, dataset, fitted, heads, window)
    return TrainingSummary(folder, Model.load(folder), heads, window)


def _summary(dataset: Dataset, meant: Head, head: FittedHead) -> HeadSummary:
    rows = head.calibration
    if meant.quantile is None:
        calibration = calibrate(meant.link, rows.raw, rows.outcome, rows.weight)
    else:
        calibration = calibrate_quantile(meant.link, meant.quantile, rows.raw, rows.outcome, rows.weight)
    level = error_level(calibration, rows)
    repeated = None if head.repeated is None else find_errors(calibration, head.repeated, level)
    scale = fit_variance_scale(find_errors(calibration, rows, level), repeated)
    known = msgspec.structs.replace(scale.into(calibration), offset=head.offset)
    predicted, outcome = _values(calibration, head.judge), head.judge.outcome
    metrics = (
        head_metrics(meant.link, predicted, outcome)
        if meant.quantile is None
        else quantile_metrics(meant.quantile, predicted, outcome)
    )
    return HeadSummary(
        calibration=known,
        metrics=metrics | uncertainty_metrics(meant.link, scale, find_errors(calibration, head.judge, level)),
        reliability=reliability(predicted, outcome),
        importance=dict(zip(dataset.features.names, head.importance.tolist(), strict=True)),
        n_rows=head.n_rows,
        n_trees=head.booster.num_trees(),
        losses=head.losses,
    )


def _values(calibration: Calibration, rows: Rows) -> NDArray[np.float64]:
    return head_values(rows.raw[:, None], calibration_table([calibration]))[:, 0]


def _fitted_window(dataset: Dataset) -> TrainingWindow:
    return {
        "first_fitted_slice": int(dataset.slices[0]),
        "first_stopping_slice": int(dataset.slices[dataset.split]),
        "first_calibrated_slice": int(dataset.slices[dataset.calibrate]),
        "first_judged_slice": int(dataset.slices[dataset.judge]),
    }


def _write(
    out: Path,
    spec: Spec,
    dataset: Dataset,
    fitted: Mapping[str, FittedHead],
    heads: Mapping[str, HeadSummary],
    window: TrainingWindow,
) -> Path:
    boosters = {name: head.booster for name, head in fitted.items()}
    calibration = {name: head.calibration for name, head in heads.items()}
    trees = {name: head.trees for name, head in fitted.items()}
    means = None if dataset.means is None else dataset.means.all
    version = content_version(spec, trees, calibration, dataset.vocabulary, means)
    folder = out / f"{spec.name}-{version}"
    if folder.is_dir():
        Model.load(folder)  # raises if the folder does not hold that model
        return folder
    return write_artifact(
        folder,
        spec=spec,
        boosters=boosters,
        calibration=calibration,
        vocabulary=dataset.vocabulary,
        metrics={f"{name}.{m}": v for name, head in heads.items() for m, v in head.metrics.items()},
        window=window,
        golden_rows=dataset.x[evenly_spaced(len(dataset.x), GOLDEN_ROWS)],
        trees=trees,
        version=version,
        tables={} if dataset.memory is None else dataset.memory.tables,
        means=means,
    )

"""From telemetry to what a head is fitted on: replayed feature rows, targets, and a split in time."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.ids import Id
from scheduler.errors import DataError
from scheduler.features.program import Features
from scheduler.history.store import new_history, table_counters
from scheduler.spec import Spec
from training.features.replay import replay
from training.features.split import split_slices, without_embargo
from training.features.targets import RowOutcomes, head_targets, row_outcomes, row_weights, targets_of
from training.features.trained_means import Means, found_means, with_keys
from training.features.vocabulary import find_vocabulary
from training.progress import ProgressCallback, silent
from training.telemetry import Telemetry, count_keys
from training.telemetry.history_size import Memory, sized
from training.telemetry.slice_starts import slice_starts


class Dataset(NamedTuple):
    """Feature rows with their targets: those to fit, that stop training, that calibrate, and that judge.

    Attributes
    ----------
    features
        What the columns of ``x`` are.
    vocabulary
        Categories by ``request.COLUMN`` or ``node.COLUMN``, most frequent first.
    x
        (n, n_features) float32.
    targets
        (n,) float32 for each head: its value, NaN where it was not measured or is not the head's to predict.
    outcomes
        (n,) float32 for each head: the outcome in its own unit, as calibration and metrics need it.
    slices
        (n,) int32.
    split, calibrate, judge
        Rows from ``split`` on are for early stopping, those from ``calibrate`` on for calibration, those from ``judge``
        on for metrics alone.
    again
        (n,) float32 for each head: the next outcome of the same client and node, among the fitted rows, those that stop
        or calibrate, and those that judge alike; NaN if there is none. None if they were not looked for.
    memory
        The running statistics that the rows were replayed through, where it is known.
    weight
        (n,) float32 weights of the rows, None where all count alike; see `training.features.targets.row_weights`.
    means
        Means of training that models take along; None if the spec has none.
    """

    features: Features
    vocabulary: dict[str, tuple[Id, ...]]
    x: NDArray[np.float32]
    targets: dict[str, NDArray[np.float32]]
    outcomes: dict[str, NDArray[np.float32]]
    slices: NDArray[np.int32]
    split: int
    calibrate: int
    judge: int
    again: dict[str, NDArray[np.float32]] | None = None
    memory: Memory | None = None
    weight: NDArray[np.float32] | None = None
    means: Means | None = None


def build_dataset(telemetry: Telemetry, spec: Spec, *, seed: int, progress: ProgressCallback = silent) -> Dataset:
    """Replay telemetry and return the rows to fit.

    The first slices only feed history. Of the rest a random sample of at most ``spec.training.rows`` rows is
    kept, and the last slices are split off for validation: never at random, because tomorrow is not a random
    row of today. History sees a random share ``spec.training.reveal`` of the outcomes. Capacities that are ``auto`` are
    those of `training.telemetry.history_size.auto_capacity`. They and the vocabulary depend on the slices before those
    that only judge. Means of training are those of all outcomes that had arrived, revealed or not.

    Raises
    ------
    DataError
        If there are too few slices to split, or no row is left to fit or to validate on.
    """
    bounds = split_slices(telemetry.slice, spec).bounds
    rng = np.random.default_rng(seed)
    usable = without_embargo(telemetry.slice, telemetry.slice, spec)
    candidates = np.flatnonzero(usable)
    if candidates.size > spec.training.rows:
        candidates = rng.choice(candidates, spec.training.rows, replace=False)
    keep = np.zeros(telemetry.time.size, np.bool_)
    keep[candidates] = True
    revealed = rng.random(telemetry.time.size) < spec.training.reveal
    known = telemetry.slice < bounds[2]
    vocabulary = find_vocabulary(telemetry, spec, known)
    features = with_keys([telemetry], spec, vocabulary)
    spec = sized(spec, count_keys(telemetry, spec, known))
    history = new_history(spec)
    x = replay(telemetry, spec, features, history, keep=keep, revealed=revealed, means=True, progress=progress)
    measured = row_outcomes(telemetry, keep)._replace(
        again=_next_outcomes(telemetry, spec, (bounds[0], bounds[2]), usable, keep)
    )
    made = assemble(spec, bounds, features, vocabulary, x, measured)
    check_parts(made, bounds)
    return made._replace(
        memory=Memory.of(spec, count_keys(telemetry, spec), table_counters(history)),
        means=found_means(features, [telemetry], spec, vocabulary, slice_starts(telemetry, spec)),
    )


def _next_outcomes(
    telemetry: Telemetry,
    spec: Spec,
    bounds: tuple[int, int],
    usable: NDArray[np.bool_],
    keep: NDArray[np.bool_],
) -> dict[str, NDArray[np.float32]]:
    """Return for each head the kept rows' next outcomes of the same client and node before the next bound.

    ``bounds`` are the first slices that are not fitted, and that only judge. Rows that are not ``usable``, because an
    embargo leaves them out, are no next outcomes either.
    """
    part = np.searchsorted(bounds, telemetry.slice, side="right")
    pair = (telemetry.client.astype(np.int64) * len(telemetry.nodes.ids) + telemetry.node) * (len(bounds) + 1) + part
    order = np.argsort(pair, kind="stable")
    _, outcomes = head_targets(telemetry, spec, np.ones(len(telemetry), np.bool_))
    found = {}
    for name, values in outcomes.items():
        at = order[(usable & ~np.isnan(values))[order]]
        same = pair[at[1:]] == pair[at[:-1]]
        again = np.full(len(telemetry), np.nan, np.float32)
        again[at[:-1][same]] = values[at[1:][same]]
        found[name] = again[keep]
    return found


def assemble(
    spec: Spec,
    bounds: tuple[int, int, int],
    features: Features,
    vocabulary: dict[str, tuple[Id, ...]],
    x: NDArray[np.float32],
    measured: RowOutcomes,
) -> Dataset:
    """Join replayed rows, in time order, with their outcomes, and split them in time.

    Parameters
    ----------
    bounds
        First slices that stop training, that calibrate, and that only judge.
    """
    slices = measured.slice
    order = np.argsort(np.searchsorted(bounds, slices, side="right"), kind="stable")
    split, calibrate, judge = (int((slices < bound).sum()) for bound in bounds)
    targets, outcomes = targets_of(measured, spec)
    weight = row_weights(measured.propensity, spec)
    return Dataset(
        features,
        vocabulary,
        x[order],
        {name: y[order] for name, y in targets.items()},
        {name: y[order] for name, y in outcomes.items()},
        slices[order],
        split,
        calibrate,
        judge,
        None if measured.again is None else {name: y[order] for name, y in measured.again.items()},
        weight=None if weight is None else weight[order],
    )


def check_parts(dataset: Dataset, bounds: tuple[int, int, int]) -> None:
    """Raise `DataError` if there is no row to fit or to validate on; rows that only join others need not have all."""
    n = np.diff([0, dataset.split, dataset.calibrate, dataset.judge, len(dataset.x)])
    if not n.all():
        found = "{}, {}, {} and {}".format(*n)
        where = f"before slice {', before '.join(map(str, bounds))} and after"
        raise DataError(f"training: expected rows {where}, found {found}")


def joined(first: Dataset, second: Dataset) -> Dataset:
    """Return the rows of two datasets of the same features that are split at the same slices."""
    cuts = [np.split(np.arange(len(d.x)), (d.split, d.calibrate, d.judge)) for d in (first, second)]
    order = np.concatenate([np.concatenate([a, len(first.x) + b]) for a, b in zip(*cuts, strict=True)])

    def both(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([a, b])[order]

    return first._replace(
        x=both(first.x, second.x),
        targets={name: both(y, second.targets[name]) for name, y in first.targets.items()},
        outcomes={name: both(y, second.outcomes[name]) for name, y in first.outcomes.items()},
        slices=both(first.slices, second.slices),
        split=first.split + second.split,
        calibrate=first.calibrate + second.calibrate,
        judge=first.judge + second.judge,
        again=None if first.again is None else {name: both(y, _again(second, name)) for name, y in first.again.items()},
        weight=None if first.weight is None else both(first.weight, _weight(second)),
    )


def without_slices(dataset: Dataset, slices: NDArray[np.integer]) -> Dataset:
    """Return a dataset without the rows of some slices."""
    keep = ~np.isin(dataset.slices, slices)
    split, calibrate, judge = (int(keep[:at].sum()) for at in (dataset.split, dataset.calibrate, dataset.judge))
    return dataset._replace(
        x=dataset.x[keep],
        targets={name: y[keep] for name, y in dataset.targets.items()},
        outcomes={name: y[keep] for name, y in dataset.outcomes.items()},
        slices=dataset.slices[keep],
        split=split,
        calibrate=calibrate,
        judge=judge,
        again=None if dataset.again is None else {name: y[keep] for name, y in dataset.again.items()},
        weight=None if dataset.weight is None else dataset.weight[keep],
    )


def _again(dataset: Dataset, name: str) -> NDArray[np.float32]:
    return np.full(len(dataset.x), np.nan, np.float32) if dataset.again is None else dataset.again[name]


def _weight(dataset: Dataset) -> NDArray[np.float32]:
    """Return weights; what a rehearsal saw was chosen by nobody, so its rows count alike."""
    return np.ones(len(dataset.x), np.float32) if dataset.weight is None else dataset.weight

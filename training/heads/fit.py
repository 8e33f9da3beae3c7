"""LightGBM heads, fitted in time order with early stopping."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from scheduler.errors import DataError
from scheduler.forest.trees import Trees
from scheduler.model.manifest import Offset
from scheduler.model.offsets import offset_values
from scheduler.spec import NO_OFFSET, Spec
from training.features.dataset import Dataset
from training.heads.lightgbm_params import head_params
from training.heads.lightgbm_trees import gain_importance, trees_from_lightgbm
from training.heads.metrics import head_loss
from training.heads.offset import starts
from training.heads.uncertainty import FittedRows, Rows, joined_rows, leaf_variances, score_variances
from training.progress import ProgressCallback
from training.sampling import evenly_spaced

CALIBRATED = 100_000
"""Rows of a block of a rehearsal that calibrate at most: a line has two numbers, and it is slices that vary."""


class FittedHead(NamedTuple):
    """A fitted head.

    Attributes
    ----------
    booster
        The LightGBM model, cut at its best round.
    trees
        The same with the variances of its leaves.
    calibration, judge
        Rows to calibrate it on, which did not stop training, and later ones to judge it by. Scores include the offset.
        After a rehearsal the first also has rows of the slices that were served, by scores of models that were not
        fitted on them; see `out_of_fold`.
    n_rows
        How many rows it was fitted on.
    importance
        (n_features,) float64 share of the total gain.
    repeated
        Rows that stopped training and rows to calibrate on: outcomes that follow each other are sought in both, because
        a few slices alone may hold no client and node twice.
    offset
        What the raw score starts from; None where trees predict all of it.
    losses
        By what was tried to start from, a feature or ``none``, the losses on the rows that stop training and on those
        that calibrate; empty where one way alone was tried.
    """

    booster: lgb.Booster
    trees: Trees
    calibration: Rows
    judge: Rows
    n_rows: int
    importance: NDArray[np.float64]
    repeated: Rows | None = None
    offset: Offset | None = None
    losses: Mapping[str, tuple[float, float]] = MappingProxyType({})


class Boosted(NamedTuple):
    """A booster, what its raw scores start from, and the losses of all that was tried; see `FittedHead`."""

    booster: lgb.Booster
    offset: Offset | None = None
    losses: Mapping[str, tuple[float, float]] = MappingProxyType({})

    @property
    def start(self) -> str:
        """Return the name of the feature that scores start from, or ``none``."""
        return NO_OFFSET if self.offset is None else self.offset.feature


def fit_heads(
    dataset: Dataset, spec: Spec, *, seed: int, threads: int, progress: ProgressCallback | None = None
) -> dict[str, FittedHead]:
    """Fit every head of a spec.

    Parameters
    ----------
    threads
        How many LightGBM may use.
    progress
        Called after each boosting round.

    Raises
    ------
    DataError
        If a head has no row to fit or to validate on, or its target never varies in a way it could learn
        (a failure head needs both outcomes), or is negative under the link log, or does not rise with the mean that a
        head without trees is.
    """
    fits = [HeadFit.of(name, dataset, spec, seed) for name in spec.heads]  # all are checked before one is fitted
    return {fit.name: fit_head(fit, threads, progress) for fit in fits}


def fit_head(fit: HeadFit, threads: int, progress: ProgressCallback | None) -> FittedHead:
    """Fit one head; see `fit_heads`."""
    tries = starts(fit.name, fit.dataset, fit.rows.fit, fit.spec)
    binned, boosters = _binned(fit), []
    for done, offset in enumerate(tries):
        shown = None if progress is None else _part(progress, done, len(tries))
        boosters.append(_boosted(fit, binned, offset, threads, shown))
    return fitted_head(fit, best_start(fit, boosters), threads=threads)


def _binned(fit: HeadFit) -> tuple[lgb.Dataset, lgb.Dataset]:
    """Return the rows to fit and those to stop on: they are binned once, whatever scores start from."""
    name, dataset, rows, *_ = fit
    x, y, weight, names = dataset.x, dataset.targets[name], dataset.weight, list(dataset.features.names)
    fitted, stopping = (
        lgb.Dataset(x[some], y[some], weight=None if weight is None else weight[some], feature_name=names)
        for some in (rows.fit, rows.stop)
    )
    fitted.set_categorical_feature(list(dataset.features.categorical))
    return fitted, stopping.set_reference(fitted)


def _part(progress: ProgressCallback, done: int, parts: int) -> ProgressCallback:
    """Return what shows the progress of one of several fits as that of all of them."""
    return lambda what, at, of: progress(what, done * of + at, parts * of)


def _boosted(
    fit: HeadFit,
    binned: tuple[lgb.Dataset, lgb.Dataset],
    offset: Offset | None,
    threads: int,
    progress: ProgressCallback | None,
) -> Boosted:
    name, dataset, rows, spec, seed = fit
    params = {"num_threads": threads, **head_params(name, spec, seed)}
    for data, some in zip(binned, (rows.fit, rows.stop), strict=True):
        data.set_init_score(start_scores(offset, dataset, some))
    rounds = spec.training.rounds if spec.heads[name].trees else 1
    callbacks: list[Callable[..., Any]] = [lgb.early_stopping(spec.training.patience, verbose=False)]
    if progress is not None:
        callbacks.append(lambda env: progress(f"fit {name}", env.iteration + 1, rounds))
    booster = lgb.train(params, binned[0], rounds, [binned[1]], callbacks=callbacks)
    if progress is not None:
        progress(f"fit {name}", rounds, rounds)  # stopped early, as a rule
    return Boosted(booster, offset)


def start_scores(offset: Offset | None, dataset: Dataset, rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """Return what the raw scores of rows start from; None without an offset."""
    if offset is None:
        return None
    return offset_values(offset, dataset.x[rows, dataset.features.names.index(offset.feature)])


def best_start(fit: HeadFit, tries: Sequence[Boosted]) -> Boosted:
    """Return the booster to keep, with the losses of all of them on the rows that stop training and that calibrate.

    An offset has to be better on both: the first may be a single slice, whose luck is not that of the next. Of several
    that is the one with the least sum of both losses, each as a share of that without an offset.
    """
    if len(tries) == 1:
        return tries[0]
    losses = {one.start: (_loss(fit, one, fit.rows.stop), _loss(fit, one, fit.rows.calibrate)) for one in tries}
    nothing, *others = (one._replace(losses=losses) for one in tries)
    stop, calibrate = losses[nothing.start]
    better = [one for one in others if losses[one.start][0] < stop and losses[one.start][1] < calibrate]
    return min(better, key=lambda one: losses[one.start][0] / stop + losses[one.start][1] / calibrate, default=nothing)


def _loss(fit: HeadFit, boosted: Boosted, rows: NDArray[np.int64]) -> float:
    name, dataset, _, spec, _ = fit
    raw = np.asarray(boosted.booster.predict(dataset.x[rows], raw_score=True, num_threads=1), np.float64)
    start = start_scores(boosted.offset, dataset, rows)
    target = dataset.targets[name][rows].astype(np.float64)
    weight = None if dataset.weight is None else dataset.weight[rows]
    return head_loss(spec.heads[name], raw if start is None else raw + start, target, weight)


class HeadRows(NamedTuple):
    """Rows of a dataset where a head's target was measured: to fit, to stop on, to calibrate on, to judge by."""

    fit: NDArray[np.int64]
    stop: NDArray[np.int64]
    calibrate: NDArray[np.int64]
    judge: NDArray[np.int64]


class HeadFit(NamedTuple):
    """What a fit of a head needs: its name, the data and which rows of it, the spec, and the seed of random draws."""

    name: str
    dataset: Dataset
    rows: HeadRows
    spec: Spec
    seed: int

    @classmethod
    def of(cls, name: str, dataset: Dataset, spec: Spec, seed: int) -> HeadFit:
        """Find the head's rows; raises `DataError` as `fit_heads` does."""
        return cls(name, dataset, head_rows(name, dataset, spec), spec, seed)


def head_rows(name: str, dataset: Dataset, spec: Spec) -> HeadRows:
    """Return a head's rows; raises `DataError` as `fit_heads` does."""
    head, y = spec.heads[name], dataset.targets[name]
    usable = np.flatnonzero(~np.isnan(y))
    rows = HeadRows(*np.split(usable, np.searchsorted(usable, (dataset.split, dataset.calibrate, dataset.judge))))
    for what, some in zip(("fit", "stop", "calibrate", "judge"), rows, strict=True):
        if not some.size:
            raise DataError(f"head {name}: expected rows with {head.target} to {what} on, found none")
    if head.link == "logistic" and np.unique(y[rows.fit]).size < 2:  # noqa: PLR2004
        raise DataError(f"head {name}: expected failures and successes to fit on, found only {y[rows.fit[0]]:g}")
    if head.link == "log" and dataset.outcomes[name][usable].min() < 0.0:
        least = dataset.outcomes[name][usable].min()
        raise DataError(f"head {name}: expected outcomes of 0 or more for the link log, found {least:g}")
    return rows


def fitted_head(fit: HeadFit, boosted: Boosted, *, threads: int) -> FittedHead:
    """Find the variances of a booster's leaves, and score the rows that it was not fitted on."""
    name, dataset, rows, spec, _ = fit
    logistic, booster = spec.heads[name].link == "logistic", boosted.booster
    trees = trees_from_lightgbm(booster)
    start = start_scores(boosted.offset, dataset, rows.fit)
    fitted = FittedRows(dataset.x[rows.fit], dataset.targets[name][rows.fit], start)
    trees = trees._replace(leaf_variance=leaf_variances(booster, trees, fitted, logistic=logistic, threads=threads))
    scored = partial(_scored, name, boosted, trees, dataset, threads=threads)
    return FittedHead(
        booster,
        trees,
        scored(rows.calibrate),
        scored(rows.judge),
        rows.fit.size,
        gain_importance(booster),
        scored(np.concatenate([rows.stop, rows.calibrate])),
        boosted.offset,
        boosted.losses,
    )


def _scored(
    name: str, boosted: Boosted, trees: Trees, dataset: Dataset, some: NDArray[np.int64], *, threads: int
) -> Rows:
    x, outcome = dataset.x[some], dataset.outcomes[name][some].astype(np.float64)
    raw = np.asarray(boosted.booster.predict(x, raw_score=True, num_threads=threads), np.float64)
    start = start_scores(boosted.offset, dataset, some)
    raw = raw if start is None else raw + start
    again = np.full(some.size, np.nan) if dataset.again is None else dataset.again[name][some].astype(np.float64)
    weight = None if dataset.weight is None else dataset.weight[some].astype(np.float64)
    return Rows(raw, outcome, score_variances(boosted.booster, trees, x, threads=threads), again, weight)


def out_of_fold(
    first: Mapping[str, FittedHead], dataset: Dataset, slices: NDArray[np.integer], *, threads: int
) -> dict[str, Rows]:
    """Score rows of slices that heads were not fitted on, at most `CALIBRATED` of each head, spread over them.

    Parameters
    ----------
    first
        Heads that were fitted on other slices.
    dataset
        Rows, of which those of ``slices`` are scored.

    Returns
    -------
    dict
        Rows by head, without the heads whose target was not measured in these slices.
    """
    held_out = np.isin(dataset.slices, slices)
    found = {}
    for name, head in first.items():
        usable = np.flatnonzero(held_out & ~np.isnan(dataset.targets[name]))
        if usable.size:
            some = usable[evenly_spaced(usable.size, CALIBRATED)]
            found[name] = _scored(name, Boosted(head.booster, head.offset), head.trees, dataset, some, threads=threads)
    return found


def calibrated_on(fitted: Mapping[str, FittedHead], more: Sequence[Mapping[str, Rows]]) -> dict[str, FittedHead]:
    """Return heads that are to be calibrated on more rows besides their own."""
    return {
        name: head._replace(calibration=joined_rows([*(one[name] for one in more if name in one), head.calibration]))
        for name, head in fitted.items()
    }

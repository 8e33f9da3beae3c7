"""LightGBM heads, fitted in time order with early stopping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from scheduler.errors import DataError
from scheduler.forest.trees import Trees
from scheduler.spec import Spec
from training.features.dataset import Dataset
from training.heads.lightgbm_params import head_params
from training.heads.lightgbm_trees import gain_importance, trees_from_lightgbm
from training.heads.uncertainty import Rows, leaf_variances, score_variances
from training.progress import ProgressCallback


class FittedHead(NamedTuple):
    """A fitted head.

    Attributes
    ----------
    booster
        The LightGBM model, cut at its best round.
    trees
        The same with the variances of its leaves.
    calibration, judge
        Rows to calibrate it on, which did not stop training, and later ones to judge it by.
    n_rows
        How many rows it was fitted on.
    importance
        (n_features,) float64 share of the total gain.
    repeated
        Rows that stopped training and rows to calibrate on: outcomes that follow each other are sought in both, because
        a few slices alone may hold no client and node twice.
    """

    booster: lgb.Booster
    trees: Trees
    calibration: Rows
    judge: Rows
    n_rows: int
    importance: NDArray[np.float64]
    repeated: Rows | None = None


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
        (a failure head needs both outcomes), or is negative under the link log.
    """
    return {name: _fit(name, dataset, spec, seed, threads, progress) for name in spec.heads}


def _fit(
    name: str, dataset: Dataset, spec: Spec, seed: int, threads: int, progress: ProgressCallback | None
) -> FittedHead:
    rows = head_rows(name, dataset, spec)
    params = {"num_threads": threads, **head_params(name, spec, seed)}
    y = dataset.targets[name]
    names, categorical = list(dataset.features.names), list(dataset.features.categorical)
    train = lgb.Dataset(dataset.x[rows.fit], y[rows.fit], feature_name=names, categorical_feature=categorical)
    valid = lgb.Dataset(dataset.x[rows.stop], y[rows.stop], reference=train)
    rounds = spec.training.rounds
    callbacks: list[Callable[..., Any]] = [lgb.early_stopping(spec.training.patience, verbose=False)]
    if progress is not None:
        callbacks.append(lambda env: progress(f"fit {name}", env.iteration + 1, rounds))
    booster = lgb.train(params, train, rounds, [valid], callbacks=callbacks)
    if progress is not None:
        progress(f"fit {name}", rounds, rounds)  # stopped early, as a rule
    return fitted_head(name, booster, dataset, rows, spec, threads=threads)


class HeadRows(NamedTuple):
    """Rows of a dataset where a head's target was measured: to fit, to stop on, to calibrate on, to judge by."""

    fit: NDArray[np.int64]
    stop: NDArray[np.int64]
    calibrate: NDArray[np.int64]
    judge: NDArray[np.int64]


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


def fitted_head(
    name: str, booster: lgb.Booster, dataset: Dataset, rows: HeadRows, spec: Spec, *, threads: int
) -> FittedHead:
    """Find the variances of a booster's leaves, and score the rows that it was not fitted on."""
    logistic = spec.heads[name].link == "logistic"
    trees, x, y = trees_from_lightgbm(booster), dataset.x[rows.fit], dataset.targets[name][rows.fit]
    trees = trees._replace(leaf_variance=leaf_variances(booster, trees, x, y, logistic=logistic, threads=threads))

    def scored(some: NDArray[np.int64]) -> Rows:
        x, outcome = dataset.x[some], dataset.outcomes[name][some].astype(np.float64)
        raw = np.asarray(booster.predict(x, raw_score=True, num_threads=threads), np.float64)
        again = np.full(some.size, np.nan) if dataset.again is None else dataset.again[name][some].astype(np.float64)
        return Rows(raw, outcome, score_variances(booster, trees, x, threads=threads), again)

    importance = gain_importance(booster)
    repeated = scored(np.concatenate([rows.stop, rows.calibrate]))
    return FittedHead(booster, trees, scored(rows.calibrate), scored(rows.judge), rows.fit.size, importance, repeated)

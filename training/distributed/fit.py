"""LightGBM heads fitted on Dask workers by LightGBM's own estimators; each worker holds some of the rows.

The caller keeps the rows and sends them again if a worker is lost.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import TYPE_CHECKING, NamedTuple

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from scheduler.errors import FoglineError
from scheduler.model.manifest import Offset
from scheduler.spec import Spec
from training.features.dataset import Dataset
from training.heads.fit import Boosted, FittedHead, HeadFit, HeadRows, best_start, fit_head, fitted_head, start_scores
from training.heads.lightgbm_params import head_params, quiet
from training.heads.metrics import head_loss
from training.heads.offset import starts
from training.progress import ProgressCallback, silent

if TYPE_CHECKING:
    from distributed import Client


ATTEMPTS = 3
"""Fits of a head before it is given up: a fit needs all its workers to the end, and one may be lost."""

LOOK = 1.0
"""Seconds between two looks at whether the workers are still there."""

RETURN = 60
"""Seconds for workers to be back after a restart. One loads LightGBM and Dask first, which takes a second or two."""

NOTICE = 10
"""Looks after a fit failed, before the failure is taken for one of the fit itself."""


class WorkersLostError(FoglineError):
    """Workers were lost in every attempt to fit a head, or did not come back."""


def fit_heads_on_cluster(
    client: Client, dataset: Dataset, spec: Spec, *, seed: int, threads: int, progress: ProgressCallback = silent
) -> dict[str, FittedHead]:
    """Fit every head of a spec on a cluster.

    LightGBM's Dask estimators cannot stop early together. So all rounds are fitted, and the round is found afterwards
    at which `training.heads.fit.fit_heads` would have stopped.

    Parameters
    ----------
    threads
        Of this process, to score with.

    Raises
    ------
    DataError
        As `training.heads.fit.fit_heads`.
    WorkersLostError
        If workers were lost in every attempt, or do not come back within `RETURN` seconds of a restart.
    """
    fitted = {}
    fits = [HeadFit.of(name, dataset, spec, seed) for name in spec.heads]  # all are checked before one is fitted
    for done, fit in enumerate(fits):
        progress("fit on the cluster", done, len(spec.heads))
        name = fit.name
        if not spec.heads[name].trees:
            fitted[name] = fit_head(fit, threads, None)  # a line, for which no worker is needed
            continue
        tries = [_tried(client, fit, offset) for offset in starts(name, dataset, fit.rows.fit, spec)]
        fitted[name] = fitted_head(fit, best_start(fit, tries), threads=threads)
    progress("fit on the cluster", len(spec.heads), len(spec.heads))
    return fitted


def _tried(client: Client, fit: HeadFit, offset: Offset | None) -> Boosted:
    """Fit a head from an offset, or from nothing, and cut it where it would have stopped."""
    booster = _persistently(client, lambda: _fit(client, fit, offset))
    name, dataset, rows, spec, _ = fit
    start = start_scores(offset, dataset, rows.stop)
    n = best_round(booster, stop_rows(name, dataset, rows, start), spec, name)
    return Boosted(lgb.Booster(model_str=booster.model_to_string(num_iteration=n)), offset)


def _fit(client: Client, fit: HeadFit, offset: Offset | None) -> lgb.Booster:
    import dask.array as da
    from dask import delayed
    from lightgbm.dask import DaskLGBMClassifier, DaskLGBMRegressor

    name, dataset, rows, spec, seed = fit
    quiet()
    client.run(quiet)
    workers = sorted(_workers(client))
    x, y, start, weights = [], [], [], []
    for k, worker in enumerate(workers):
        some = rows.fit[k :: len(workers)]  # of all times: each worker finds the bins of some features in its rows
        own = (start_scores(offset, dataset, some), None if dataset.weight is None else dataset.weight[some])
        parts = [dataset.x[some], dataset.targets[name][some], *(one for one in own if one is not None)]
        block = client.scatter(parts, workers=[worker], hash=False)
        x.append(da.from_delayed(delayed(block[0]), (some.size, dataset.x.shape[1]), dtype=np.float32))
        y.append(da.from_delayed(delayed(block[1]), (some.size,), dtype=np.float32))
        if offset is not None:
            start.append(da.from_delayed(delayed(block[2]), (some.size,), dtype=np.float64))
        if dataset.weight is not None:
            weights.append(da.from_delayed(delayed(block[-1]), (some.size,), dtype=np.float32))
    estimator = DaskLGBMClassifier if spec.heads[name].link == "logistic" else DaskLGBMRegressor
    model = estimator(client=client, n_estimators=spec.training.rounds, **head_params(name, spec, seed))
    names = [str(one) for one in dataset.features.names]
    model.fit(
        da.concatenate(x),
        da.concatenate(y),
        init_score=da.concatenate(start) if start else None,
        sample_weight=da.concatenate(weights) if weights else None,
        feature_name=names,
        categorical_feature=list(dataset.features.categorical),
    )
    return model.booster_


def _persistently(client: Client, fit: Callable[[], lgb.Booster]) -> lgb.Booster:
    """Fit, and once more with the workers that are left, or that have come back, where some are lost meanwhile.

    A lost worker may leave the others waiting for it, so the workers are watched; restarting them ends the wait.
    """
    for _ in range(ATTEMPTS):
        before = _workers(client)
        running = _started(fit)
        try:
            while True:
                try:
                    return running.result(timeout=LOOK)
                except NotYet:
                    if not before <= _workers(client):
                        break
        except Exception:
            if not _lost(client, before):
                raise
        _restart(client, len(before))
    raise WorkersLostError(f"cluster: expected workers to last through a fit, found some lost in {ATTEMPTS} attempts")


def _started(fit: Callable[[], lgb.Booster]) -> Future[lgb.Booster]:
    """Fit in a daemon thread: if lost workers leave it waiting for ever, Python can still exit."""
    running: Future[lgb.Booster] = Future()

    def run() -> None:
        try:
            running.set_result(fit())
        except BaseException as error:  # noqa: BLE001 - whoever waits for the result gets it
            running.set_exception(error)

    threading.Thread(target=run, name="fit on the cluster", daemon=True).start()
    return running


def _restart(client: Client, n: int) -> None:
    try:
        client.restart(timeout=RETURN)
    except TimeoutError as error:
        expected = f"cluster: expected {n} workers back within {RETURN} s of a restart"
        raise WorkersLostError(f"{expected}, found {len(_workers(client))}") from error


def _lost(client: Client, before: set[str]) -> bool:
    """Return whether workers are gone, of which a fit hears sooner than the scheduler."""
    for _ in range(NOTICE):
        if not before <= _workers(client):
            return True
        time.sleep(LOOK)
    return False


def _workers(client: Client) -> set[str]:
    return set(client.scheduler_info(n_workers=-1)["workers"])


class StopRows(NamedTuple):
    """Rows to stop on: (n, n_features) features and (n,) targets of the head.

    ``weight`` are (n,) weights, None if all count alike; ``start`` is what raw scores start from, if that is not in the
    first tree.
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    weight: NDArray[np.float32] | None = None
    start: NDArray[np.float64] | None = None


def stop_rows(name: str, dataset: Dataset, rows: HeadRows, start: NDArray[np.float64] | None = None) -> StopRows:
    """Return the rows that a head stops on."""
    some = rows.stop
    weight = None if dataset.weight is None else dataset.weight[some]
    return StopRows(dataset.x[some], dataset.targets[name][some], weight, start)


def best_round(booster: lgb.Booster, rows: StopRows, spec: Spec, name: str) -> int:
    """Return how many rounds to keep: up to the least loss that is not undercut for ``training.patience`` rounds."""
    raw = np.zeros(len(rows.y)) if rows.start is None else rows.start.copy()
    best, least = 1, np.inf
    for n in range(1, booster.num_trees() + 1):
        raw += np.asarray(booster.predict(rows.x, raw_score=True, start_iteration=n - 1, num_iteration=1))
        loss = head_loss(spec.heads[name], raw, rows.y, rows.weight)
        if loss < least:
            best, least = n, loss
        elif n - best >= spec.training.patience:
            break
    return best

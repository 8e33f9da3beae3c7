"""The predictor: boosted trees for the mean and the median over completions and histories, and a blend of the two."""

from __future__ import annotations

from collections.abc import Callable

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from benchmarks.prediction.features import LEAST_S, Describer
from benchmarks.prediction.lowrank import Matrix
from benchmarks.prediction.protocol import LONGEST_S, Cells

MEAN_SHARE = 0.85
"""The absolute error wants the median, the square the mean. From here on the square gains under 0.1 %; chosen on
another seed's draws of all slices."""

ROWS = {"l2": 1_000_000, "l1": 300_000}
"""Training cells that the trees of the mean and of the median are fitted on, drawn evenly from the slices. The mean
hangs on rare slow answers: a million lower its error by another 0.5 %."""

ROUNDS = 300

TREES = {
    "num_leaves": 63,
    "learning_rate": 0.08,
    "min_data_in_leaf": 200,
    "lambda_l2": 20.0,
    "feature_fraction": 0.3,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "max_bin": 127,
    "verbosity": -1,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
}


def predict(
    known: list[Cells],
    asked: list[NDArray[np.int64]],
    shape: tuple[int, int],
    seed: int,
    *,
    online: bool,
    progress: Callable[[int], None] = lambda _: None,
) -> list[NDArray[np.float64]]:
    """Predict the asked cells of every slice in seconds.

    Parameters
    ----------
    known
        Training cells of each slice.
    asked
        Places to predict in each slice.
    online
        Whether a slice is predicted from its own and earlier slices only; then trees are fitted anew whenever the
        number of slices has doubled. Otherwise all slices are known at once, and trees are fitted once.
    progress
        Called with each slice's number.
    """
    rng = np.random.default_rng(seed)
    describer = Describer(known, shape, rng, online=online)
    x, y, waiting, out = [], [], [], []
    trees: tuple[lgb.Booster, lgb.Booster] | None = None
    for t, cells in enumerate(known):
        matrices = describer.describe(t)
        drawn = rng.permutation(cells.at.size)[: max(ROWS.values()) // (1 if online else len(known))]
        x.append(_rows(matrices, cells.at[drawn]))
        y.append(cells.seconds[drawn])
        if online:
            if t & (t - 1) == 0:
                trees = _fit(x, y, seed)
            out.append(_blend(trees, _rows(matrices, asked[t])))
        else:
            waiting.append(_rows(matrices, asked[t]))
        progress(t)
    if not online:
        trees = _fit(x, y, seed)
        out = [_blend(trees, rows) for rows in waiting]
    return out


def _rows(matrices: dict[str, Matrix], at: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.column_stack([matrix.reshape(-1)[at].astype(np.float32) for matrix in matrices.values()])


def _fit(x: list[NDArray[np.float32]], y: list[NDArray[np.float64]], seed: int) -> tuple[lgb.Booster, lgb.Booster]:
    """Fit the mean in seconds, and the median in the logarithm, where the trees find it best."""
    rows, seconds = np.concatenate(x), np.concatenate(y)
    order = np.random.default_rng(seed).permutation(seconds.size)
    targets = {"l2": seconds, "l1": np.log(np.maximum(seconds, LEAST_S))}

    def fit(objective: str) -> lgb.Booster:
        drawn = order[: ROWS[objective]]
        data = lgb.Dataset(rows[drawn], targets[objective][drawn])
        return lgb.train({**TREES, "objective": objective, "seed": seed}, data, ROUNDS)

    return fit("l2"), fit("l1")


def _blend(trees: tuple[lgb.Booster, lgb.Booster], rows: NDArray[np.float32]) -> NDArray[np.float64]:
    mean, median = (np.asarray(one.predict(rows, num_threads=1)) for one in trees)
    blend = MEAN_SHARE * mean + (1 - MEAN_SHARE) * np.exp(median)
    return np.clip(blend, LEAST_S, LONGEST_S)

"""A model of the cost for the direct method, which predicts no row that it was fitted on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from training.evaluation.ope.decisions import LoggedCandidates
from training.evaluation.paired_intervals import Floats

FOLDS = 3
"""Parts of the rows, each predicted by a model of the others: more cost more and hardly change the model."""

ROUNDS = 100
"""Trees of a model at most; a tenth of its rows stop it where more trees would only learn luck."""

KNOWN = 20
"""Known values that a feature needs among the rows of a fit: without any in its own nine tenths it cannot be binned."""

LEAST = 60
"""Decisions below which the mean cost is the model: a fold would have too few rows to fit and stop trees on."""


class Predictions(NamedTuple):
    """(n,) predicted cost of each logged choice, and expected cost of what the target policy would choose."""

    predicted: Floats
    expected: Floats


def cross_fitted(cost: Floats, candidates: LoggedCandidates, *, seed: int = 0) -> Predictions:
    """Predict the cost of every candidate by boosted trees that were fitted on other decisions.

    A model that has seen a row knows its luck; without cross-fitting the doubly robust estimate takes that for
    knowledge (Chernozhukov et al.: Double/debiased machine learning, Econometrics Journal 2018). Which decision is in
    which fold is random: what the log drew for one says nothing about the draw of another.

    Features that hardly any decision knows do not count; without any the mean cost is the model.

    Parameters
    ----------
    cost
        (n,) of the decisions.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    n = cost.size
    if n < LEAST:
        return Predictions(np.full(n, cost.mean()), np.full(n, cost.mean()))
    fold = np.random.default_rng(seed).permutation(n) % FOLDS
    decision = np.repeat(np.arange(n), np.diff(candidates.begin))
    values = np.empty(len(candidates.x))
    # Threads that wait for each other take 20 times as long as one where other work has the cores.
    with threadpool_limits(1):
        for number in range(FOLDS):
            rows, held_out = np.flatnonzero(fold != number), fold[decision] == number
            x = candidates.x[candidates.chosen[rows]]
            known = (~np.isnan(x)).sum(axis=0) >= KNOWN
            if not known.any():
                values[held_out] = cost[rows].mean()
                continue
            model = HistGradientBoostingRegressor(max_iter=ROUNDS, early_stopping=True, random_state=seed)
            model.fit(x[:, known], cost[rows])
            values[held_out] = model.predict(candidates.x[held_out][:, known])
    return Predictions(
        values[candidates.chosen], np.bincount(decision, candidates.target * values, n).astype(np.float64)
    )

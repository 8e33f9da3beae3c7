"""A booster that predicts nothing of use, where only the shape of a model is asked for."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np

from scheduler.features.program import Features

ROWS = 64
"""Rows of noise; enough for a tree with a few leaves."""


def placeholder_booster(features: Features, objective: str) -> lgb.Booster:
    """Return a booster of two small trees over some features, fitted to noise.

    Parameters
    ----------
    features
        Columns of a feature row.
    objective
        LightGBM's name of what is fitted.
    """
    random = np.random.default_rng(0)
    params = {"objective": objective, "num_leaves": 4, "min_data_in_leaf": 4, "num_threads": 1, "verbosity": -1}
    x, categorical = random.random((ROWS, len(features.names))), list(features.categorical)
    x[:, categorical] = x[:, categorical].round()
    data = lgb.Dataset(x, random.integers(0, 2, ROWS), categorical_feature=categorical)
    return lgb.train(params, data, num_boost_round=2)

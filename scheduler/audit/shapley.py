"""Shapley values and responses of one head's trees, from whole feature rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scheduler.audit.kernels.response import response
from scheduler.audit.kernels.shapley import shapley
from scheduler.audit.walk_arrays import new_walk, shapley_weights
from scheduler.forest.trees import Trees

_WEIGHTS = shapley_weights()


def shapley_of(trees: Trees, x: NDArray[np.floating], z: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return how much each feature adds to the raw scores of rows over those of their background rows.

    They are the exact interventional Shapley values with one background row each: the mean, over all orders in which
    features change from the background's value to the row's, of what a feature's change adds. A feature that is equal
    in both rows gets exactly 0, and a pair's values sum to the difference of the two raw scores.

    Parameters
    ----------
    trees
        Of one head.
    x, z
        (n, n_features), rows and background rows; NaN is missing.

    Returns
    -------
    ndarray
        (n, n_features) float64.
    """
    out = np.empty(x.shape)
    shapley(trees, x, z, _WEIGHTS, new_walk(x.shape[1]), out)
    return out


def response_of(
    trees: Trees, x: NDArray[np.floating], feature: int, values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the raw score of a row with each of some values in the place of one feature.

    Parameters
    ----------
    trees
        Of one head.
    x
        (n_features,).
    feature
        Its column.
    values
        (n,); NaN is missing.

    Returns
    -------
    ndarray
        (n,) float64.
    """
    out = np.empty(len(values))
    response(trees, x, feature, np.ascontiguousarray(values), np.empty(len(values), np.int32), new_walk(len(x)), out)
    return out

"""Raw scores of a model's heads, offsets included: over one feature, and divided among features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scheduler.audit.shapley import response_of, shapley_of
from scheduler.features.arrays import FeatureT
from scheduler.model.model import Model


def raw_responses(model: Model, row: NDArray[np.float32], f: int, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n, n_heads) raw scores of a row with each of (n,) values in the place of feature ``f``."""
    rows = np.tile(row, (len(values), 1))
    rows[:, f] = values.astype(FeatureT)
    trees = np.stack([response_of(one, row, f, values) for one in model.trees], axis=1)
    return trees + model.starts(rows)


def raw_parts(model: Model, x: NDArray[np.float32], z: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (n_heads, n_features) Shapley values of the differences between two rows' raw scores.

    An offset depends on one feature and is added to the trees, so its difference is that feature's.
    """
    phi = np.array([shapley_of(trees, x[None], z[None])[0] for trees in model.trees])
    start = model.starts(np.array([x, z]))
    for h, head in enumerate(model.manifest.heads.values()):
        if head.offset is not None:
            phi[h, model.features.names.index(head.offset.feature)] += start[0, h] - start[1, h]
    return phi

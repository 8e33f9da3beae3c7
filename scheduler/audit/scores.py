"""Raw scores of a model's heads, offsets included: of rows, over one feature, and divided among features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scheduler.audit.shapley import response_of, shapley_of
from scheduler.features.arrays import FeatureT
from scheduler.model.model import Model
from scheduler.model.offsets import offset_values, row_offsets


def raw_scores(model: Model, rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (n, n_heads) exact raw scores of whole feature rows (n, n_features)."""
    return model.forest.predict(rows) + row_offsets(tuple(model.manifest.heads.values()), model.features.names, rows)


def raw_responses(model: Model, row: NDArray[np.float32], f: int, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n, n_heads) raw scores of a row with each of (n,) values in the place of feature ``f``."""
    rows = np.tile(row, (len(values), 1))
    rows[:, f] = values.astype(FeatureT)
    trees = np.stack([response_of(one, row, f, values) for one in model.trees], axis=1)
    return trees + row_offsets(tuple(model.manifest.heads.values()), model.features.names, rows)


def raw_parts(model: Model, x: NDArray[np.float32], z: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (n_heads, n_features) Shapley values of the differences between two rows' raw scores.

    An offset depends on one feature and is added to the trees, so its difference is that feature's.
    """
    phi = np.array([shapley_of(trees, x[None], z[None])[0] for trees in model.trees])
    for h, head in enumerate(model.manifest.heads.values()):
        if head.offset is not None:
            f = model.features.names.index(head.offset.feature)
            start = offset_values(head.offset, np.array([x[f], z[f]]))
            phi[h, f] += start[0] - start[1]
    return phi

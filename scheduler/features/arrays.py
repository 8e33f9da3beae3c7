"""The features of a spec as arrays, and scratch memory to compute them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FeatureT = np.float32
"""Features are float32: half the memory of a training matrix, and what ONNX Runtime compares. Thresholds stay
float64 and the comparison is done in float64, so no precision is lost against LightGBM."""

REQUEST, NODE, PAIR = range(3)
"""Owner of a feature: it changes with the request, with the node's own state, or with both (or with time)."""

(
    OP_REQUEST,
    OP_NODE,
    OP_CLOCK,
    OP_MEAN,
    OP_VARIANCE,
    OP_COUNT,
    OP_LAST,
    OP_AGE,
    OP_EQUAL,
    OP_DIFFERENCE,
    OP_DISTANCE,
    OP_DOT,
    OP_LATENT_FACTORS,
    OP_SHRUNK_MEAN,
    OP_CHANGE_POINT,
    OP_REQUEST_CATEGORY,
    OP_NODE_CATEGORY,
    OP_TRAINED_MEAN,
) = range(18)
"""Feature operations; `scheduler.features.program` says which arguments each takes."""


class TrainedMeans(NamedTuple):
    """Means over the telemetry of training, by history key, in a hash table with linear probing.

    Attributes
    ----------
    keys
        (slots,) uint64, `MISSING_KEY` if free. The slots are a power of two, and at most half of them are taken.
    rows
        (slots, 2 * n_values) float32: the number of outcomes and their mean, side by side, for each value.
    """

    keys: NDArray[np.uint64]
    rows: NDArray[np.float32]


class FeatureProgram(NamedTuple):
    """The features of a spec as arrays.

    Attributes
    ----------
    op, args, scale
        (n_features,) int32, (n_features, 4) int32, (n_features,) float64: operation, its arguments, its factor.
    request, node, pair, every
        int32 indices of each owner's features, and of all features, in feature order.
    parts, n_parts, part_side
        (n_history_keys, n) int32, (n_history_keys,) int32, and as `parts`: key columns that a history key is hashed
        from, how many there are, and whether each is the node's.
    chains
        (n_chains, n) int32, history keys of a shrunk mean or one of training from fine to coarse; -1 past the last.
    models
        (n_models, 4) int32, for each model of latent factors its value, the history keys of client and node, and the
        value that takes the residual, -1 for none.
    change_points
        (n_kinds, 4) int32, for each kind of group its value, the history keys of group and member, and the place in a
        history row of the weight that is above 0 if there was a last value.
    key_seeds, model_seeds, kind_seeds
        (n_history_keys,), (n_models,) and (n_kinds,) uint64, with which the keys of their entries begin; see
        `scheduler.features.definitions`.
    node_keys
        History keys that node features read, int32.
    trained
        What the features with a mean of training look up.
    trained_keys, trained_values
        int32 history keys and values that ``trained`` has means of; the values in the order of its columns.
    category_start, category_keys, category_codes
        (n_features + 1,) int32, (n,) uint64 and (n,) float64: the categories that the model knows of each feature,
        sorted by key, and the model's code of each.
    """

    op: NDArray[np.int32]
    args: NDArray[np.int32]
    scale: NDArray[np.float64]
    request: NDArray[np.int32]
    node: NDArray[np.int32]
    pair: NDArray[np.int32]
    every: NDArray[np.int32]
    parts: NDArray[np.int32]
    n_parts: NDArray[np.int32]
    part_side: NDArray[np.int32]
    chains: NDArray[np.int32]
    models: NDArray[np.int32]
    change_points: NDArray[np.int32]
    key_seeds: NDArray[np.uint64]
    model_seeds: NDArray[np.uint64]
    kind_seeds: NDArray[np.uint64]
    node_keys: NDArray[np.int32]
    trained: TrainedMeans
    trained_keys: NDArray[np.int32]
    trained_values: NDArray[np.int32]
    category_start: NDArray[np.int32]
    category_keys: NDArray[np.uint64]
    category_codes: NDArray[np.float64]


class PairWork(NamedTuple):
    """Scratch memory for the pair features of a request's candidates: slots of their look-ups, and numbers.

    Attributes
    ----------
    keys
        (n,) uint64, keys of the current look-up.
    found, sought
        (n_look_ups, n) int64, slots of each history key, then of the nodes of latent factors, then of the present key
        among means of training; (n_look_ups,) bool, whether the look-up was done for this request.
    x, y
        (n,) float64.
    """

    keys: NDArray[np.uint64]
    found: NDArray[np.int64]
    sought: NDArray[np.bool_]
    x: NDArray[np.float64]
    y: NDArray[np.float64]

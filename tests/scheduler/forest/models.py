"""Models for the forest's tests: random text models that no training would make, and small trained ones."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np

from scheduler.forest.kernels.score import score
from scheduler.forest.trees import CATEGORICAL, Trees

THRESHOLDS = np.array([0.0, -0.0, 1e-36, -1e-36, 1e-35, -1e-35, 5e-324, 1.0, -1.0, 0.1, 1e300, -1e300])
SPECIAL = np.array(
    [
        np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, -5e-324, 1e-36, -1e-36, 1e-35, -1e-35, 2e-35, -2e-35,
        1.0000000180025095e-35, -1.0000000180025095e-35, np.nextafter(1.0000000180025095e-35, 1),
        np.nextafter(-1.0000000180025095e-35, -1), 0.5, -0.5, -1.0, -0.999, 1.0, 1.5, 31.0, 31.99, 32.0, 63.0, 64.0,
        -3.0, 2147483647.0, 2147483648.0, 4294967296.0, 1e19, -1e19, 1e300, -1e300,
    ],
)  # fmt: skip


def text_of(trees, n_features):
    """A LightGBM text model of trees given as dicts of field strings."""
    names = " ".join(f"f{i}" for i in range(n_features))
    head = (
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\n"
        f"max_feature_idx={n_features - 1}\nobjective=regression\nfeature_names={names}\n"
        f"feature_infos={' '.join(['[-1:1]'] * n_features)}\n\n"
    )
    blocks = []
    for number, tree in enumerate(trees):
        fields = "\n".join(f"{key}={value}" for key, value in tree.items())
        blocks.append(f"Tree={number}\n{fields}\n\n\n")
    return head + "".join(blocks) + "end of trees\n\nparameters:\nend of parameters\n"


def random_tree(rng, n_leaves, n_features, categorical, ordered):
    """Fields of one tree: leaves are split at random until there are `n_leaves`."""
    n_splits = n_leaves - 1
    left, right = np.zeros(n_splits, int), np.zeros(n_splits, int)
    parent: list[tuple[int, bool] | None] = [None]
    for split in range(n_splits):
        leaf = int(rng.integers(split + 1))
        above = parent[leaf]
        if above is not None:
            (left if above[1] else right)[above[0]] = split
        left[split], right[split] = ~leaf, ~(split + 1)
        parent[leaf] = (split, True)
        parent.append((split, False))
    feature = rng.integers(n_features, size=n_splits)
    is_categorical = np.isin(feature, categorical)
    pool = np.where(
        rng.random(n_splits) < 0.3, rng.choice(THRESHOLDS, n_splits), np.round(rng.normal(size=n_splits), 1)
    )
    n_sets = int(is_categorical.sum())
    threshold = pool.copy()
    threshold[is_categorical] = np.arange(n_sets)
    missing = rng.integers(3, size=n_splits)
    missing[np.isin(feature, ordered) & (missing == 1)] = 2
    decision = np.where(is_categorical, 1, missing * 4 + 2 * rng.integers(2, size=n_splits))
    sizes = rng.integers(1, 4, n_sets)
    bits = rng.integers(0, 2**32, sizes.sum(), dtype=np.uint64)
    tree = {
        "num_leaves": n_leaves,
        "num_cat": n_sets,
        "split_feature": join(feature),
        "split_gain": join(np.ones(n_splits, int)),
        "threshold": " ".join(repr(float(t)) for t in threshold),
        "decision_type": join(decision),
        "left_child": join(left),
        "right_child": join(right),
        "leaf_value": " ".join(repr(float(v)) for v in rng.normal(size=n_leaves)),
        "leaf_weight": join(np.ones(n_leaves, int)),
        "leaf_count": join(np.ones(n_leaves, int)),
        "internal_value": join(np.zeros(n_splits, int)),
        "internal_weight": join(np.zeros(n_splits, int)),
        "internal_count": join(np.ones(n_splits, int)),
    }
    if n_sets:
        tree["cat_boundaries"] = join(np.concatenate([[0], np.cumsum(sizes)]))
        tree["cat_threshold"] = join(bits)
    return tree | {"is_linear": 0, "shrinkage": 1}


def join(values):
    """Values with spaces between, as the text format writes them."""
    return " ".join(str(v) for v in values)


def random_model(rng, n_trees, max_leaves, n_features):
    """A text model with every missing type and default direction; a third of its features have categories.

    Of another third no split takes zero for missing, so that it splits their values in order.
    """
    order = rng.permutation(n_features)
    kinds = order[: n_features // 3], order[n_features // 3 : 2 * n_features // 3]
    sizes = rng.integers(1, max_leaves + 1, n_trees)
    return text_of([random_tree(rng, int(size), n_features, *kinds) for size in sizes], n_features)


def random_rows(rng, n, n_features, text):
    """Rows of special values, thresholds of the model and their neighbours, categories, and plain numbers."""
    at = [float(t) for line in text.splitlines() if line.startswith("threshold=") for t in line[10:].split()]
    at = np.array(at or [0.0])
    pools = (
        SPECIAL,
        at,
        np.nextafter(at, np.inf),
        np.nextafter(at, -np.inf),
        rng.normal(size=50),
        rng.integers(-2, 100, 50).astype(float),
    )
    which = rng.integers(len(pools), size=(n, n_features))
    return np.choose(which, [rng.choice(pool, (n, n_features)) for pool in pools])


def random_owners(rng, n_features):
    """Columns of request, node and pair: every column once, in random order."""
    order = rng.permutation(n_features)
    cuts = np.sort(rng.integers(0, n_features + 1, 2))
    return dict(zip(("request", "node", "pair"), map(np.ndarray.tolist, np.split(order, cuts)), strict=True))


def booster_of(text):
    """LightGBM's own view of a text model."""
    return lgb.Booster(model_str=text)


def trained(seed=0, *, n=4000, n_features=9, n_trees=20, num_leaves=31, n_categories=40, **params):
    """A trained booster and its rows; columns 0 and 1 are categories, one value in ten is missing."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, n_features))
    x[:, :2] = rng.integers(0, n_categories, (n, 2))
    x[rng.random(x.shape) < 0.1] = np.nan
    x[rng.random(x.shape) < 0.05] = 0.0
    y = np.nan_to_num(x) @ rng.normal(size=n_features) + np.sin(np.nan_to_num(x[:, 0])) + rng.normal(size=n)
    settings = {"num_leaves": num_leaves, "verbose": -1, "num_threads": 1, "seed": seed, "min_data_in_leaf": 3}
    data = lgb.Dataset(x, y, categorical_feature=[0, 1], free_raw_data=False)
    return lgb.train(settings | params, data, n_trees), x


def scores_and_variances(forest, request, rows, indices, pair):
    """Scores of candidates and their variances as the kernel writes them side by side."""
    both = np.empty((len(indices), 2 * forest.n_heads), np.float32)
    pair = np.ascontiguousarray(pair)
    score(forest.mask_tables, request, rows, indices.astype(np.int32), pair, forest.work(), both)
    return both[:, : forest.n_heads], both[:, forest.n_heads :]


def staircases(n_trees, n_leaves, n_features, n_values, *, seed=0, categorical=False):
    """Trees each split of which has a leaf to its left, over random features and thresholds; sets hold `n_values`."""
    rng, n = np.random.default_rng(seed), n_leaves - 1
    n_splits, n_words = n * n_trees, -(-n_values // 32) if categorical else 0
    bits = rng.integers(0, 2**32, n_splits * n_words, dtype=np.uint64).astype(np.uint32)
    right = np.append(np.arange(1, n), ~n)
    return Trees(
        n_features=np.array(n_features, np.int32),
        node_start=(n * np.arange(n_trees + 1)).astype(np.int32),
        leaf_start=(n_leaves * np.arange(n_trees + 1)).astype(np.int32),
        feature=rng.integers(0, n_features, n_splits).astype(np.int32),
        threshold=np.arange(n_splits, dtype=float)
        if categorical
        else rng.integers(0, n_values, n_splits).astype(float),
        decision=np.full(n_splits, CATEGORICAL if categorical else 10, np.uint8),
        left=np.tile(~np.arange(n), n_trees).astype(np.int32),
        right=np.tile(right, n_trees).astype(np.int32),
        leaf_value=rng.normal(size=n_leaves * n_trees),
        cat_start=(n_words * np.arange(n_splits * categorical + 1)).astype(np.int32),
        cat_bits=bits,
        leaf_variance=np.zeros(n_leaves * n_trees),
    )


def single_splits(n_trees, *, n_values=None, n_words=0, feature=0, n_features=1):
    """Trees of one split of one feature, each at another of `n_values` thresholds, or all by one set of categories."""
    values = n_trees if n_values is None else n_values
    threshold = np.zeros(n_trees) if n_words else np.arange(n_trees) % values / values
    return Trees(
        n_features=np.array(n_features, np.int32),
        node_start=np.arange(n_trees + 1, dtype=np.int32),
        leaf_start=2 * np.arange(n_trees + 1, dtype=np.int32),
        feature=np.full(n_trees, feature, np.int32),
        threshold=threshold,
        decision=np.full(n_trees, CATEGORICAL if n_words else 10, np.uint8),
        left=np.full(n_trees, -1, np.int32),
        right=np.full(n_trees, -2, np.int32),
        leaf_value=np.zeros(2 * n_trees),
        cat_start=np.array([0, n_words] if n_words else [0], np.int32),
        cat_bits=np.full(n_words, 2**32 - 1, np.uint32),
        leaf_variance=np.zeros(2 * n_trees),
    )

"""LightGBM boosters as plain trees, as a `scheduler.Forest`, and as an ONNX model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scheduler.errors import ForestError
from scheduler.forest.forest import Forest
from scheduler.forest.trees import MAX_LEAVES, Trees, check_trees

if TYPE_CHECKING:
    import lightgbm as lgb


def forest_from_lightgbm(
    boosters: lgb.Booster | Sequence[lgb.Booster],
    *,
    request: Sequence[int] = (),
    node: Sequence[int] = (),
    pair: Sequence[int] = (),
) -> Forest:
    """Build a forest of one or several LightGBM models over the same feature columns.

    Parameters
    ----------
    boosters
        One model, or one per head. The trees up to the best iteration are taken, as `Booster.predict` does.
    request, node, pair
        Columns whose value belongs to the request, the node, and both.

    Returns
    -------
    Forest
        Gives raw scores; links and calibration are the caller's.

    Raises
    ------
    ForestError
        See `trees_from_lightgbm`.
    InputError
        Columns out of range, given twice, or used by a tree without owner.

    Examples
    --------
    >>> import lightgbm, numpy
    >>> X = numpy.random.default_rng(0).normal(size=(500, 3))
    >>> data = lightgbm.Dataset(X, X.sum(axis=1))
    >>> booster = lightgbm.train({"verbose": -1, "num_leaves": 15}, data, 20)
    >>> forest = forest_from_lightgbm(booster, request=[0], node=[1], pair=[2])
    >>> rows = forest.node_rows(X[:, [1]])
    >>> row = forest.request_row([0.5])
    >>> forest.score(row, rows, numpy.array([7, 9]), X[[7, 9]][:, [2]]).shape
    (2, 1)
    """
    heads = boosters if isinstance(boosters, Sequence) else [boosters]
    return Forest.build([trees_from_lightgbm(head) for head in heads], request=request, node=node, pair=pair)


def trees_from_lightgbm(booster: lgb.Booster) -> Trees:
    """Read the trees of a model with one score.

    Parameters
    ----------
    booster
        Trained or loaded; the trees up to its best iteration are taken.

    Returns
    -------
    Trees

    Raises
    ------
    ForestError
        Over 64 leaves in a tree, several classes, averaged output (random forest), linear leaves, or a value that
        no leaf or threshold can have.
    """
    return trees_from_text(booster.model_to_string())


def gain_importance(booster: lgb.Booster) -> NDArray[np.float64]:
    """Return (n_features,) shares of the total gain of a booster's splits; all 0 where it has no split."""
    gain = np.asarray(booster.feature_importance("gain"), np.float64)
    return gain / max(gain.sum(), np.finfo(np.float64).tiny)


def trees_from_text(text: str) -> Trees:
    """Read the trees of LightGBM's text format, whose decimals are exact for doubles.

    Parameters
    ----------
    text
        What `Booster.model_to_string` or `Booster.save_model` wrote.

    Returns
    -------
    Trees

    Raises
    ------
    ForestError
        See `trees_from_lightgbm`; or the text is no such model.
    """
    try:
        header, blocks = _split(text)
        _check_header(header)
        trees = _join([_Tree(block) for block in blocks], int(header["max_feature_idx"]) + 1)
    except (KeyError, ValueError, OverflowError) as error:
        message = f"expected a LightGBM text model, found one that cannot be read ({error!r})"
        raise ForestError(message) from error
    check_trees(trees, "model")
    return trees


def _split(text: str) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Fields of the header and of each tree."""
    sections: list[dict[str, str]] = [{}]
    for line in text.splitlines():
        if line == "end of trees":
            break
        if line.startswith("Tree="):
            sections.append({})
        elif line:
            key, _, value = line.partition("=")
            sections[-1][key] = value
    return sections[0], sections[1:]


def _check_header(header: dict[str, str]) -> None:
    per_iteration = int(header.get("num_tree_per_iteration", header["num_class"]))
    if per_iteration != 1:
        message = f"model: expected one score (1 tree an iteration), found {per_iteration}; train one model per head"
        raise ForestError(message)
    if "average_output" in header:
        message = "model: expected summed trees, found averaged output (boosting=rf)"
        raise ForestError(message)


class _Tree:
    """Fields of one tree as arrays."""

    def __init__(self, field: dict[str, str]) -> None:
        n_leaves = int(field["num_leaves"])
        if int(field.get("is_linear", "0")):
            message = "model: expected constant leaves, found linear leaves (linear_tree=true)"
            raise ForestError(message)
        if n_leaves > MAX_LEAVES:
            message = f"model: expected at most {MAX_LEAVES} leaves a tree, found {n_leaves}; lower num_leaves"
            raise ForestError(message)
        n_splits = n_leaves - 1

        def numbers(key: str, dtype: type[np.generic], n: int) -> np.ndarray:
            array = np.array(field[key].split() if n else [], dtype)
            if len(array) != n:
                message = f"expected {n} values of {key}, found {len(array)}"
                raise ValueError(message)
            return array

        self.feature = numbers("split_feature", np.int32, n_splits)
        self.threshold = numbers("threshold", np.float64, n_splits)
        self.decision = numbers("decision_type", np.uint8, n_splits)
        self.left = numbers("left_child", np.int32, n_splits)
        self.right = numbers("right_child", np.int32, n_splits)
        self.leaf_value = numbers("leaf_value", np.float64, n_leaves)
        n_sets = int(field["num_cat"])
        self.cat_start = numbers("cat_boundaries", np.int32, n_sets + 1 if n_sets else 0)
        self.cat_bits = numbers("cat_threshold", np.uint32, int(self.cat_start[-1]) if n_sets else 0)


def _join(trees: Sequence[_Tree], n_features: int) -> Trees:
    """Concatenate trees; the sets of categories are numbered through."""

    def every(key: str, dtype: type[np.generic]) -> np.ndarray:
        return np.concatenate([np.zeros(0, dtype), *(getattr(tree, key) for tree in trees)])

    def offsets(key: str) -> np.ndarray:
        return np.cumsum([0] + [len(getattr(tree, key)) for tree in trees], dtype=np.int32)

    sizes = np.concatenate([np.zeros(0, np.int32), *(np.diff(tree.cat_start) for tree in trees)])
    threshold, n_sets = [np.zeros(0)], 0
    for tree in trees:
        threshold.append(tree.threshold + np.float64(n_sets) * (tree.decision & 1))
        n_sets += max(len(tree.cat_start) - 1, 0)
    return Trees(
        n_features=np.array(n_features, np.int32),
        node_start=offsets("feature"),
        leaf_start=offsets("leaf_value"),
        feature=every("feature", np.int32),
        threshold=np.concatenate(threshold),
        decision=every("decision", np.uint8),
        left=every("left", np.int32),
        right=every("right", np.int32),
        leaf_value=every("leaf_value", np.float64),
        cat_start=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32),
        cat_bits=every("cat_bits", np.uint32),
        leaf_variance=np.zeros(sum(len(tree.leaf_value) for tree in trees)),
    )

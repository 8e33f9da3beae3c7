"""Check that trees, calibration and golden rows of an artifact agree before the model may serve."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scheduler.errors import ArtifactError, InputError, shown
from scheduler.features.program import Features
from scheduler.forest.forest import Forest
from scheduler.forest.trees import CATEGORICAL, Trees
from scheduler.model.calibration import head_values
from scheduler.model.manifest import Calibration, Golden, Manifest
from scheduler.spec import NodeColumn, RequestColumn, Spec

RAW_TOLERANCE = 1e-9
"""Golden raw scores are sums of the same doubles in the same order; this allows for another order."""

VALUE_TOLERANCE = 1e-6
"""Calibrated values may differ by what exp of another C library gives, times the value's own size."""


def check_load(source: object, registry: object, cache: object) -> None:
    """Raise `InputError` unless arguments of `Model.load` are what may name a model."""
    for name, value, kinds in (
        ("source", source, (str, Path)),
        ("registry", registry, (str, type(None))),
        ("cache", cache, (str, Path, type(None))),
    ):
        if not isinstance(value, kinds) or not _is_text(str(value)):
            expected = "a text" if name == "registry" else "a path"
            message = f"{name}: expected {expected}, found {shown(value)}"
            raise InputError(message)


def _is_text(value: str) -> bool:
    """Return whether the system can be told of a path."""
    try:
        return b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def n_categories(spec: Spec, manifest: Manifest) -> dict[int, int]:
    """For each categorical feature how many categories its column has."""
    counts = {}
    for f, feature in enumerate(spec.features.values()):
        match feature:
            case RequestColumn(column=column):
                side, kind = "request", spec.request[column].type
            case NodeColumn(column=column):
                side, kind = "node", spec.node[column].type
            case _:
                continue
        if kind == "category":
            counts[f] = len(manifest.vocabulary.get(f"{side}.{column}", ()))
    return counts


def check_trees(path: str, trees: Trees, features: Features, n_categories: dict[int, int]) -> None:
    """Refuse trees over other features or categories than the spec's."""
    n_features = len(features.names)
    if trees.n_features != n_features:
        message = f"{path}: expected {n_features} features, found {trees.n_features}"
        raise ArtifactError(message)
    for feature, decision, threshold in zip(trees.feature, trees.decision, trees.threshold, strict=True):
        name, known = features.names[feature], n_categories.get(int(feature))
        if (known is not None) != bool(decision & CATEGORICAL):
            kinds = ("numbers", "categories")
            expected, found = kinds[known is not None], kinds[known is None]
            message = f"{path}: expected splits of {name} by {expected}, found one by {found}"
            raise ArtifactError(message)
        if known is not None:
            largest = _largest(trees.cat_bits[trees.cat_start[int(threshold)] : trees.cat_start[int(threshold) + 1]])
            if largest >= known:
                message = f"{path}: expected categories of {name} below {known}, found {largest}"
                raise ArtifactError(message)


def _largest(words: NDArray[np.uint32]) -> int:
    """Return the highest bit set in a set of categories, -1 for none."""
    used = np.flatnonzero(words)
    return -1 if used.size == 0 else int(used[-1]) * 32 + int(words[used[-1]]).bit_length() - 1


def check_calibration(path: str, heads: dict[str, Calibration]) -> None:
    """Raise `ArtifactError` unless intercepts, slopes and uncertainties are finite and in range."""
    for name, head in heads.items():
        if not (np.isfinite(head.intercept) and np.isfinite(head.slope)):
            message = f"{path}: heads.{name}: expected a finite intercept and slope, found {head}"
            raise ArtifactError(message)
        if not (0.0 <= head.uncertainty < np.inf and 0.0 <= head.power < np.inf):
            message = f"{path}: heads.{name}: expected an uncertainty and power of 0 or more, found {head}"
            raise ArtifactError(message)


def check_golden(
    path: str,
    golden: Golden,
    forest: Forest,
    calibration: NDArray[np.float64],
    trees: tuple[Trees, ...],
    offsets: NDArray[np.float64],
) -> None:
    """Evaluate the golden rows: leaves must be equal, scores and values within tolerance.

    ``offsets``, (n, n_heads), are added to the sums of the trees.
    """
    leaves = forest.leaves(golden.rows)
    wrong = np.argwhere(leaves != golden.leaves)
    if len(wrong):
        row, tree = wrong[0]
        ends = np.cumsum([one.n_trees for one in trees])
        head = int(np.searchsorted(ends, tree, side="right"))
        where = f"row {row}, head {head}, tree {tree - (ends[head] - trees[head].n_trees)}"
        message = f"{path}: {where}: expected leaf {golden.leaves[row, tree]}, found {leaves[row, tree]}"
        raise ArtifactError(message)
    raw = forest.predict(golden.rows) + offsets
    for name, found, expected, tolerance in (
        ("raw", raw, golden.raw, RAW_TOLERANCE),
        ("values", head_values(raw, calibration), golden.values, VALUE_TOLERANCE),
        ("variance", forest.variance(golden.rows), golden.variance, RAW_TOLERANCE),
    ):
        bad = np.argwhere(~np.isclose(found, expected, rtol=tolerance, atol=tolerance))
        if len(bad):
            row, head = bad[0]
            where = f"{path}: {name} of row {row}, head {head}"
            message = f"{where}: expected {expected[row, head]}, found {found[row, head]}"
            raise ArtifactError(message)

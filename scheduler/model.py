"""A model ready to serve: a spec, a forest and its calibration, all verified before they exist together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scheduler.artifact import (
    GOLDEN,
    MANIFEST,
    Calibration,
    Contents,
    Golden,
    Manifest,
    head_files,
    read_artifact,
)
from scheduler.columns import Vocabulary
from scheduler.errors import ArtifactError, InputError
from scheduler.features import Features, compile_features
from scheduler.forest import Forest, Trees
from scheduler.layout import LINK_LOG, LINK_LOGISTIC, LINKS, FeatureT
from scheduler.spec import NodeColumn, RequestColumn, Spec
from scheduler.trees import CATEGORICAL

__all__ = ["Model", "calibration_table", "head_slopes", "head_values", "uncertainty_table"]

RAW_TOLERANCE = 1e-9
"""Golden raw scores are sums of the same doubles in the same order; this allows for another order."""
VALUE_TOLERANCE = 1e-6
"""Calibrated values may differ by what exp of another C library gives, times the value's own size."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A verified model; get one with `Model.load`.

    Attributes
    ----------
    name, version
        What the artifact is called; the version is the artifact's own, not a registry's number.
    spec
        What it was trained for.
    vocabulary
        Categories by ``request.COLUMN`` and ``node.COLUMN``.
    features
        The spec's features over this vocabulary.
    heads
        Names of the predicted quantities, in the spec's order.
    forest
        All heads in that order.
    calibration
        (n_heads, 3) float64: link code (see `scheduler.layout.LINKS`), intercept, slope. Read-only.
    uncertainty
        (n_heads, 2) float64: from sums of leaf variances to the variance of raw scores, factor and power. Read-only.
    manifest
        All that the artifact says about itself.
    """

    name: str
    version: str
    spec: Spec
    vocabulary: Vocabulary
    features: Features
    heads: tuple[str, ...]
    forest: Forest
    calibration: NDArray[np.float64]
    uncertainty: NDArray[np.float64]
    manifest: Manifest

    @classmethod
    def load(cls, source: str | Path, registry: str | None = None) -> Self:
        """Read an artifact and verify all of it: hashes, spec, features, categories, golden rows.

        Parameters
        ----------
        source
            A folder, or ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION`` in a model registry.
        registry
            MLflow URI of the registry; by default the one under ``.fogline`` in the working directory.

        Returns
        -------
        Model

        Raises
        ------
        ArtifactError
            The artifact is damaged, incomplete or made for another format; names file, expected and found.
        RegistryError
            The registry cannot be reached, or lacks the model.
        """
        if isinstance(source, str) and source.startswith("models:"):
            from scheduler.registry import fetch  # noqa: PLC0415 - needs mlflow, which is optional

            source = fetch(source, registry).folder
        folder = Path(source)
        return cls._verified(folder, read_artifact(folder))

    @classmethod
    def _verified(cls, folder: Path, contents: Contents) -> Self:
        manifest, spec, trees, golden = contents
        features = compile_features(spec, manifest.vocabulary)
        for head, one in zip(manifest.heads, trees, strict=True):
            _check_trees(str(folder / head_files(head)[0]), one, features, _n_categories(spec, manifest))
        program = features.program
        forest = Forest.build(
            trees,
            request=program.request.tolist(),
            node=program.node.tolist(),
            pair=program.pair.tolist(),
        )
        table = calibration_table(manifest.heads.values())
        _check_calibration(str(folder / MANIFEST), manifest.heads)
        _check_golden(str(folder / GOLDEN), golden, forest, table, trees)
        return cls(
            name=manifest.name,
            version=manifest.version,
            spec=spec,
            vocabulary=manifest.vocabulary,
            features=features,
            heads=tuple(manifest.heads),
            forest=forest,
            calibration=table,
            uncertainty=uncertainty_table(manifest.heads.values()),
            manifest=manifest,
        )

    def predict(self, X: ArrayLike) -> dict[str, NDArray[np.float64]]:  # noqa: N803
        """Predict from whole feature rows, for offline use; serving scores from masks instead.

        Parameters
        ----------
        X
            Shape (n, n_features), columns in the order of ``features.names``, NaN where missing; rounded to
            float32 as in serving.

        Returns
        -------
        dict
            For each head (n,) float64 values in the head's unit.

        Raises
        ------
        InputError
            Another shape, or values that are no numbers.
        """
        values = head_values(self.forest.predict(self._rows(X)), self.calibration)
        return {head: values[:, h] for h, head in enumerate(self.heads)}

    def predict_error(self, X: ArrayLike) -> dict[str, NDArray[np.float64]]:  # noqa: N803
        """Return for each head how far its values are likely off, as (n,) standard errors in the head's unit.

        They are of the expected value, not of single outcomes, and 0 where the artifact knows none.

        Parameters
        ----------
        X
            As for `predict`.

        Raises
        ------
        InputError
            As `predict`.
        """
        x = self._rows(X)
        factor, power = self.uncertainty.T
        with np.errstate(over="ignore"):
            raw = np.sqrt(factor * self.forest.variance(x) ** power)
            values = head_values(self.forest.predict(x), self.calibration)
            errors = raw * head_slopes(values, self.calibration)
        return {head: errors[:, h] for h, head in enumerate(self.heads)}

    def _rows(self, X: ArrayLike) -> NDArray[np.float32]:  # noqa: N803
        x = np.asarray(X)
        if x.dtype.kind not in "fiub" or x.ndim != 2 or x.shape[1] != len(self.features.names):  # noqa: PLR2004
            message = f"X: expected numbers of shape (n, {len(self.features.names)}), found {x.dtype} of {x.shape}"
            raise InputError(message)
        with np.errstate(over="ignore"):
            return x.astype(FeatureT)


def calibration_table(heads: Iterable[Calibration]) -> NDArray[np.float64]:
    """Return (n_heads, 3) link codes, intercepts and slopes, read-only."""
    table = np.array([(LINKS.index(c.link), c.intercept, c.slope) for c in heads], np.float64).reshape(-1, 3)
    table.flags.writeable = False
    return table


def uncertainty_table(heads: Iterable[Calibration]) -> NDArray[np.float64]:
    """Return (n_heads, 2) factors and powers, read-only."""
    table = np.array([(c.uncertainty, c.power) for c in heads], np.float64).reshape(-1, 2)
    table.flags.writeable = False
    return table


def head_slopes(values: NDArray[np.float64], calibration: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how fast calibrated values change with the raw score, both (n, n_heads)."""
    logistic, log = calibration[:, 0] == LINK_LOGISTIC, calibration[:, 0] == LINK_LOG
    return np.asarray(calibration[:, 2] * np.where(logistic, values * (1.0 - values), np.where(log, values, 1.0)))


def head_values(raw: NDArray[np.float64], calibration: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return calibrated values of raw scores.

    Parameters
    ----------
    raw
        (n, n_heads).
    calibration
        See `calibration_table`.

    Returns
    -------
    ndarray
        (n, n_heads): 1 / (1 + exp(-z)) for the link logistic, exp(z) for log, z for identity, where z is
        intercept + slope * raw.
    """
    z = calibration[:, 1] + calibration[:, 2] * raw
    logistic, log = calibration[:, 0] == LINK_LOGISTIC, calibration[:, 0] == LINK_LOG
    with np.errstate(over="ignore"):  # exp(-z) may be infinite: its inverse is 0, as it should be
        z[:, logistic] = 1.0 / (1.0 + np.exp(-z[:, logistic]))
        z[:, log] = np.exp(z[:, log])
    return z


def _n_categories(spec: Spec, manifest: Manifest) -> dict[int, int]:
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


def _check_trees(path: str, trees: Trees, features: Features, n_categories: dict[int, int]) -> None:
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


def _check_calibration(path: str, heads: dict[str, Calibration]) -> None:
    for name, head in heads.items():
        if not (np.isfinite(head.intercept) and np.isfinite(head.slope)):
            message = f"{path}: heads.{name}: expected a finite intercept and slope, found {head}"
            raise ArtifactError(message)
        if not (0.0 <= head.uncertainty < np.inf and 0.0 <= head.power < np.inf):
            message = f"{path}: heads.{name}: expected an uncertainty and power of 0 or more, found {head}"
            raise ArtifactError(message)


def _check_golden(
    path: str,
    golden: Golden,
    forest: Forest,
    calibration: NDArray[np.float64],
    trees: tuple[Trees, ...],
) -> None:
    """Evaluate the golden rows: leaves must be equal, scores and values within tolerance."""
    leaves = forest.leaves(golden.rows)
    wrong = np.argwhere(leaves != golden.leaves)
    if len(wrong):
        row, tree = wrong[0]
        ends = np.cumsum([one.n_trees for one in trees])
        head = int(np.searchsorted(ends, tree, side="right"))
        where = f"row {row}, head {head}, tree {tree - (ends[head] - trees[head].n_trees)}"
        message = f"{path}: {where}: expected leaf {golden.leaves[row, tree]}, found {leaves[row, tree]}"
        raise ArtifactError(message)
    raw = forest.predict(golden.rows)
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

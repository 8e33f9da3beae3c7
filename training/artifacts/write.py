"""Write an artifact in a hidden folder beside the target, verify it there, then rename it into place."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from scheduler.columns.schema import Vocabulary
from scheduler.errors import ArtifactError, InputError
from scheduler.features.arrays import FeatureT
from scheduler.features.program import Features, compile_features
from scheduler.features.trained_means import MeansByKey, encode_means, no_means, trained_keys
from scheduler.forest.trees import Trees, save_trees
from scheduler.model.artifact import check_name
from scheduler.model.calibration import calibration_table, head_values
from scheduler.model.manifest import (
    FORMAT,
    GOLDEN,
    MANIFEST,
    MEANS,
    SPEC,
    Calibration,
    Golden,
    Manifest,
    Offset,
    TableUse,
    encode_manifest,
    file_names,
    head_files,
)
from scheduler.model.model import Model
from scheduler.model.offsets import row_offsets
from scheduler.spec import Spec
from training.artifacts.check_onnx import check_onnx
from training.artifacts.stage import staged
from training.heads.lightgbm_trees import gain_importance, trees_from_lightgbm
from training.heads.uncertainty import score_variances
from training.sampling import evenly_spaced

if TYPE_CHECKING:
    import lightgbm as lgb

__all__ = ["content_version", "golden_rows", "libraries", "write_artifact"]

NO_TABLES: Mapping[str, TableUse] = MappingProxyType({})
"""How full history became without a replay."""

LIBRARIES = ("fogline", "lightgbm", "msgspec", "numba", "numpy", "onnx", "polars", "scikit-learn")

_EXTREMES = (
    np.nan,
    0.0,
    -0.0,
    1e-36,
    -1e-36,
    1.0,
    -1.0,
    np.inf,
    -np.inf,
    *np.finfo(np.float32).max * np.array([1, -1]),
)
_THRESHOLDS = 8
"""Thresholds of a feature at which golden rows are made: a handful over its range reveals a wrong comparison."""


def write_artifact(  # noqa: PLR0913 - one keyword for each part of an artifact
    folder: str | Path,
    *,
    spec: Spec,
    boosters: Mapping[str, lgb.Booster],
    calibration: Mapping[str, Calibration],
    vocabulary: Vocabulary,
    metrics: Mapping[str, float],
    window: Mapping[str, float | str],
    golden_rows: ArrayLike,
    trees: Mapping[str, Trees] | None = None,
    version: str | None = None,
    tables: Mapping[str, TableUse] = NO_TABLES,
    means: MeansByKey | None = None,
) -> Path:
    """Write the artifact of a trained model, verify it as a scheduler would, and move it into place.

    A writer that is killed leaves no folder of that name, only a hidden one which the next writer removes.

    Parameters
    ----------
    folder
        Target folder; must not exist yet. Its parents are created.
    spec
        The spec that the model was trained for.
    boosters, calibration
        LightGBM model and calibration of each head of the spec.
    vocabulary
        Categories by ``request.COLUMN`` and ``node.COLUMN``, in the order of their codes.
    metrics
        Figures by name, such as ``latency.mae``; NaN if one could not be computed.
    window
        What the model was trained on: rows, first and last slice or time.
    golden_rows
        Some real feature rows, shape (n, n_features), n > 0; rows with missing and extreme values, and on
        thresholds, are made from them.
    trees
        The trees of each head's booster, with the variances of their leaves; see
        `training.heads.uncertainty.leaf_variances`. By default they are read from the boosters, and the variances
        are unknown.
    version
        Name of the version; by default `content_version`.
    tables
        How full history became in training, see `scheduler.model.manifest.TableUse`.
    means
        Means of training, where the spec has such features; by default of no key.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ArtifactError
        The folder exists, a head lacks its model, trees or calibration, or LightGBM disagrees with the
        forest or with ONNX Runtime.
    ForestError
        A model cannot be represented as a forest.
    """
    from training.artifacts.onnx_export import to_onnx

    folder = Path(folder)
    if trees is None:
        trees = {head: trees_from_lightgbm(booster) for head, booster in boosters.items()}
    _check_heads(spec, boosters=boosters, trees=trees, calibration=calibration)
    if version is None:
        version = content_version(spec, trees, calibration, vocabulary, means)
    check_name(version, "version")
    heads = {head: calibration[head] for head in spec.heads}
    trees = {head: trees[head] for head in heads}
    golden = _golden(compile_features(spec, vocabulary), boosters, trees, heads, golden_rows)
    with staged(folder) as stage:
        _write(stage / SPEC, spec.to_json())
        for head, one in trees.items():
            forest, text, onnx = head_files(head)
            save_trees(one, stage / forest)
            _write(stage / text, boosters[head].model_to_string().encode())
            _write(stage / onnx, to_onnx(one, _placed(heads[head], spec)))
        np.savez(stage / GOLDEN, **golden._asdict())
        if trained_keys(spec):
            _write(stage / MEANS, encode_means(no_means(spec) if means is None else means))
        manifest = Manifest(
            format=FORMAT,
            name=spec.name,
            version=version,
            fingerprint=spec.fingerprint(),
            features=tuple(spec.features),
            heads=heads,
            vocabulary={name: tuple(values) for name, values in vocabulary.items()},
            window=dict(window),
            metrics={name: float(value) if np.isfinite(value) else None for name, value in metrics.items()},
            libraries=libraries(),
            files={name: hashlib.sha256((stage / name).read_bytes()).hexdigest() for name in _file_names(spec)},
            tables=dict(tables),
            importance={
                head: dict(zip(spec.features, gain_importance(boosters[head]).tolist(), strict=True)) for head in heads
            },
        )
        _write(stage / MANIFEST, encode_manifest(manifest))
        Model.load(stage)
        for at, (head, one) in enumerate(trees.items()):
            onnx_model = (stage / head_files(head)[2]).read_bytes()
            check_onnx(head, onnx_model, one, golden.rows, golden.raw[:, at])
    return folder


def content_version(
    spec: Spec,
    trees: Mapping[str, Trees],
    calibration: Mapping[str, Calibration],
    vocabulary: Vocabulary,
    means: MeansByKey | None = None,
) -> str:
    """Return 12 hex digits that name what a model computes: equal models have equal versions, others do not.

    The hash covers the spec, the heads' trees and calibrations, the vocabulary, and means of training. It leaves out
    LightGBM's own text, which has parameters that change nothing, such as the number of threads.

    Known before anything is written, so that the artifact can carry it; a registry's own number is assigned
    later and kept beside it.
    """
    digest = hashlib.sha256(spec.to_json())
    for head in spec.heads:
        for name, array in trees[head]._asdict().items():
            digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    if trained_keys(spec):
        for array in no_means(spec) if means is None else means:
            digest.update(f"{array.dtype} {array.shape}".encode() + array.tobytes())
    digest.update(msgspec.json.encode([[calibration[head] for head in spec.heads], vocabulary]))
    return digest.hexdigest()[:12]


def libraries() -> dict[str, str]:
    """Return the versions of the installed libraries that shape a model."""
    found = {}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = installed(name)
    return found


def golden_rows(features: Features, trees: Sequence[Trees], rows: ArrayLike) -> NDArray[np.float32]:
    """Return real rows followed by rows with one feature missing, extreme, unknown, or on a threshold.

    Parameters
    ----------
    features
        The spec's features.
    trees
        All heads.
    rows
        Real rows, shape (n, n_features), n > 0.

    Returns
    -------
    ndarray
        float32; the last rows hold one extreme in all numeric columns.
    """
    base = np.asarray(rows, FeatureT)
    if base.ndim != 2 or base.shape[1] != len(features.names) or len(base) == 0:  # noqa: PLR2004
        message = f"golden_rows: expected at least one row of {len(features.names)} features, found {base.shape}"
        raise InputError(message)
    out = [base]
    for feature in range(base.shape[1]):
        values = _corners(feature, trees, categorical=feature in features.categorical)
        changed = np.resize(base, (len(values), base.shape[1]))
        changed[:, feature] = values
        out.append(changed)
    whole = np.resize(base, (len(_EXTREMES), base.shape[1]))
    numeric = [f for f in range(base.shape[1]) if f not in features.categorical]
    whole[:, numeric] = np.array(_EXTREMES, FeatureT)[:, None]
    return np.concatenate([*out, whole, np.full((1, base.shape[1]), np.nan, FeatureT)])


def _corners(feature: int, trees: Sequence[Trees], *, categorical: bool) -> NDArray[np.float32]:
    if categorical:  # the last two are codes that no vocabulary has; beyond int32 LightGBM's cast is undefined
        return np.array([np.nan, -1, 0, 1, 2, 31, 32, 1_000_000, 2**31 - 256], FeatureT)
    thresholds = np.unique(np.concatenate([one.threshold[one.feature == feature] for one in trees]))
    with np.errstate(over="ignore"):
        on = thresholds[evenly_spaced(len(thresholds), _THRESHOLDS)].astype(FeatureT)
    below, above = np.nextafter(on, FeatureT(-np.inf)), np.nextafter(on, FeatureT(np.inf))
    return np.concatenate([np.array(_EXTREMES, FeatureT), on, below, above])


def _golden(
    features: Features,
    boosters: Mapping[str, lgb.Booster],
    trees: Mapping[str, Trees],
    heads: Mapping[str, Calibration],
    rows: ArrayLike,
) -> Golden:
    """Return LightGBM's own leaves and raw scores, offsets added, of golden rows, and the variances of those leaves."""
    x = golden_rows(features, list(trees.values()), rows)
    leaves = [np.reshape(boosters[h].predict(x, pred_leaf=True), (len(x), one.n_trees)) for h, one in trees.items()]
    raw = np.stack([boosters[h].predict(x, raw_score=True) for h in trees], axis=1).astype(np.float64)
    raw += row_offsets(tuple(heads.values()), features.names, x)
    values = head_values(raw, calibration_table(heads.values()))
    variance = [score_variances(boosters[h], one, x, threads=1) for h, one in trees.items()]
    return Golden(x, np.concatenate(leaves, axis=1).astype(np.int32), raw, values, np.stack(variance, axis=1))


def _placed(head: Calibration, spec: Spec) -> tuple[int, Offset] | None:
    """Return the column of a head's offset in a feature row, and the offset."""
    return None if head.offset is None else (list(spec.features).index(head.offset.feature), head.offset)


def _check_heads(spec: Spec, **parts: Mapping[str, object]) -> None:
    for what, given in parts.items():
        if set(given) != set(spec.heads):
            message = f"{what}: expected the heads {sorted(spec.heads)}, found {sorted(given)}"
            raise ArtifactError(message)
    for head in spec.heads:
        check_name(head, "heads")


def _file_names(spec: Spec) -> list[str]:
    return file_names(spec.heads, means=bool(trained_keys(spec)))


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)

"""An artifact's manifest: what it says, and how it is written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated, Final, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from scheduler.features.trained_means import MeansByKey
from scheduler.forest.trees import Trees
from scheduler.spec import Spec, Transform

FORMAT: Final = 5
"""Formats 1 to 4 are still read. 4 has no offsets of heads, and 3 no importance of features either. In 1 and 2 the
fingerprint depended on capacities too, and nothing was said of how full history became; 1 knew no variances either:
neither of leaves nor in golden rows."""

WITH_CAPACITY: Final = 2
"""The last format whose fingerprint depended on capacities."""

MANIFEST, SPEC, GOLDEN = "manifest.json", "spec.json", "golden.npz"

MEANS = "means.npz"
"""Means of training, where the spec has such a feature."""

NO_DIGEST = "0" * 64

Category = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | str


class Offset(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a head's raw score starts from, before its trees: a line in a feature, which is a mean of the target.

    The score starts from ``intercept + slope * transform(x)``, where ``x`` is the feature, kept between ``least`` and
    ``most``; from ``missing`` where the feature is missing. The transforms are ``none``, ``log1p``, and ``logit``, the
    logarithm of ``x / (1 - x)``.
    """

    feature: str
    transform: Transform
    least: float
    most: float
    intercept: float
    slope: float
    missing: float


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """From a head's raw score to its value: the inverse of ``link`` at ``intercept + slope * raw``.

    The raw score is the sum of the trees; where there is an ``offset``, that is added.
    The variance of the raw score is ``uncertainty`` times the sum of leaf variances to the ``power``; 0 where unknown.
    """

    link: Literal["logistic", "log", "identity"]
    intercept: float = 0.0
    slope: float = 1.0
    uncertainty: float = 0.0
    power: float = 1.0
    offset: Offset | None = None


class TableUse(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How full a table of running statistics became.

    Attributes
    ----------
    capacity
        About how many entries fit.
    keys
        Distinct keys of the data: entries that it would hold if it were large enough.
    entries, evicted
        Entries that it holds, and how often it let one go for want of room. A key that comes back takes the place of
        another one, so ``evicted`` may be far above ``keys``.
    share
        Of the keys that have no entry for want of room, 0 to 1.
    """

    capacity: int
    keys: int
    entries: int
    evicted: int
    share: float

    @classmethod
    def of(cls, capacity: int, keys: int, counters: NDArray[np.int64]) -> TableUse:
        """Return the use of a table whose counters, (2,) int64, say what it holds and how often it evicted."""
        entries, evicted = (int(count) for count in counters)
        lost = min(evicted, max(keys - entries, 0))  # keys may have no entry because their outcomes were never shown
        return cls(capacity=capacity, keys=keys, entries=entries, evicted=evicted, share=lost / max(keys, 1))


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an artifact says about itself; `digest` is the SHA-256 of the manifest with 64 zeros in its place.

    ``files`` holds the SHA-256 of every other file, ``vocabulary`` the categories by ``request.COLUMN`` and
    ``node.COLUMN`` in the order of their codes, ``metrics`` null where a figure could not be computed, ``tables`` how
    full each table of running statistics became in training, ``importance`` for each head the share of the total gain
    by feature, all 0 for trees without a split.
    """

    format: int
    name: str
    version: str
    fingerprint: str
    features: tuple[str, ...]
    heads: dict[str, Calibration]
    vocabulary: dict[str, tuple[Category, ...]]
    window: dict[str, int | float | str]
    metrics: dict[str, float | None]
    libraries: dict[str, str]
    files: dict[str, str]
    tables: dict[str, TableUse] = {}
    importance: dict[str, dict[str, float]] = {}
    digest: str = NO_DIGEST


class Golden(NamedTuple):
    """Feature rows and what the trainer's own library said about them.

    Attributes
    ----------
    rows
        (n, n_features) float32.
    leaves
        (n, trees of all heads) int32, heads in the spec's order.
    raw, values
        (n, n_heads) float64, scores, offsets included, before and after calibration.
    variance
        (n, n_heads) float64, sums of leaf variances.
    """

    rows: NDArray[np.float32]
    leaves: NDArray[np.int32]
    raw: NDArray[np.float64]
    values: NDArray[np.float64]
    variance: NDArray[np.float64]


class Contents(NamedTuple):
    """An artifact whose files are what its manifest says; heads in the spec's order."""

    manifest: Manifest
    spec: Spec
    trees: tuple[Trees, ...]
    golden: Golden
    means: MeansByKey


def head_files(head: str) -> tuple[str, str, str]:
    """Return the names of a head's files: arrays, LightGBM text, ONNX."""
    return f"{head}.forest.npz", f"{head}.txt", f"{head}.onnx"


def file_names(heads: Iterable[str], *, means: bool) -> list[str]:
    """Return the names of all files but the manifest, sorted; with means of training or without."""
    return sorted({SPEC, GOLDEN, *([MEANS] if means else []), *(name for head in heads for name in head_files(head))})


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the bytes of a manifest with its digest filled in."""
    data = _encode(msgspec.structs.replace(manifest, digest=NO_DIGEST))
    return _encode(msgspec.structs.replace(manifest, digest=hashlib.sha256(data).hexdigest()))


def _encode(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1)

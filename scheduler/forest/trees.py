"""The trees of one head as plain arrays: what an artifact stores and a `Forest` is built from."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from scheduler.errors import ArtifactError, FoglineError, ForestError

__all__ = ["MAX_LEAVES", "MAX_TREES", "Trees", "check_trees", "load_trees", "save_trees"]

#: A leaf is a bit of one machine word.
MAX_LEAVES = 64

#: Far more trees of a head than pay: to look at so many takes longer than the decision may.
MAX_TREES = 2**15

#: Bits of LightGBM's `decision_type`: what kind of split, where missing values go, what counts as missing.
CATEGORICAL = 1
DEFAULT_LEFT = 2
MISSING_SHIFT = 2
MISSING_NONE, MISSING_ZERO, MISSING_NAN = 0, 1, 2

FORMAT = 2
"""Format 1 had no `leaf_variance`; it reads as zeros, which is what nothing known is."""


class Trees(NamedTuple):
    """Binary decision trees of one head, all nodes and all leaves one after another.

    Tree `t` has the splits `node_start[t]:node_start[t + 1]` and the leaves `leaf_start[t]:leaf_start[t + 1]`,
    one leaf more than splits. A child counts within its tree: `c >= 0` is split `c`, `c < 0` is leaf `~c`.

    Attributes
    ----------
    n_features
        Columns of a full feature row, shape ().
    node_start, leaf_start
        Offsets of each tree, shape (n_trees + 1,).
    feature
        Column that a split looks at, shape (n_splits,).
    threshold
        Values up to it, itself included, go left; for a categorical split the number of its set in
        `cat_start`. Shape (n_splits,).
    decision
        LightGBM's bits: 1 categorical, 2 missing goes left, 4 and 8 missing type (0 none, 1 zero, 2 NaN).
        Shape (n_splits,).
    left, right
        Children, shape (n_splits,).
    leaf_value
        Raw score of each leaf, shape (n_leaves,).
    leaf_variance
        Variance of each leaf's value, shape (n_leaves,); summed over the trees, of the raw score. All 0 where unknown.
    cat_start, cat_bits
        Set `s` holds category `c` when bit `c % 32` of `cat_bits[cat_start[s] + c // 32]` is set; its members
        go left. Shapes (n_sets + 1,) and (n_words,).
    """

    n_features: NDArray[np.int32]
    node_start: NDArray[np.int32]
    leaf_start: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    decision: NDArray[np.uint8]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    leaf_value: NDArray[np.float64]
    cat_start: NDArray[np.int32]
    cat_bits: NDArray[np.uint32]
    leaf_variance: NDArray[np.float64]

    @property
    def n_trees(self) -> int:
        """Number of trees."""
        return len(self.node_start) - 1


#: Array name -> (dtype, number of dimensions).
_COLUMNS = {
    "n_features": (np.int32, 0),
    "node_start": (np.int32, 1),
    "leaf_start": (np.int32, 1),
    "feature": (np.int32, 1),
    "threshold": (np.float64, 1),
    "decision": (np.uint8, 1),
    "left": (np.int32, 1),
    "right": (np.int32, 1),
    "leaf_value": (np.float64, 1),
    "cat_start": (np.int32, 1),
    "cat_bits": (np.uint32, 1),
    "leaf_variance": (np.float64, 1),
}


def save_trees(trees: Trees, file: str | Path | IO[bytes]) -> None:
    """Write `trees` as an uncompressed npz archive; equal trees give equal bytes.

    Parameters
    ----------
    trees
        What to store; checked first.
    file
        Path, its name kept as it is, or an open binary file.

    Raises
    ------
    ForestError
        `trees` is not well formed.
    """
    check_trees(trees)
    if isinstance(file, (str, Path)):
        with Path(file).open("wb") as content:
            save_trees(trees, content)
        return
    np.savez(file, format=np.int32(FORMAT), **trees._asdict())


def load_trees(file: str | Path | IO[bytes]) -> Trees:
    """Read what `save_trees` wrote and check all of its structure.

    Parameters
    ----------
    file
        Path or open binary file.

    Returns
    -------
    Trees
        Arrays owned by the caller.

    Raises
    ------
    ArtifactError
        The file is missing, damaged, of another format version, or holds no well-formed trees.
    """
    name = str(file) if isinstance(file, (str, Path)) else str(getattr(file, "name", "trees"))
    try:
        # Read whole: numpy leaves a path open when the archive is damaged.
        content = io.BytesIO(Path(file).read_bytes() if isinstance(file, (str, Path)) else file.read())
        with zipfile.ZipFile(content) as archive:
            damaged = archive.testzip()
        content.seek(0)
        arrays = {} if damaged else dict(np.load(content, allow_pickle=False))
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, struct.error, zlib.error) as error:
        message = f"{name}: expected an npz archive of trees, found a file that cannot be read ({error})"
        raise ArtifactError(message) from error
    if damaged:
        message = f"{name}: expected an npz archive of trees, found a wrong checksum of {damaged}"
        raise ArtifactError(message)
    version = arrays.pop("format", None)
    if version is None or version.shape != () or version not in (1, FORMAT):
        found = "none" if version is None else version
        message = f"{name}: expected trees of format 1 or {FORMAT}, found {found}"
        raise ArtifactError(message)
    expected = set(_COLUMNS) - ({"leaf_variance"} if version == 1 else set())
    if set(arrays) != expected:
        message = f"{name}: expected the arrays {sorted(expected)}, found {sorted(arrays)}"
        raise ArtifactError(message)
    trees = Trees(**{"leaf_variance": np.zeros(arrays["leaf_value"].shape), **arrays})
    check_trees(trees, name, ArtifactError)
    return trees


def check_trees(trees: Trees, name: str = "trees", error: type[FoglineError] = ForestError) -> None:
    """Check types, sizes, children, categories and values of `trees`.

    Parameters
    ----------
    trees
        What to check.
    name
        Begins each message.
    error
        Class to raise.

    Raises
    ------
    FoglineError
        Of the class `error`: the first thing found wrong, with the expected and the found.
    """

    def fail(what: str) -> NoReturn:
        message = f"{name}: {what}"
        raise error(message)

    for key, (dtype, ndim) in _COLUMNS.items():
        array = np.asarray(getattr(trees, key))
        if array.dtype != dtype or array.ndim != ndim:
            fail(f"expected {key} as {np.dtype(dtype)} of {ndim} dimensions, found {array.dtype} of {array.ndim}")
    problem = _sizes(trees) or _values(trees) or _categories(trees)
    if problem:
        fail(problem)
    for tree in range(trees.n_trees):
        problem = _structure(trees, tree)
        if problem:
            fail(f"tree {tree}: {problem}")


def _is_offsets(offsets: NDArray[np.int32], total: int, step: int) -> bool:
    return bool(
        len(offsets) >= 1 and offsets[0] == 0 and offsets[-1] == total and np.all(np.diff(offsets) >= step),
    )


def _sizes(trees: Trees) -> str:
    n_splits = len(trees.feature)
    for key in ("threshold", "decision", "left", "right"):
        if len(getattr(trees, key)) != n_splits:
            return f"expected {n_splits} values of {key}, found {len(getattr(trees, key))}"
    if trees.n_features < 1:
        return f"expected at least one feature, found {trees.n_features}"
    for key, total, step in (
        ("node_start", n_splits, 0),
        ("leaf_start", len(trees.leaf_value), 1),
        ("cat_start", len(trees.cat_bits), 0),
    ):
        if not _is_offsets(getattr(trees, key), total, step):
            return f"expected {key} to rise from 0 to {total}, found {getattr(trees, key)}"
    if len(trees.leaf_variance) != len(trees.leaf_value):
        return f"expected {len(trees.leaf_value)} values of leaf_variance, found {len(trees.leaf_variance)}"
    if len(trees.node_start) != len(trees.leaf_start):
        return f"expected {trees.n_trees} trees in leaf_start as in node_start, found {len(trees.leaf_start) - 1}"
    return _leaf_counts(trees)


def _leaf_counts(trees: Trees) -> str:
    if trees.n_trees > MAX_TREES:
        return f"expected at most {MAX_TREES} trees, found {trees.n_trees}"
    leaves = np.diff(trees.leaf_start)
    if np.any(leaves != np.diff(trees.node_start) + 1):
        return "expected one leaf more than splits in each tree, found another number"
    if leaves.max(initial=0) > MAX_LEAVES:
        return f"expected at most {MAX_LEAVES} leaves a tree, found {leaves.max()} in tree {leaves.argmax()}"
    return ""


def _values(trees: Trees) -> str:
    if np.any((trees.feature < 0) | (trees.feature >= trees.n_features)):
        return f"expected features 0 to {trees.n_features - 1}, found {trees.feature.min()} to {trees.feature.max()}"
    limit = np.finfo(np.float32).max
    is_wrong = ~(np.abs(trees.leaf_value) <= limit)
    if np.any(is_wrong):
        return f"expected finite leaf values within {limit:g}, found {trees.leaf_value[is_wrong][0]}"
    is_wrong = ~((trees.leaf_variance >= 0.0) & (trees.leaf_variance <= limit))
    if np.any(is_wrong):
        return f"expected leaf variances from 0 to {limit:g}, found {trees.leaf_variance[is_wrong][0]}"
    if np.any(np.isnan(trees.threshold)):
        return "expected numbers as thresholds, found NaN"
    if np.any(trees.decision >> MISSING_SHIFT > MISSING_NAN):
        return f"expected decision types 0 to 11, found {trees.decision.max()}"
    return ""


def _categories(trees: Trees) -> str:
    is_categorical = (trees.decision & CATEGORICAL) > 0
    sets = trees.threshold[is_categorical]
    n_sets = len(trees.cat_start) - 1
    if np.any((sets < 0) | (sets >= n_sets) | (sets != np.floor(sets))):
        return f"expected category sets 0 to {n_sets - 1}, found {sets.min()} to {sets.max()}"
    return ""


def _structure(trees: Trees, tree: int) -> str:
    """Each split but the first and each leaf must be the child of one split, and be reached from the first."""
    nodes = slice(trees.node_start[tree], trees.node_start[tree + 1])
    left, right = trees.left[nodes].tolist(), trees.right[nodes].tolist()
    n_splits = len(left)
    expected = [*range(~n_splits, 0), *range(1, n_splits)] if n_splits else []
    if sorted(left + right) != expected:
        return f"expected each of {n_splits} splits and {n_splits + 1} leaves to be one child, found other children"
    reached, waiting = 0, [0] if n_splits else []
    while waiting:
        split = waiting.pop()
        reached += 1
        waiting += [child for child in (left[split], right[split]) if child >= 0]
    if reached != n_splits:
        return f"expected {n_splits} splits below the root, found {reached}: the others form a cycle"
    return ""

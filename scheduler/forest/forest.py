"""A forest evaluated by masks: rows kept per node, built once per request, and the pair features of a candidate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scheduler.errors import InputError, shown
from scheduler.forest.arrays import ForestNames, ForestWork, MaskTables
from scheduler.forest.inputs import columns_of, is_native, is_row_array, kind_of, listed, matrix, numbers
from scheduler.forest.kernels import reference
from scheduler.forest.kernels import score as kernels
from scheduler.forest.mask_tables import build_tables, empty_work
from scheduler.forest.table_size import check_table_bytes
from scheduler.forest.trees import Trees, check_trees, load_trees, save_trees
from scheduler.runtime.aligned_arrays import aligned_zeros
from scheduler.runtime.packed_arrays import PackedArrays

__all__ = ["Forest", "ForestNames", "ForestWork", "MaskTables", "Trees", "check_trees", "load_trees", "save_trees"]


class Forest(NamedTuple):
    """Several heads of trees as tables of masks, with the owner of each feature.

    Build one with `Forest.build` from stored `Trees`, or with `training.heads.lightgbm_trees.forest_from_lightgbm`.

    A leaf is a bit. For each feature and each rank of its value among the thresholds, a table row holds the
    leaves that can still be reached, one word a tree. The rows of a node's features are ANDed once when the node
    changes, those of a request's features once per request; a candidate's row is node AND request AND its pair
    features, and leaves one bit in each tree. The leaf is LightGBM's own in every case.

    Attributes
    ----------
    packed
        The tables of masks as kernels take them from Python.
    names
        Arrays that translate back to LightGBM's trees and leaves, for `leaves` and `predict`.
    request, node, pair
        Columns of a full feature row that belong to the request, the node and both.
    n_features, n_heads
        Columns of a full feature row; scores of a candidate.

    References
    ----------
    Lucchese, Nardini, Orlando, Perego, Tonellotto, Venturini: QuickScorer: a fast algorithm to rank documents with
    additive ensembles of regression trees. SIGIR 2015.
    """

    packed: PackedArrays[MaskTables]
    names: ForestNames
    request: tuple[int, ...]
    node: tuple[int, ...]
    pair: tuple[int, ...]
    n_features: int
    n_heads: int

    @classmethod
    def build(
        cls,
        heads: Trees | Sequence[Trees],
        *,
        request: Sequence[int] = (),
        node: Sequence[int] = (),
        pair: Sequence[int] = (),
    ) -> Forest:
        """Build the tables of one or several heads over the same features.

        Parameters
        ----------
        heads
            Trees of each head.
        request, node, pair
            Columns of each owner, in the order in which `x_request`, `X_node` and `X_pair` give them. No column
            twice; columns that no tree looks at may be left out.

        Returns
        -------
        Forest

        Raises
        ------
        ForestError
            Trees are malformed, have over 64 leaves, or need tables of too many bytes; see `check_table_bytes`.
        InputError
            No head, heads of different width, a column out of range, twice, or used by a tree without owner.
        """
        heads = [heads] if isinstance(heads, Trees) else listed(heads, "heads")
        if not all(isinstance(trees, Trees) for trees in heads):
            message = f"heads: expected Trees, found {shown(heads)}"
            raise InputError(message)
        if not heads:
            message = "heads: expected one or more, found none"
            raise InputError(message)
        for number, trees in enumerate(heads):
            check_trees(trees, f"head {number}")
        check_table_bytes(heads)
        owners = {
            name: columns_of(columns, name) for name, columns in (("request", request), ("node", node), ("pair", pair))
        }
        n_features = _check_owners(heads, owners)
        packed, names = build_tables(heads, **owners)
        return cls(packed, names, **owners, n_features=n_features, n_heads=len(heads))

    @property
    def mask_tables(self) -> MaskTables:
        """The tables of masks, for kernels that call `scheduler.forest.kernels.score`."""
        return self.packed.content

    @property
    def words(self) -> int:
        """Words of a request's row."""
        return len(self.mask_tables.full)

    @property
    def node_words(self) -> int:
        """Words of a node's row; 8 bytes each."""
        return self.mask_tables.node_words

    def empty_rows(self, n: int) -> NDArray[np.uint64]:
        """Rows of zeros for `n` nodes, shape (n, node_words), each at the start of a cache line."""
        rows: NDArray[np.uint64] = aligned_zeros((n, self.node_words), np.uint64)
        return rows

    def work(self) -> ForestWork:
        """Scratch arrays for one thread in `scheduler.forest.kernels.score.score`."""
        return empty_work(self.mask_tables)

    def node_rows(self, X_node: ArrayLike) -> NDArray[np.uint64]:  # noqa: N803
        """Rows of nodes, to be kept until a node's features change.

        Parameters
        ----------
        X_node
            Node features, shape (n, len(node)), columns in the order of `node`; NaN is missing.

        Returns
        -------
        ndarray
            Shape (n, node_words).

        Raises
        ------
        InputError
            Another shape, or values that are no numbers.
        """
        x = matrix(X_node, "X_node", len(self.node))
        out = self.empty_rows(len(x))
        kernels.node_rows(self.packed, x, out)
        return out

    def request_row(self, x_request: ArrayLike) -> NDArray[np.uint64]:
        """Row of one request.

        Parameters
        ----------
        x_request
            Request features, shape (len(request),), in the order of `request`; NaN is missing.

        Returns
        -------
        ndarray
            Shape (words,).

        Raises
        ------
        InputError
            Another shape, or values that are no numbers.
        """
        x = numbers(x_request, "x_request")
        if x.shape != (len(self.request),):
            message = f"x_request: expected shape ({len(self.request)},), found {x.shape}"
            raise InputError(message)
        out = np.empty(self.words, np.uint64)
        kernels.request_row(self.packed, x, out)
        return out

    def score(
        self,
        request_row: NDArray[np.uint64],
        rows: NDArray[np.uint64],
        indices: NDArray[np.integer],
        X_pair: ArrayLike,  # noqa: N803
    ) -> NDArray[np.float32]:
        """Raw scores of candidates, without link or calibration.

        Parameters
        ----------
        request_row
            From `request_row`, shape (words,).
        rows
            From `node_rows`, shape (n_nodes, node_words).
        indices
            Row number of each candidate, shape (n,), integers.
        X_pair
            Pair features of each candidate, shape (n, len(pair)), columns in the order of `pair`.

        Returns
        -------
        ndarray
            Shape (n, n_heads), always two dimensions. Sums are float32, added in a fixed order: a candidate's
            score does not depend on the other candidates.

        Raises
        ------
        InputError
            Another shape or dtype, or an index outside `rows`.
        """
        x = matrix(X_pair, "X_pair", len(self.pair))
        self._check_score(request_row, rows, indices, len(x))
        out = np.empty((len(x), self.n_heads), np.float32)
        outside = kernels.score_once(self.packed, request_row, rows, indices, x, self.n_heads, out)
        if outside >= 0:
            message = f"indices: expected 0 to {len(rows) - 1}, found {indices[outside]}"
            raise InputError(message)
        return out

    def leaves(self, X: ArrayLike) -> NDArray[np.int32]:  # noqa: N803
        """LightGBM's leaf numbers of full feature rows, for tests and analysis.

        Parameters
        ----------
        X
            Shape (n, n_features); NaN is missing.

        Returns
        -------
        ndarray
            Shape (n, trees of all heads), the same as `Booster.predict(X, pred_leaf=True)` of each head.

        Raises
        ------
        InputError
            Another shape, or values that are no numbers.
        """
        x = matrix(X, "X", self.n_features)
        out = np.empty((len(x), len(self.names.position)), np.int32)
        reference.leaves(self.mask_tables, self.names, x, *self._row(), out)
        return out

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """Raw scores of full feature rows, summed in double in LightGBM's order.

        Parameters
        ----------
        X
            Shape (n, n_features); NaN is missing.

        Returns
        -------
        ndarray
            Shape (n, n_heads), equal to `Booster.predict(X, raw_score=True)` of each head.

        Raises
        ------
        InputError
            Another shape, or values that are no numbers.
        """
        return self._sums(X, self.names)

    def variance(self, X: ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """Variances of raw scores of full feature rows: those of the leaves, summed like values.

        Parameters
        ----------
        X
            Shape (n, n_features); NaN is missing.

        Returns
        -------
        ndarray
            Shape (n, n_heads), 0 where a head's trees have none.

        Raises
        ------
        InputError
            Another shape, or values that are no numbers.
        """
        return self._sums(X, self.names._replace(value=self.names.variance))

    def _sums(self, X: ArrayLike, names: ForestNames) -> NDArray[np.float64]:  # noqa: N803
        x = matrix(X, "X", self.n_features)
        out = np.empty((len(x), self.n_heads), np.float64)
        reference.predict(self.mask_tables, names, x, *self._row(), out)
        return out

    def _row(self) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        """Scratch for one whole feature row."""
        return np.empty(2 * len(self.mask_tables.split_features), np.int64), np.empty(self.words, np.uint64)

    def _check_score(
        self,
        request_row: NDArray[np.uint64],
        rows: NDArray[np.uint64],
        indices: NDArray[np.integer],
        n: int,
    ) -> None:
        tables = self.packed.content
        words, node_words = len(tables.full), tables.node_words
        if not is_row_array(request_row, (words,)):
            message = f"request_row: expected contiguous uint64 of shape ({words},), found {kind_of(request_row)}"
            raise InputError(message)
        if not is_row_array(rows, (*rows.shape[:1], node_words) if isinstance(rows, np.ndarray) else ()):
            message = f"rows: expected contiguous uint64 of shape (n, {node_words}), found {kind_of(rows)}"
            raise InputError(message)
        if not isinstance(indices, np.ndarray) or not is_native(indices) or indices.shape != (n,):
            message = f"indices: expected integers of shape ({n},), one per row of X_pair, found {kind_of(indices)}"
            raise InputError(message)


def _check_owners(heads: Sequence[Trees], owners: dict[str, tuple[int, ...]]) -> int:
    widths = {int(trees.n_features) for trees in heads}
    if len(widths) > 1:
        message = f"heads: expected the same number of features, found {sorted(widths)}"
        raise InputError(message)
    n_features = widths.pop()
    owned: dict[int, str] = {}
    for owner, columns in owners.items():
        for column in columns:
            if not 0 <= column < n_features:
                message = f"{owner}: expected columns 0 to {n_features - 1}, found {column}"
                raise InputError(message)
            if column in owned:
                message = f"{owner}: expected each column once, found {column} also in {owned[column]}"
                raise InputError(message)
            owned[column] = owner
    used = {int(column) for trees in heads for column in np.unique(trees.feature)}
    if used - owned.keys():
        message = f"expected an owner for each feature of a tree, found none for {sorted(used - owned.keys())}"
        raise InputError(message)
    return n_features

"""A model ready to serve: a spec, a forest and its calibration, all verified before they exist together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scheduler.columns.schema import Vocabulary
from scheduler.errors import ArtifactError, InputError
from scheduler.features.arrays import FeatureT
from scheduler.features.program import Features, compile_features
from scheduler.forest.forest import Forest
from scheduler.forest.inputs import as_array
from scheduler.forest.trees import Trees
from scheduler.model.artifact import read_artifact
from scheduler.model.calibration import calibration_table, head_slopes, head_values, uncertainty_table
from scheduler.model.manifest import GOLDEN, MANIFEST, MEANS, Contents, Manifest, head_files
from scheduler.model.offsets import check_offsets, offset_table, row_offsets
from scheduler.model.verify import check_calibration, check_golden, check_load, check_trees, n_categories
from scheduler.runtime.not_copied import NotCopied
from scheduler.spec import Spec


@dataclass(frozen=True, kw_only=True, eq=False)
class Model(NotCopied):
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
    trees
        The same trees as the artifact stores them, for explanations: 21 bytes a split and 16 a leaf, which for 300
        trees of 31 leaves is 0.3 MB a head.
    calibration
        (n_heads, 3) float64: link code (see `scheduler.model.arrays.LINKS`), intercept, slope. Read-only.
    offsets
        (n_heads, 8) float64: what raw scores start from, see `scheduler.model.offsets.offset_table`. Read-only.
    uncertainty
        (n_heads, 2) float64: from sums of leaf variances to the variance of raw scores, factor and power. Read-only.
    manifest
        All that the artifact says about itself.
    """

    _INSTEAD = "`Model.load` its folder in the other process"

    name: str
    version: str
    spec: Spec
    vocabulary: Vocabulary
    features: Features
    heads: tuple[str, ...]
    forest: Forest
    trees: tuple[Trees, ...]
    calibration: NDArray[np.float64]
    offsets: NDArray[np.float64]
    uncertainty: NDArray[np.float64]
    manifest: Manifest

    @classmethod
    def load(
        cls,
        source: str | Path,
        registry: str | None = None,
        *,
        cache: str | Path | None = None,
        last_good: bool = True,
    ) -> Self:
        """Read an artifact and verify all of it: hashes, spec, features, categories, golden rows.

        Parameters
        ----------
        source
            A folder, or ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION`` in a model registry.
        registry
            MLflow URI of the registry; by default the one under ``.fogline`` in the working directory.
        cache
            Folder for copies from a registry; by default ``.fogline/cache`` in the working directory, or one in the
            home folder or a temporary one where that cannot be written.
        last_good
            Whether the copy that this URI last led to serves where the registry does not answer, with a
            `RegistryWarning` that names it.

        Returns
        -------
        Model

        Raises
        ------
        ArtifactError
            The artifact is damaged, incomplete or made for another format; names file, expected and found.
        RegistryError
            The registry lacks the model, or cannot be reached and there is no sound copy of it.
        InputError
            An argument has a wrong type.
        """
        check_load(source, registry, cache)
        if isinstance(source, str) and source.startswith("models:"):
            from scheduler.model.registry import load_folder

            source = load_folder(source, registry, cache, last_good=last_good)
        folder = Path(source)
        return cls._verified(folder, read_artifact(folder))

    @classmethod
    def _verified(cls, folder: Path, contents: Contents) -> Self:
        manifest, spec, trees, golden, means = contents
        try:
            features = compile_features(spec, manifest.vocabulary, means)
        except InputError as error:
            message = f"{folder / MEANS}: {error}"
            raise ArtifactError(message) from error
        for head, one in zip(manifest.heads, trees, strict=True):
            check_trees(str(folder / head_files(head)[0]), one, features, n_categories(spec, manifest))
        program = features.program
        forest = Forest.build(
            trees,
            request=program.request.tolist(),
            node=program.node.tolist(),
            pair=program.pair.tolist(),
        )
        table = calibration_table(manifest.heads.values())
        check_calibration(str(folder / MANIFEST), manifest.heads)
        check_offsets(str(folder / MANIFEST), manifest.heads, spec, features)
        added = row_offsets(tuple(manifest.heads.values()), features.names, golden.rows)
        check_golden(str(folder / GOLDEN), golden, forest, table, trees, added)
        return cls(
            name=manifest.name,
            version=manifest.version,
            spec=spec,
            vocabulary=manifest.vocabulary,
            features=features,
            heads=tuple(manifest.heads),
            forest=forest,
            trees=trees,
            calibration=table,
            offsets=offset_table(manifest.heads.values(), features),
            uncertainty=uncertainty_table(manifest.heads.values()),
            manifest=manifest,
        )

    def __copy__(self) -> Self:
        """Return the model itself: nothing of it changes."""
        return self

    def __deepcopy__(self, memo: object) -> Self:
        """Return the model itself: nothing of it changes."""
        return self

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
        values = head_values(self.raw(self._rows(X)), self.calibration)
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
            values = head_values(self.raw(x), self.calibration)
            errors = raw * head_slopes(values, self.calibration)
        return {head: errors[:, h] for h, head in enumerate(self.heads)}

    def raw(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return (n, n_heads) raw scores of whole feature rows: sums of trees and what they start from."""
        return self.forest.predict(x) + self.starts(x)

    def starts(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return (n, n_heads) what the raw scores of whole feature rows start from, 0 for heads without offset."""
        return row_offsets(tuple(self.manifest.heads.values()), self.features.names, x)

    def _rows(self, X: ArrayLike) -> NDArray[np.float32]:  # noqa: N803
        x = as_array(X, "X")
        if x.dtype.kind not in "fiub" or x.ndim != 2 or x.shape[1] != len(self.features.names):  # noqa: PLR2004
            message = f"X: expected numbers of shape (n, {len(self.features.names)}), found {x.dtype} of {x.shape}"
            raise InputError(message)
        with np.errstate(over="ignore"):
            return x.astype(FeatureT)

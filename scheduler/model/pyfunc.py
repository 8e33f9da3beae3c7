"""What ``mlflow.pyfunc.load_model`` loads: an artifact behind ``predict(frame)``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.ids import Id
from scheduler.columns.schema import Vocabulary
from scheduler.errors import InputError
from scheduler.features.arrays import FeatureT
from scheduler.model.model import Model
from scheduler.spec import NodeColumn, RequestColumn, Spec

__all__ = ["FrameModel", "category_codes"]


class FrameModel:
    """A model that takes frames of feature columns.

    Parameters
    ----------
    model
        What predicts.
    """

    def __init__(self, model: Model) -> None:
        self.model = model

    def predict(self, frame: Any) -> Any:  # noqa: ANN401 - pandas and polars are not imported here
        """Predict every head from named feature columns.

        Parameters
        ----------
        frame
            A data frame, or a mapping of arrays, with a column for each feature of the spec, in any order: numbers,
            and the raw values of categories, such as ``"north"`` or channel 11. What the model does not know, None and
            NaN are missing. Other columns are ignored.

        Returns
        -------
        frame or dict
            A column for each head, in the kind of frame and with the index that came.

        Raises
        ------
        InputError
            A column is missing or holds something else than numbers, or texts where the categories are integers.
        """
        names = self.model.features.names
        present = set(frame) if isinstance(frame, Mapping) else set(frame.columns)
        missing = [name for name in names if name not in present]
        if missing:
            found = f"none for {', '.join(missing)}"
            message = f"frame: expected a column for each of {len(names)} features, found {found}"
            raise InputError(message)
        codes = category_codes(self.model.spec, self.model.vocabulary)
        columns = [_codes(frame, name, codes[name]) if name in codes else _column(frame, name) for name in names]
        if len({len(column) for column in columns}) > 1:
            sizes = {name: len(column) for name, column in zip(names, columns, strict=True)}
            message = f"frame: expected as many rows in each column, found {sizes}"
            raise InputError(message)
        values = self.model.predict(np.stack(columns, axis=1))
        if isinstance(frame, Mapping):
            return values
        index = getattr(frame, "index", None)
        return type(frame)(values) if index is None else type(frame)(values, index=index)


def category_codes(spec: Spec, vocabulary: Vocabulary) -> dict[str, dict[Id, int]]:
    """Return for each feature that is a category its raw values, each with the code that the model has for it."""
    found: dict[str, dict[Id, int]] = {}
    for name, feature in spec.features.items():
        side = {RequestColumn: "request", NodeColumn: "node"}.get(type(feature))
        if side is None or not isinstance(feature, RequestColumn | NodeColumn):
            continue
        columns = spec.request if side == "request" else spec.node
        if columns[feature.column].type == "category":
            values = vocabulary.get(f"{side}.{feature.column}", ())
            found[name] = {value: code for code, value in enumerate(values)}
    return found


def _codes(frame: Any, name: str, known: Mapping[Id, int]) -> NDArray[np.float32]:  # noqa: ANN401
    """Return the codes of a column of raw categories, NaN where the model does not know them."""
    raw = frame[name]
    values = raw.to_list() if hasattr(raw, "to_list") else np.asarray(raw).tolist()
    plain = [_plain(value) for value in values]
    texts = {isinstance(value, str) for value in plain if value is not None}
    kinds = {isinstance(value, str) for value in known}
    if kinds and texts and not texts & kinds:
        expected, found = ("strings", "integers") if True in kinds else ("integers", "strings")
        message = f"frame: expected {expected} in column {name!r}, as the model's categories are, found {found}"
        raise InputError(message)
    codes: list[float] = [np.nan if value is None else known.get(value, np.nan) for value in plain]
    return np.array(codes, FeatureT)


def _plain(value: Any) -> Id | None:  # noqa: ANN401 - one value of any frame
    """Return a category as serving takes it: None for a missing one, whole numbers without their fraction."""
    if value is None or value != value or type(value).__name__ == "NAType":  # noqa: PLR0124 - NaN is not itself
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, str) else int(value)


def _column(frame: Any, name: str) -> NDArray[np.float32]:  # noqa: ANN401
    try:
        with np.errstate(over="ignore"):
            column = np.asarray(frame[name], FeatureT)
    except (TypeError, ValueError) as error:
        message = f"frame: expected numbers in column {name!r}, found others ({error})"
        raise InputError(message) from error
    if column.ndim != 1:
        message = f"frame: expected one number a row in column {name!r}, found shape {column.shape}"
        raise InputError(message)
    return column


def _load_pyfunc(path: str) -> FrameModel:
    """Load a logged artifact; the name is the one that mlflow looks for."""
    return FrameModel(Model.load(Path(path)))

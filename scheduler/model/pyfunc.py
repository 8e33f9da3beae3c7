"""What ``mlflow.pyfunc.load_model`` loads: an artifact behind ``predict(frame)``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scheduler.errors import InputError
from scheduler.features.arrays import FeatureT
from scheduler.model.model import Model

__all__ = ["FrameModel"]


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
            A data frame, or a mapping of arrays, with a column of numbers for each feature of the spec, in
            any order; categories as their codes, NaN where missing. Other columns are ignored.

        Returns
        -------
        frame or dict
            A column for each head, in the kind of frame and with the index that came.

        Raises
        ------
        InputError
            A column is missing or holds something else than numbers.
        """
        names = self.model.features.names
        present = set(frame) if isinstance(frame, Mapping) else set(frame.columns)
        missing = [name for name in names if name not in present]
        if missing:
            found = f"none for {', '.join(missing)}"
            message = f"frame: expected a column for each of {len(names)} features, found {found}"
            raise InputError(message)
        columns = [_column(frame, name) for name in names]
        if len({len(column) for column in columns}) > 1:
            sizes = {name: len(column) for name, column in zip(names, columns, strict=True)}
            message = f"frame: expected as many rows in each column, found {sizes}"
            raise InputError(message)
        values = self.model.predict(np.stack(columns, axis=1))
        if isinstance(frame, Mapping):
            return values
        index = getattr(frame, "index", None)
        return type(frame)(values) if index is None else type(frame)(values, index=index)


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

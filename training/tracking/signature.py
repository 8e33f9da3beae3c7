"""What MLflow is told of a model's input: a typed signature, and real rows as an example."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from scheduler.columns.ids import Id
from scheduler.model.manifest import Contents
from scheduler.model.pyfunc import category_codes

if TYPE_CHECKING:
    from mlflow.models import ModelSignature
    from pandas import DataFrame

EXAMPLES = 5
"""Rows of the example: golden rows begin with real ones."""


def signature(contents: Contents) -> ModelSignature:
    """Return the types of features and heads: raw categories as their values are, all else doubles."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec

    codes = category_codes(contents.spec, contents.manifest.vocabulary)
    types = {name: _type(codes[name]) if name in codes else DataType.double for name in contents.spec.features}
    inputs: list[ColSpec | TensorSpec] = [ColSpec(kind, name) for name, kind in types.items()]
    outputs: list[ColSpec | TensorSpec] = [ColSpec(DataType.double, name) for name in contents.manifest.heads]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))


def _type(known: Mapping[Id, int]) -> Any:  # noqa: ANN401 - one of MLflow's types
    from mlflow.types import DataType
    from mlflow.types.schema import AnyType

    texts = {isinstance(value, str) for value in known}
    if len(texts) > 1:  # categories of both kinds have no type of MLflow's
        return AnyType()  # type: ignore[no-untyped-call]
    return DataType.string if texts != {False} else DataType.long


def example(contents: Contents) -> DataFrame:
    """Return a few real rows as a caller gives them, with the raw values of categories."""
    import pandas as pd

    names = list(contents.spec.features)
    codes = category_codes(contents.spec, contents.manifest.vocabulary)
    rows = np.asarray(contents.golden.rows[: 10 * EXAMPLES], np.float64)
    places = [names.index(name) for name in codes if codes[name]]
    whole = rows[~np.isnan(rows[:, places]).any(axis=1)] if places else rows
    rows = whole[:EXAMPLES] if len(whole) else rows[:1]
    columns: dict[str, Any] = {}
    for place, name in enumerate(names):
        known = list(codes.get(name, ()))
        columns[name] = [_raw(known, code) for code in rows[:, place]] if known else rows[:, place]
    return pd.DataFrame(columns)


def _raw(known: list[Id], code: float) -> Id:
    """Return the category of a code; the first where a row has none, as an example should be whole."""
    return known[int(code)] if np.isfinite(code) and 0 <= code < len(known) else known[0]

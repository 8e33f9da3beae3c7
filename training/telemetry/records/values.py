"""Recorded ids and categories as columns of tables: integers where all are integers, else texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from scheduler.columns.ids import Id
from scheduler.columns.schema import Schema
from scheduler.decisions.record.read import typed_id
from scheduler.errors import DataError
from scheduler.spec import Column, Spec
from training.telemetry.files.codes import Place, compared

MOST_INTEGER, LEAST_INTEGER = 2**63 - 1, -(2**63)
"""Integers that a table takes."""


def ids_of(texts: Mapping[int, str]) -> dict[str, Id]:
    """Return the ids that texts, by key, stand for; a text that is not one of an id stands for itself.

    Raises
    ------
    DataError
        If a text stands for two, an integer and a text: a column of ids has one type.
    """
    for text, n in Counter(texts.values()).items():
        if text and n > 1:
            raise DataError(f"ids: expected integers and texts that differ, found both {text} and {text!r}")
    found = {text: typed_id(text, key) for key, text in texts.items()}
    return {text: text if id_ is None else id_ for text, id_ in found.items()}


def are_integers(values: Iterable[Id | None]) -> bool:
    """Return whether all values that are there are integers that a table takes."""
    return all(isinstance(v, int) and LEAST_INTEGER <= v <= MOST_INTEGER for v in values if v is not None)


def series(values: list[Id | None], *, as_text: bool) -> pl.Series:
    """Return values as a column."""
    if as_text:
        return pl.Series([None if value is None else str(value) for value in values], dtype=pl.String)
    return pl.Series(values, dtype=pl.Int64)


class Categories:
    """Categories by key, and which columns are texts.

    Parameters
    ----------
    spec
        Says which columns are compared.
    names
        Categories by key.
    keys
        The keys that occur in each column.

    Attributes
    ----------
    unnamed
        Keys that no name is known of; their values are null.
    """

    def __init__(self, spec: Spec, names: Mapping[int, Id], keys: Mapping[Place, NDArray[np.uint64]]) -> None:
        self._names = {0: None, **names}
        values = {column: [self._names.get(key) for key in some.tolist()] for column, some in keys.items()}
        self.unnamed = {key for some in keys.values() for key in some.tolist() if key not in self._names}
        self._texts = {column for column, some in values.items() if not are_integers(some)}
        for group in compared(spec):
            if group & self._texts:
                self._texts |= group

    def column(self, place: Place, keys: NDArray[np.uint64]) -> pl.Series:
        """Return a column of categories by their keys."""
        distinct, which = np.unique(keys, return_inverse=True)
        values = [self._names.get(key) for key in distinct.tolist()]
        return series(values, as_text=place in self._texts)[which]


def columns_of(
    columns: Mapping[str, Column],
    schema: Schema,
    rows: tuple[NDArray[np.float64], NDArray[np.uint64]],
    categories: Categories,
) -> dict[str, pl.Series]:
    """Return some columns of requests or nodes from (n, width) numbers and (n, n_keys) keys, but no sets."""
    values, keys = rows
    found: dict[str, Any] = {}
    for name, column in columns.items():
        if name in schema.key_columns:
            found[name] = categories.column((column.source, name), keys[:, schema.key_columns[name]])
        elif name in schema.offsets:
            at = schema.offsets[name]
            found[name] = _numbers(values[:, at : at + column.size])
    return found


def _numbers(values: NDArray[np.float64]) -> pl.Series:
    """Return numbers, or vectors, NaN as null."""
    if values.shape[1] == 1:
        return pl.Series(values[:, 0]).fill_nan(None)
    whole = np.asarray(~np.isnan(values).any(axis=1))
    rows = [row.tolist() if is_whole else None for row, is_whole in zip(values, whole.tolist(), strict=True)]
    return pl.Series(rows, dtype=pl.List(pl.Float64))

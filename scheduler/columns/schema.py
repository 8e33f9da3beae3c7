"""Typed columns of requests and nodes: raw values in, numbers and keys for kernels out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.ids import Id, as_numbers, id_key, id_keys, plain_list, present_keys
from scheduler.errors import InputError
from scheduler.spec import Column, Outcome

Vocabulary: TypeAlias = Mapping[str, Sequence[Id]]
"""For each category column the values a model knows; a value's code is its position."""

MOST_KNOWN = 65_536
"""Category values whose code and key are remembered; further ones are computed each time."""


def number_bounds(of: Column | Outcome, dtype: type[np.floating[Any]]) -> tuple[float, float]:
    """Return the least and largest number that a column or outcome takes; what is infinite in ``dtype`` never is."""
    largest = float(np.finfo(dtype).max)
    low, high = -largest if of.min is None else of.min, largest if of.max is None else of.max
    return max(low, -largest), min(high, largest)


class Encoded(NamedTuple):
    """A column ready for kernels: (n, size) float64 values and, for a category, (n,) uint64 keys."""

    values: NDArray[np.float64]
    keys: NDArray[np.uint64] | None


class Sets(NamedTuple):
    """Sets of categories: (n + 1,) int64 starts, and the (n_categories,) uint64 keys of one set after another.

    The keys of each are sorted as int64, as kernels read them.
    """

    starts: NDArray[np.int64]
    keys: NDArray[np.uint64]


def _set_numbers(columns: Mapping[str, Column]) -> dict[str, int]:
    """Return the number of each column of sets."""
    return {name: s for s, name in enumerate(name for name, c in columns.items() if c.type == "categories")}


class Schema:
    """Where each column stands in an `ColumnArrays`, and how its raw values become numbers.

    Parameters
    ----------
    columns
        The spec's columns of one side, in order.
    vocabulary
        The model's categories by column; a column it lacks has no codes, only keys.

    Attributes
    ----------
    columns
        Those with one value a row.
    sets
        The number of each column of sets of categories, which are kept by the index.
    """

    def __init__(self, columns: Mapping[str, Column], vocabulary: Vocabulary) -> None:
        self.sets = _set_numbers(columns)
        self.columns = {name: column for name, column in columns.items() if name not in self.sets}
        self.offsets: dict[str, int] = {}
        self.key_columns: dict[str, int] = {}
        self.width = 0
        self.n_keys = 1  # the id's own key comes first
        self.bounds: dict[str, tuple[float, float]] = {}
        self._codes: dict[str, tuple[NDArray[np.uint64], NDArray[np.float64]]] = {}
        self._known: dict[tuple[str, Id], tuple[float, int]] = {}
        for name, column in self.columns.items():
            self.offsets[name] = self.width
            self.width += column.size
            self.bounds[name] = number_bounds(column, np.float64)
            if column.type == "category":
                self.key_columns[name] = self.n_keys
                self.n_keys += 1
                keys = id_keys(list(vocabulary.get(name, ())))
                order = np.argsort(keys)
                self._codes[name] = keys[order], order.astype(np.float64)

    def with_sets(self, columns: Mapping[str, Column]) -> Schema:
        """Return the same columns with the sets of categories among others."""
        schema = copy(self)
        schema.sets = _set_numbers(columns)
        return schema

    @property
    def blockable(self) -> dict[str, int]:
        """The number that `BLOCKED_COLUMN` gives each column of categories; sets come after all others."""
        return self.key_columns | {name: self.n_keys + s for name, s in self.sets.items()}

    def encode(self, name: str, raw: object, n: int) -> Encoded:
        """Return ``n`` raw values of a column as numbers and keys.

        Raises
        ------
        InputError
            If the column is unknown, or the values have a wrong length, type or range.
        """
        column = self.columns.get(name)
        if column is None:
            message = f"column: expected one of {', '.join([*self.columns, *self.sets]) or '(none)'}, found {name!r}"
            raise InputError(message)
        if column.type == "category":
            keys = id_keys(raw)
            self._check_shape(name, keys.shape, (n,))
            return Encoded(self.codes(name, keys)[:, None], keys)
        values = as_numbers(raw, f"column {name!r}")
        values = values[:, None] if column.size == 1 and values.ndim == 1 else values
        self._check_shape(name, values.shape, (n, column.size))
        self._check_range(name, values)
        return Encoded(values, None)

    def encode_sets(self, name: str, raw: object, n: int) -> Sets:
        """Return ``n`` sets of a column, each a list of categories, None for an empty one.

        Raises
        ------
        InputError
            If there are not ``n``, one is no list, or a category is missing or neither integer nor string.
        """
        what = f"column {name!r}"
        rows = plain_list(list(raw) if isinstance(raw, np.ndarray) and raw.ndim > 1 else raw, what)
        self._check_shape(name, (len(rows),), (n,))
        items = [[] if row is None else plain_list(row, what) for row in rows]
        counts = np.fromiter(map(len, items), np.int64, n)
        keys = present_keys(list(chain.from_iterable(items)), what)
        row = np.repeat(np.arange(n), counts)
        order = np.lexsort((keys.view(np.int64), row))
        return Sets(np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]), keys[order])

    def encode_one(self, name: str, value: Id) -> tuple[float, int]:
        """Return the model's code (NaN for an unknown one) and the key of one category value.

        Raises
        ------
        InputError
            If an integer has more than 64 bits.
        """
        found = self._known.get((name, value))
        if found is None:
            key = id_key(value)
            found = float(self.codes(name, np.array([key], np.uint64))[0]), key
            if len(self._known) < MOST_KNOWN:
                self._known[name, value] = found
        return found

    def codes(self, name: str, keys: NDArray[np.uint64]) -> NDArray[np.float64]:
        """Return the model's codes of category keys, NaN where the model does not know the category."""
        known, codes = self._codes[name]
        if known.size == 0:
            return np.full(keys.shape, np.nan)
        at = np.minimum(np.searchsorted(known, keys), known.size - 1)
        return np.where(known[at] == keys, codes[at], np.nan)

    def known_categories(self, name: str) -> tuple[NDArray[np.uint64], NDArray[np.float64]] | None:
        """Return the sorted keys of the categories that the model knows and their codes; None for other columns."""
        return self._codes.get(name)

    @staticmethod
    def _check_shape(name: str, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
        if found != expected:
            message = f"column {name!r}: expected values of shape {expected}, found {found}"
            raise InputError(message)

    def _check_range(self, name: str, values: NDArray[np.float64]) -> None:
        least, largest = self.bounds[name]
        bad = (values < least) | (values > largest)
        if bad.any():
            column = self.columns[name]
            low = "-inf" if column.min is None else f"{column.min:g}"
            high = "inf" if column.max is None else f"{column.max:g}"
            message = f"column {name!r}: expected finite numbers from {low} to {high}, found {values[bad][0]}"
            raise InputError(message)

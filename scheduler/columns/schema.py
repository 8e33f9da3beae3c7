"""Typed columns of requests and nodes: raw values in, numbers or keys for kernels out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from itertools import chain
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.arrays import ColumnArrays
from scheduler.columns.ids import Id, id_keys, plain_list, present_keys
from scheduler.columns.values import NumberRule, items_of
from scheduler.errors import InputError, shown
from scheduler.spec import Column

Vocabulary: TypeAlias = Mapping[str, Sequence[Id]]
"""For each category column the values a model knows; a value's code is its position."""

Encoded: TypeAlias = "NDArray[np.float64] | NDArray[np.uint64]"
"""A column ready for kernels: (n, size) numbers, or for a category (n,) keys."""

ALL = slice(None)


class Sets(NamedTuple):
    """Sets of categories: (n + 1,) int64 starts, and the (n_categories,) uint64 keys of one set after another.

    The keys of each are sorted as int64, as kernels read them.
    """

    starts: NDArray[np.int64]
    keys: NDArray[np.uint64]

    def part(self, at: slice) -> Sets:
        """Return consecutive sets."""
        starts = self.starts[at.start : at.stop + 1]
        return Sets(starts - starts[0], self.keys[starts[0] : starts[-1]])

    def cut(self, most: int) -> tuple[Sets, NDArray[np.int64], NDArray[np.uint64]]:
        """Return sets of at most so many categories each, and of which sets (n,) further ones are, and those."""
        sizes = np.diff(self.starts)
        row = np.repeat(np.arange(len(sizes)), sizes)
        stays = np.arange(len(self.keys)) - self.starts[row] < most
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.minimum(sizes, most))])
        return Sets(starts, self.keys[stays]), row[~stays], self.keys[~stays]

    @staticmethod
    def joined(parts: Sequence[Sets]) -> Sets:
        """Return sets that follow each other as one."""
        sizes = np.concatenate([np.diff(part.starts) for part in parts])
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        return Sets(starts, np.concatenate([part.keys for part in parts]))


def _set_numbers(columns: Mapping[str, Column]) -> dict[str, int]:
    """Return the number of each column of sets."""
    return {name: s for s, name in enumerate(name for name, c in columns.items() if c.type == "categories")}


class Schema:
    """Where each column stands in a `ColumnArrays`, and how its raw values become numbers or keys.

    Parameters
    ----------
    columns
        The spec's columns of one side, in order.

    Attributes
    ----------
    columns
        Those with one value a row.
    sets
        The number of each column of sets of categories, which are kept by the index.
    rules
        For each column of numbers or vectors, which numbers it takes.
    offsets, width
        Where each of those begins in `ColumnArrays.values`, and how many numbers a row has.
    key_columns, n_keys
        Where the key of each category stands in `ColumnArrays.keys`, and how many keys a row has.
    """

    def __init__(self, columns: Mapping[str, Column]) -> None:
        self.sets = _set_numbers(columns)
        self.columns = {name: column for name, column in columns.items() if name not in self.sets}
        self.rules: dict[str, NumberRule] = {}
        self.offsets: dict[str, int] = {}
        self.key_columns: dict[str, int] = {}
        self.width = 0
        self.n_keys = 1  # the id's own key comes first
        for name, column in self.columns.items():
            if column.type == "category":
                self.key_columns[name] = self.n_keys
                self.n_keys += 1
            else:
                self.rules[name] = NumberRule(f"column {name!r}", column)
                self.offsets[name] = self.width
                self.width += column.size

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
        """Return ``n`` raw values of a column, (n,) or vectors (n, size), as (n, size) numbers or (n,) keys.

        Raises
        ------
        InputError
            If the column is unknown, or the values have a wrong length, type or range.
        """
        column = self.columns.get(name)
        if column is None:
            raise self.unknown(name)
        if column.type == "category":
            keys = id_keys(raw)
            if len(keys) != n:
                message = f"column {name!r}: expected {n} values, found {len(keys)}"
                raise InputError(message)
            return keys
        rule = self.rules[name]
        return rule.many(raw, n)[:, None] if column.type == "number" else rule.vectors(raw, n, column.size)

    def unknown(self, name: object) -> InputError:
        """Return the error about a column that does not exist."""
        known = ", ".join([*self.columns, *self.sets]) or "(none)"
        return InputError(f"column: expected one of {known}, found {shown(name)}")

    def write(self, columns: ColumnArrays, name: str, encoded: Encoded, rows: NDArray[np.int32] | slice = ALL) -> None:
        """Write what `encode` returned to rows of ``columns``."""
        if name in self.key_columns:
            columns.keys[rows, self.key_columns[name]] = encoded
        else:
            at = self.offsets[name]
            columns.values[rows, at : at + encoded.shape[1]] = encoded

    def encode_sets(self, name: str, raw: object, n: int) -> Sets:
        """Return ``n`` sets of a column, each a list of categories, None for an empty one.

        Raises
        ------
        InputError
            If there are not ``n``, one is no list, or a category is missing or neither integer nor string.
        """
        what = f"column {name!r}"
        items = [[] if row is None else plain_list(row, what) for row in items_of(raw, n, what)]
        counts = np.fromiter(map(len, items), np.int64, n)
        keys = present_keys(list(chain.from_iterable(items)), what)
        row = np.repeat(np.arange(n), counts)
        order = np.lexsort((keys.view(np.int64), row))
        return Sets(np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]), keys[order])

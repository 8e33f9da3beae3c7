"""Typed columns of requests and nodes: raw values in, numbers and keys for kernels out."""

from __future__ import annotations

import hashlib
import math
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scheduler.errors import InputError
from scheduler.layout import MISSING_KEY
from scheduler.spec import Column, Outcome

Id: TypeAlias = int | str
"""An id or a category as the user has it."""

Ids: TypeAlias = "Sequence[Id] | NDArray[Any]"
"""Ids in a list or a one-dimensional array."""

Vocabulary: TypeAlias = Mapping[str, Sequence[Id]]
"""For each category column the values a model knows; a value's code is its position."""

_SPLITMIX = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_GAMMA, _MUL_1, _MUL_2 = map(np.uint64, _SPLITMIX)
_WORD = 0xFFFFFFFFFFFFFFFF


FEW = 8
"""Ids of which each by itself is faster than an array of them."""


def plain_list(values: object, what: str) -> list[Any]:
    """Return a flat sequence as a list of plain Python values; ``what`` names it in messages.

    Raises
    ------
    InputError
        If it is a text, a single value, or an array of other than one dimension.
    """
    flat = values.ndim == 1 if isinstance(values, np.ndarray) else not isinstance(values, str | bytes)
    if not flat or not isinstance(values, Iterable):
        message = f"{what}: expected a list or a one-dimensional array, found {reprlib.repr(values)}"
        raise InputError(message)
    if isinstance(values, np.ndarray) and values.dtype.kind in "biufU":
        return values.tolist()  # all plain already
    items = values.tolist() if isinstance(values, np.ndarray) else list(values)
    return [item.item() if isinstance(item, np.generic) else item for item in items]


def n_distinct(values: NDArray[Any]) -> int:
    """Return how many distinct values (n,) numbers have, by sorting: twenty times faster than a set of them."""
    ordered = np.sort(values)
    return len(ordered) - int((ordered[1:] == ordered[:-1]).sum())


def id_keys(ids: object) -> NDArray[np.uint64]:
    """Return the 64-bit key of each id: the same in every process, for integers and strings.

    Integers go through the splitmix64 finaliser, strings through BLAKE2b. None and NaN give `MISSING_KEY`.

    Parameters
    ----------
    ids
        (n,) integers or strings, possibly mixed in a list.

    Raises
    ------
    InputError
        If a value is neither an integer of 64 bits nor a string nor missing.
    """
    if isinstance(ids, np.ndarray) and ids.dtype.kind in "iu" and ids.ndim == 1:
        return _integer_keys(ids)
    items = plain_list(ids, "ids")
    if len(items) > FEW and set(map(type, items)) == {int}:
        array = np.array(items)
        if array.dtype.kind in "iu":  # of many, 10 times faster than one by one
            return _integer_keys(array)
    return np.fromiter(map(id_key, items), np.uint64, len(items))


def id_key(value: object) -> int:
    """Return the key of one id; see `id_keys`."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING_KEY
    if isinstance(value, str):
        digest = hashlib.blake2b(value.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest, "little") or 1
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**64:
        return _integer_key(value)
    message = f"id or category: expected an integer of 64 bits or a string, found {_described(value)}"
    raise InputError(message)


def present_keys(values: object, what: str, kind: str = "categories") -> NDArray[np.uint64]:
    """Return the keys of ids or categories none of which may be missing; ``what`` and ``kind`` name them in messages.

    Raises
    ------
    InputError
        If one is missing, or neither an integer of 64 bits nor a string.
    """
    keys = id_keys(values)
    if (keys == MISSING_KEY).any():
        message = f"{what}: expected {kind}, found a missing one at {int((keys == MISSING_KEY).argmax())}"
        raise InputError(message)
    return keys


def as_numbers(raw: object, what: str) -> NDArray[np.float64]:
    """Return numbers as float64, None as NaN; ``what`` names them in messages.

    Raises
    ------
    InputError
        If a value is no number, as a text is not even where it spells one, or the shape is ragged.
    """
    try:
        array = np.asarray(raw)
        if array.dtype.kind == "O" and all(v is None or isinstance(v, _NUMBER) for v in array.flat):
            array = array.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.array("")
    if array.dtype.kind not in "fiub":
        message = f"{what}: expected numbers, found {_described(raw)}"
        raise InputError(message)
    with np.errstate(over="ignore"):  # a longdouble may become infinite, which whoever asks refuses
        return array.astype(np.float64, copy=False)


_NUMBER = int | float | np.integer | np.floating


def _described(value: object) -> str:
    return f"{reprlib.repr(value)} ({type(value).__name__})"


def _integer_keys(ids: NDArray[Any]) -> NDArray[np.uint64]:
    z = ids.astype(np.int64, copy=False).view(np.uint64) + _GAMMA
    z = (z ^ (z >> np.uint64(30))) * _MUL_1
    z = (z ^ (z >> np.uint64(27))) * _MUL_2
    z ^= z >> np.uint64(31)
    z[z == MISSING_KEY] = 1
    return z


def _integer_key(value: int) -> int:
    """`_integer_keys` of one integer, in Python's own numbers: a fifth of the time."""
    gamma, first, second = _SPLITMIX
    z = (value + gamma) & _WORD
    z = ((z ^ (z >> 30)) * first) & _WORD
    z = ((z ^ (z >> 27)) * second) & _WORD
    return (z ^ (z >> 31)) or 1


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
    """Where each column stands in an `Entity`, and how its raw values become numbers.

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
    def barrable(self) -> dict[str, int]:
        """The number that `BAR_COLUMN` gives each column of categories; sets come after all others."""
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

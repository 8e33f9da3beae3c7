"""Ids of nodes, clients and categories as 64-bit keys."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.arrays import MISSING_KEY
from scheduler.columns.values import described, plain
from scheduler.errors import InputError, shown
from scheduler.runtime.blake2s import DIGEST_BYTES, MESSAGE_BYTES, PERSON, digests

Id: TypeAlias = int | str
"""An id or a category as the user has it."""

Ids: TypeAlias = "Sequence[Id] | NDArray[Any]"
"""Ids in a list or a one-dimensional array."""

MOST_REMEMBERED = 65_536
"""Ids and categories whose key `remembered_key` remembers."""

FEW = 8
"""Ids of which each by itself is faster than an array of them."""


def plain_list(values: object, what: str) -> list[Any]:
    """Return a flat sequence as a list of plain Python values; ``what`` names it in messages.

    Raises
    ------
    InputError
        If it is a text, a single value, or an array of other than one dimension.
    """
    if type(values) is list:
        return [item if type(item) is int or type(item) is str else plain(item) for item in values]
    flat = values.ndim == 1 if isinstance(values, np.ndarray) else not isinstance(values, str | bytes)
    if not flat or not isinstance(values, Iterable):
        message = f"{what}: expected a list or a one-dimensional array, found {shown(values)}"
        raise InputError(message)
    if isinstance(values, np.ndarray) and values.dtype.kind in "biufU":
        return values.tolist()  # all plain already
    items = values.tolist() if isinstance(values, np.ndarray) else list(values)
    return [plain(item) for item in items]


def n_distinct(values: NDArray[Any]) -> int:
    """Return how many distinct values (n,) numbers have, by sorting: twenty times faster than a set of them."""
    ordered = np.sort(values)
    return len(ordered) - int((ordered[1:] == ordered[:-1]).sum())


def id_keys(ids: object) -> NDArray[np.uint64]:
    """Return the 64-bit key of each id: the same in every process, for integers and strings.

    Integers go through BLAKE2s, strings through BLAKE2b, so nobody can compute two ids of one key. None and NaN give
    `MISSING_KEY`.

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
    value = plain(value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING_KEY
    if isinstance(value, str):
        digest = hashlib.blake2b(value.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest, "little") or 1
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**64:
        number = value.to_bytes(MESSAGE_BYTES, "little", signed=True)
        digest = hashlib.blake2s(number, digest_size=DIGEST_BYTES, person=PERSON).digest()
        return int.from_bytes(digest, "little") or 1
    message = f"id or category: expected an integer of 64 bits or a string, found {described(value)}"
    raise InputError(message)


@lru_cache(maxsize=MOST_REMEMBERED, typed=True)
def remembered_key(value: Id) -> int:
    """Return the key of an integer or a text as `id_key`, and remember it: hashing takes a microsecond."""
    key = id_key(value)
    if len(_values) >= 2 * MOST_REMEMBERED:
        _values.clear()
    _values[key] = value
    return key


_values: dict[int, Id] = {}
"""By key what `remembered_key` hashed last; one that it remembers is mostly among them."""


def value_of(key: int) -> Id | None:
    """Return an integer or a text that `remembered_key` hashed lately, by its key; None for others."""
    return _values.get(key)


def name_of_key(key: int) -> str:
    """Return what stands for an id or a category of which only the key is known."""
    return f"key:{key:016x}"


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


def _integer_keys(ids: NDArray[Any]) -> NDArray[np.uint64]:
    bits = np.ascontiguousarray(ids.astype(np.uint64 if ids.dtype.kind == "u" else np.int64, copy=False)).view(
        np.uint64
    )
    ninth = np.where(ids < 0, np.uint32(0xFF), np.uint32(0))
    keys = np.empty(len(bits), np.uint64)
    digests(bits, ninth, keys)
    keys[keys == MISSING_KEY] = 1
    return keys

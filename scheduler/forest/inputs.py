"""What callers of a forest pass in: arrays of the right shape and type, or an error that names them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scheduler.errors import InputError, shown

WORD, DOUBLE, SINGLE = np.dtype(np.uint64), np.dtype(np.float64), np.dtype(np.float32)


def as_array(values: object, name: str) -> NDArray[Any]:
    """Return values as an array.

    Raises
    ------
    InputError
        If they have no shape, as lists of different lengths have not.
    """
    try:
        return np.asarray(values)
    except (ValueError, TypeError, OverflowError) as error:
        message = f"{name}: expected numbers, found {shown(values)}"
        raise InputError(message) from error


def kind_of(value: object) -> str:
    """Return what a message says of an array or of what is none."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    return type(value).__name__


def numbers(values: ArrayLike, name: str) -> NDArray[np.floating]:
    """Contiguous float32 or float64; other numbers become float64."""
    array = as_array(values, name)
    if (array.dtype is SINGLE or array.dtype is DOUBLE) and array.flags.c_contiguous:
        return array
    if array.dtype not in (DOUBLE, SINGLE):
        if array.dtype.kind not in "fiub":
            message = f"{name}: expected numbers, found {kind_of(array)}"
            raise InputError(message)
        array = array.astype(np.float64)
    return np.ascontiguousarray(array)


def matrix(values: ArrayLike, name: str, width: int) -> NDArray[np.floating]:
    """Return numbers of shape (n, width), as `numbers`; raise `InputError` for another shape."""
    array = numbers(values, name)
    if array.ndim != 2 or array.shape[1] != width:  # noqa: PLR2004
        message = f"{name}: expected shape (n, {width}), found {array.shape}"
        raise InputError(message)
    return array


def listed(values: object, name: str) -> list[Any]:
    """Return what is in a list or an array; raise `InputError` for a single value, a text or a mapping."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable) or getattr(values, "ndim", 1) == 0:
        message = f"{name}: expected a list, found {shown(values)}"
        raise InputError(message)
    return list(values)


def columns_of(columns: object, name: str) -> tuple[int, ...]:
    """Return numbers of columns; raise `InputError` for what are no integers."""
    given = [column.item() if isinstance(column, np.generic) else column for column in listed(columns, name)]
    if not all(isinstance(column, int) and not isinstance(column, bool) for column in given):
        message = f"{name}: expected numbers of columns, found {shown(columns)}"
        raise InputError(message)
    return tuple(given)


def is_native(indices: NDArray[Any]) -> bool:
    """Return whether kernels can read integers."""
    return indices.dtype.kind in "iu" and indices.dtype.isnative


def is_row_array(array: object, shape: tuple[int, ...]) -> bool:
    """Return whether kernels can read rows of masks, of a shape."""
    return (
        isinstance(array, np.ndarray)
        and (array.dtype is WORD or array.dtype == WORD)
        and array.shape == shape
        and array.flags.c_contiguous
    )

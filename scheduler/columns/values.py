"""Values as callers pass them, and the rule for numbers: the same for one and for many.

Many numbers are converted at once if numpy sees plain numbers and all are in range. Otherwise the rule converts them
one by one, so that one and many accept the same values and refuse others in the same words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scheduler.errors import InputError, shown
from scheduler.spec import Column, Outcome

_Converter: TypeAlias = "Callable[[object], float | NDArray[np.float64]]"
_NUMBER = int | float | np.integer | np.floating | np.bool_


class NumberRule:
    """Which numbers a column or an outcome takes; NaN and None are missing.

    Parameters
    ----------
    what
        Names the column or outcome in messages.
    of
        Gives the least and the largest number.
    dtype
        In which numbers are stored; those that are infinite in it are refused. Bounds are rounded outwards to it, so
        that a number at a bound may come in that precision.
    """

    __slots__ = ("_expected", "_high", "_low", "what")

    def __init__(self, what: str, of: Column | Outcome, dtype: type[np.floating[Any]] = np.float64) -> None:
        self.what = what
        largest = float(np.finfo(dtype).max)
        low, high = -largest if of.min is None else of.min, largest if of.max is None else of.max
        low, high = max(low, -largest), min(high, largest)
        self._low, self._high = min(low, float(dtype(low))), max(high, float(dtype(high)))
        self._expected = "a finite number" if dtype is np.float64 else f"a finite {8 * dtype().itemsize}-bit number"
        if of.min is not None or of.max is not None:
            self._expected += f" from {-math.inf if of.min is None else of.min:g}"
            self._expected += f" to {math.inf if of.max is None else of.max:g}"

    def one(self, value: object) -> float:
        """Return a number as a float.

        Raises
        ------
        InputError
            If it is no number, as a text is not even where it spells one, or out of range.
        """
        x = value if type(value) is float else as_number(value, self.what)
        if x < self._low or x > self._high:
            message = f"{self.what}: expected {self._expected}, found {shown(plain(value))}"
            raise InputError(message)
        return x

    def many(self, raw: object, n: int) -> NDArray[np.float64]:
        """Return ``n`` numbers; see `one`."""
        return self._converted(raw, (n,), self.one)

    def vector(self, value: object, size: int) -> NDArray[np.float64]:
        """Return a vector of ``size`` numbers; see `one`."""
        return self._converted(value, (size,), self.one)

    def vectors(self, raw: object, n: int, size: int) -> NDArray[np.float64]:
        """Return (n, size) vectors; see `one`."""
        return self._converted(raw, (n, size), lambda value: self.vector(value, size))

    def _converted(self, raw: object, shape: tuple[int, ...], one: _Converter) -> NDArray[np.float64]:
        """Return numbers of a shape; ``one`` converts each item of ``raw`` unless all are plain numbers in range."""
        array = _numeric(raw)
        if array is None or array.shape != shape or ((array < self._low) | (array > self._high)).any():
            items = [one(item) for item in items_of(raw, shape[0], self.what)]
            return np.array(items, np.float64).reshape(shape)
        return array


def as_number(value: object, what: str) -> float:
    """Return one number as a float: None as NaN, a number that is too large for a float as infinity.

    Raises
    ------
    InputError
        If it is no number; ``what`` names it in the message.
    """
    if value is None:
        return math.nan
    if not isinstance(value, _NUMBER) or isinstance(value, np.timedelta64):
        array = _numeric(value)
        if array is None or array.ndim > 0:
            message = f"{what}: expected a number, found {described(value)}"
            raise InputError(message)
        value = array.item()
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def positive_seconds(name: str, value: object) -> float:
    """Return seconds; infinity is, as never.

    Raises
    ------
    InputError
        If they are no number above 0.
    """
    seconds = plain(value)
    if not isinstance(seconds, float | int) or isinstance(seconds, bool) or not seconds > 0.0:
        message = f"{name}: expected seconds, more than 0, found {shown(value)}"
        raise InputError(message)
    return as_number(seconds, name)


def as_mapping(values: object, what: str) -> Mapping[str, Any]:
    """Return values by name.

    Raises
    ------
    InputError
        If they come in no mapping; ``what`` names them in the message.
    """
    if not isinstance(values, Mapping):
        message = f"{what}: expected values by name, found {shown(values)}"
        raise InputError(message)
    return values


def names_of(values: Mapping[Any, object]) -> str:
    """Return the names of values for a message."""
    return ", ".join(name if isinstance(name, str) else shown(name) for name in values)


def is_single(raw: object) -> bool:
    """Return whether an argument that may hold many values is a single one."""
    if isinstance(raw, np.ndarray):
        return raw.ndim == 0
    return not isinstance(raw, Iterable) or isinstance(raw, str | bytes | Mapping)


def items_of(raw: object, n: int, what: str) -> list[Any]:
    """Return the ``n`` items of a list or an array.

    Raises
    ------
    InputError
        If it is a single value, or there are not ``n``; ``what`` names it in the message.
    """
    if is_single(raw):
        message = f"{what}: expected a list or an array of {n} values, found {described(raw)}"
        raise InputError(message)
    items = list(raw)  # type: ignore[call-overload]
    if len(items) != n:
        message = f"{what}: expected {n} values, found {len(items)}"
        raise InputError(message)
    return items


def described(value: object) -> str:
    """Return a value and its type for a message."""
    value = plain(value)
    return f"{shown(value)} ({type(value).__name__})"


def plain(value: object) -> object:
    """Return a scalar of numpy as one of Python, and anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def _numeric(raw: object) -> NDArray[np.float64] | None:
    """Return numbers as float64; None if numpy does not see plain numbers in them."""
    try:
        array = np.asarray(raw)
    except (TypeError, ValueError, OverflowError):
        return None
    if array.dtype.kind not in "fiub":
        return None
    with np.errstate(over="ignore"):  # a longdouble may become infinite, which is out of every range
        return array.astype(np.float64, copy=False)

"""Errors that mean too little memory, whichever library raises them, told in one line."""

from __future__ import annotations

import errno
import linecache
import re
import traceback
from collections.abc import Iterator

_WORDS = re.compile(
    r"bad.?alloc|unable to allocate|cannot allocate memory|out.?of.?memory|memory allocation|allocation failed"
    r"|array is too big|maximum allowed (dimension|size) exceeded",
    re.IGNORECASE,
)
"""How LightGBM, Polars, Arrow and numpy say it where their errors have no type for it."""

_KINDS = ("polars", "lightgbm", "pyarrow", "numpy", "pyo3_runtime")
"""Libraries whose errors are searched for these words, besides Python's own."""

_WORKERS = "KilledWorker"
"""Dask's error where a task's workers died one after the other, which want of memory makes them do."""

_OURS = ("training", "scheduler")
"""Packages whose functions are told."""

_LONGEST = 300
"""Characters of a library's words that are told."""


def is_shortage(error: BaseException) -> bool:
    """Tell whether an error, or what it was raised from, means that memory did not suffice."""
    return any(_is_one(cause) for cause in _causes(error))


def describe_shortage(error: BaseException) -> str:
    """Return one line that says what was too large, and where in this library.

    Parameters
    ----------
    error
        One that `is_shortage` knows.
    """
    found = next((cause for cause in _causes(error) if _is_one(cause)), error)
    said = " ".join(str(found).split())[:_LONGEST]
    if type(found).__name__ == _WORKERS:
        said = f"workers of the cluster died over and over, as they do for want of memory ({said})"
    return f"memory: expected enough for {_place(error)}, found too little: {said or 'nothing more could be allocated'}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _is_one(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == _WORKERS:
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    kind = type(error)
    told = kind.__module__.startswith(_KINDS) or kind in (ValueError, RuntimeError, OSError)
    return told and _WORDS.search(str(error)) is not None


def _place(error: BaseException) -> str:
    """Return the innermost function of this library that the error went through, with the line that it was at."""
    place = "this command"
    for frame, number in traceback.walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__"))
        if module.partition(".")[0] in _OURS:
            line = linecache.getline(frame.f_code.co_filename, number).strip()
            place = f"{module}.{frame.f_code.co_name}, at `{line}`"
    return place

"""Columns that stand in the names of folders, as in ``telemetry/slice=12/workload=0132/part.parquet``."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn, TypeAlias
from urllib.parse import unquote

from scheduler.errors import DataError
from training.telemetry.files.kinds import BOOLEAN, ID, INTEGER, NUMBER, TIME

Value: TypeAlias = bool | int | float | str | None

NULL = "__HIVE_DEFAULT_PARTITION__"
"""What writers of partitions name the folder of rows that have no value."""

_INTEGER = re.compile(r"[+-]?[0-9]+")
_BOOLEANS = {"true": True, "false": False}
_INT64 = 2**63


def partitions(file: Path, root: Path) -> dict[str, str | None]:
    """Return what the folders between ``root`` and a file say of its rows, as texts; None for no value.

    Raises
    ------
    DataError
        If two folders name the same column.
    """
    found: dict[str, str | None] = {}
    for part in file.relative_to(root).parts[:-1]:
        name, sign, text = part.partition("=")
        if not sign or not name:
            continue
        name = unquote(name)
        if name in found:
            raise DataError(f"{file}: expected one folder for column {name!r}, found two")
        found[name] = None if text == NULL else unquote(text)
    return found


def typed(file: Path, name: str, text: str | None, kind: str, *, texts: bool = True) -> Value:
    """Return what a folder's name says as a value of the column's kind.

    Parameters
    ----------
    kind
        One of `training.telemetry.files.kinds`.
    texts
        Whether a column of kind `ID` holds texts. They stay as they are written: no digits become a number.

    Raises
    ------
    DataError
        If it is none.
    """
    if text is None or (kind == ID and texts):
        return text
    if kind in (ID, INTEGER):
        return _integer(file, name, text)
    if kind == BOOLEAN:
        if text.lower() not in _BOOLEANS:
            _refuse(file, name, "true or false", text)
        return _BOOLEANS[text.lower()]
    return _number(file, name, text, kind)


def _integer(file: Path, name: str, text: str) -> int:
    if _INTEGER.fullmatch(text) is None or not -_INT64 <= int(text) < _INT64:
        _refuse(file, name, "an integer of 64 bits", text)
    return int(text)


def _number(file: Path, name: str, text: str, kind: str) -> float:
    try:
        return float(text)
    except ValueError:
        if kind == NUMBER:
            _refuse(file, name, kind, text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        _refuse(file, name, TIME, text)
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


def _refuse(file: Path, name: str, expected: str, found: str) -> NoReturn:
    raise DataError(f"{file}: folder of column {name!r}: expected {expected}, found {found!r}")

"""Refuse what a spec may not say, by an error that names the key, what was expected and what was found."""

from __future__ import annotations

from typing import NoReturn

from scheduler.errors import SpecError, shown
from scheduler.spec.duration import seconds
from scheduler.spec.types import Column


def refuse(where: str, expected: str, found: object) -> NoReturn:
    """Raise `SpecError` that names the key, what was expected and what was found."""
    message = f"{where}: expected {expected}, found {shown(found)}"
    raise SpecError(message)


def one_of(where: str, name: str, known: object) -> None:
    """Refuse a name that is not among the known ones."""
    names = sorted(known)  # type: ignore[call-overload]
    if name not in names:
        refuse(where, "one of " + (", ".join(names) or "(none defined)"), name)


def duration(where: str, text: str) -> None:
    """Refuse a text that is no duration."""
    try:
        seconds(text)
    except SpecError as error:
        message = f"{where}: {error}"
        raise SpecError(message) from None


def in_range(where: str, value: float, low: float, high: float) -> None:
    """Refuse a number that is not in a range; NaN never is."""
    if not low <= value <= high:  # false for NaN too
        refuse(where, f"a number from {low:g} to {high:g}", value)


def typed(where: str, column: str, columns: dict[str, Column], types: tuple[str, ...]) -> None:
    """Refuse a column that is not there or of another type."""
    one_of(where, column, columns)
    if columns[column].type not in types:
        refuse(f"{where} ({column})", "a column of type " + " or ".join(types), columns[column].type)

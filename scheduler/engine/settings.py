"""Settings of a scheduler that are no part of a spec: they are checked here, and kept with a snapshot."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NotRequired, TypedDict

from scheduler.columns.values import plain, positive_seconds
from scheduler.decisions.first_id import LAST_ID, new_first_id
from scheduler.errors import InputError, shown
from scheduler.history.store import checked_capacity
from scheduler.runtime.growable_array import MOST_ROWS

REMEMBERED = 65_536
"""Decisions whose outcome is still awaited, at 1,000 a second about a minute of them."""

MOST_REMEMBERED = 1 << 28
"""Decisions that a log may hold: some 60 GB. More are a slip."""

LEAST_KEY_BYTES = 16
"""Of a key: 128 bits cannot be guessed."""

SECRET_BITS = 63
"""Of a secret that is drawn: as many as a snapshot keeps in an integer."""


class Settings(TypedDict):
    """What `scheduler.Scheduler` takes by name; see there."""

    seed: NotRequired[int]
    remember: NotRequired[int]
    first_id: NotRequired[int | None]
    history_capacity: NotRequired[int | None]
    max_nodes: NotRequired[int]
    forget_after: NotRequired[float]
    token_key: NotRequired[bytes | None]
    secret: NotRequired[int | None]


class CheckedSettings(TypedDict):
    """All settings, each of them right."""

    seed: int
    remember: int
    first_id: int
    history_capacity: int | None
    max_nodes: int
    forget_after: float
    token_key: bytes | None
    secret: int


def check_settings(settings: Settings) -> CheckedSettings:
    """Return all settings, those left out at their defaults.

    Raises
    ------
    InputError
        Naming the setting that is wrong.
    """
    capacity = settings.get("history_capacity")
    first_id, secret = settings.get("first_id"), settings.get("secret")
    return CheckedSettings(
        seed=_integer("seed", settings.get("seed", 0), 0, LAST_ID),
        remember=_integer("remember", settings.get("remember", REMEMBERED), 1, MOST_REMEMBERED),
        first_id=_integer("first_id", new_first_id() if first_id is None else first_id, 0, LAST_ID),
        history_capacity=None if capacity is None else checked_capacity(capacity, "history_capacity"),
        max_nodes=_integer("max_nodes", settings.get("max_nodes", MOST_ROWS), 1, MOST_ROWS),
        forget_after=positive_seconds("forget_after", settings.get("forget_after", math.inf)),
        token_key=_key(settings.get("token_key")),
        secret=_integer("secret", secrets.randbits(SECRET_BITS) if secret is None else secret, 0, LAST_ID),
    )


@contextmanager
def memory_for(setting: str, value: int) -> Iterator[None]:
    """Make arrays that a setting sizes; raise `InputError` where the machine has no memory for them."""
    try:
        yield
    except MemoryError as error:
        message = f"{setting}: expected a number that memory is there for, found {value:,} ({error})"
        raise InputError(message) from error


def _key(key: object) -> bytes | None:
    if key is not None and (not isinstance(key, bytes) or len(key) < LEAST_KEY_BYTES):
        found = f"{len(key)} bytes" if isinstance(key, bytes) else type(key).__name__
        message = f"token_key: expected at least {LEAST_KEY_BYTES} bytes, found {found}"
        raise InputError(message)
    return key


def _integer(name: str, value: object, low: int, high: int) -> int:
    value = plain(value)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        bound = f"{low} or more" if high == LAST_ID else f"{low} to {high}"
        message = f"{name}: expected an integer of {bound}, found {shown(value)}"
        raise InputError(message)
    return value

"""A dict spread over many small ones, so that growing never takes long."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

SHARDS = 1_024
"""Dicts that keys are spread over: one dict of a million ids stops for 50 ms when it grows, one of a thousand for 0.02.
Keys spread evenly, so all grow at about the same time, and a call of 64 nodes may meet 64 of them."""


class ShardedDict(Generic[K, V]):
    """A mapping without order; a key that cannot be hashed raises `TypeError`, as in a dict."""

    __slots__ = ("_shards",)

    def __init__(self) -> None:
        self._shards: list[dict[K, V]] = [{} for _ in range(SHARDS)]

    def __contains__(self, key: object) -> bool:
        return key in self._shards[hash(key) % SHARDS]

    def __setitem__(self, key: K, value: V) -> None:
        self._shards[hash(key) % SHARDS][key] = value

    def discard(self, key: K) -> None:
        """Forget a key; one that is not held is no error."""
        self._shards[hash(key) % SHARDS].pop(key, None)

    def get(self, key: K) -> V | None:
        """Return the value of a key, None where there is none."""
        return self._shards[hash(key) % SHARDS].get(key)

    def take(self, keys: Iterable[K]) -> list[V]:
        """Return the values of many keys; raises `KeyError` where one has none."""
        shards = self._shards
        return [shards[hash(key) % SHARDS][key] for key in keys]

    def take_or(self, keys: Iterable[K], default: V) -> list[V]:
        """Return the values of many keys, ``default`` where one has none."""
        shards = self._shards
        return [shards[hash(key) % SHARDS].get(key, default) for key in keys]

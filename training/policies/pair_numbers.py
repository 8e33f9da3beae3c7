"""Numbers for the pairs of client and node that were seen, so that memory grows with these alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scheduler.runtime.jit import kernel

BLOCK = 65_536
"""Pairs that room is made for at once: each of them may be new, and mostly few are."""

FIRST = 1_024
"""Places of an empty table, a power of two."""


class PairNumbers:
    """Pairs numbered from 0 in the order in which they were first seen.

    A hash table with open addressing (linear probing), at most half full. Each pair takes 8 bytes and up to four places
    of 4 bytes.

    Parameters
    ----------
    n_nodes
        Rows in the table of nodes.
    """

    def __init__(self, n_nodes: int) -> None:
        self._n_nodes = n_nodes
        self._n = 0
        self._keys = np.zeros(FIRST // 2, np.int64)
        self._places = np.full(FIRST, -1, np.int32)

    def __len__(self) -> int:
        """Return how many pairs were seen."""
        return self._n

    def add(self, client: NDArray[np.integer], node: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the (n,) numbers of pairs, new ones for those that were never seen."""
        keys = self._key(client, node)
        numbers = np.empty(keys.size, np.int64)
        for first in range(0, keys.size, BLOCK):
            block = slice(first, first + BLOCK)
            self._make_room(self._n + numbers[block].size)
            self._n = _add(self._places, self._keys, self._n, keys[block], numbers[block])
        return numbers

    def find(self, client: NDArray[np.integer], node: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the numbers of pairs in the shape that client and node have together, -1 where never seen."""
        keys = self._key(client, node)
        numbers = np.empty(keys.size, np.int64)
        _find(self._places, self._keys, keys.ravel(), numbers)
        return numbers.reshape(keys.shape)

    def _key(self, client: NDArray[np.integer], node: NDArray[np.integer]) -> NDArray[np.int64]:
        return client.astype(np.int64) * self._n_nodes + node

    def _make_room(self, n: int) -> None:
        """Let ``n`` pairs fill the table by no more than half."""
        if n <= len(self._keys):
            return
        size = len(self._places)
        while 2 * n > size:
            size *= 2
        keys = np.zeros(size // 2, np.int64)
        keys[: self._n] = self._keys[: self._n]
        self._keys, self._places = keys, np.full(size, -1, np.int32)
        _number_again(self._places, keys, self._n)


@kernel
def _place_of(places: np.ndarray, keys: np.ndarray, key: int) -> int:
    """Return the place that holds a key, or the free one where it belongs."""
    last = places.size - 1
    # Fibonacci hashing (Knuth, The Art of Computer Programming 3, 6.4): the high half of the product is well mixed.
    at = np.int64((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) & last
    while places[at] >= 0 and keys[places[at]] != key:
        at = (at + 1) & last
    return int(at)


@kernel
def _add(places: np.ndarray, keys: np.ndarray, n: int, asked: np.ndarray, out: np.ndarray) -> int:
    for i in range(asked.size):
        at = _place_of(places, keys, asked[i])
        if places[at] < 0:
            places[at] = n
            keys[n] = asked[i]
            n += 1
        out[i] = places[at]
    return n


@kernel
def _find(places: np.ndarray, keys: np.ndarray, asked: np.ndarray, out: np.ndarray) -> None:
    for i in range(asked.size):
        out[i] = places[_place_of(places, keys, asked[i])]


@kernel
def _number_again(places: np.ndarray, keys: np.ndarray, n: int) -> None:
    for number in range(n):
        places[_place_of(places, keys, keys[number])] = number

"""Ids as they are written: as they are, or hashed with a key, so that records name nobody."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.arrays import MISSING_KEY
from scheduler.columns.id_table import OWN_ID, IdTable
from scheduler.columns.ids import MOST_REMEMBERED
from scheduler.errors import InputError

KEY_BYTES: Final = (16, 64)
"""Least and most bytes of a key; BLAKE2b takes 64 at most."""

TEXT_BYTES: Final = 16
"""Of a hashed id, written as hexadecimal digits: no two of 2**60 ids are likely to meet."""


def id_columns(table: IdTable) -> tuple[int, ...]:
    """Return the key columns of a table that hold ids."""
    return (0, table.schema.key_columns[OWN_ID]) if table.knows_own_id else (0,)


class IdHasher:
    """Turns ids of clients and nodes into what is written of them.

    Parameters
    ----------
    key
        Of the hash, `KEY_BYTES` long; None leaves ids as they are.
    clients, nodes
        Tables of ids, which say which key columns hold some.
    """

    def __init__(self, key: object, clients: IdTable, nodes: IdTable) -> None:
        if key is not None and not (isinstance(key, bytes) and KEY_BYTES[0] <= len(key) <= KEY_BYTES[1]):
            found = f"{len(key)} bytes" if isinstance(key, bytes) else type(key).__name__
            message = f"key: expected {KEY_BYTES[0]} to {KEY_BYTES[1]} bytes, found {found}"
            raise InputError(message)
        self.is_on = key is not None
        self._request, self._node = id_columns(clients), id_columns(nodes)
        self._widths = clients.schema.n_keys, nodes.schema.n_keys
        if key is not None:
            self._text, self._one = _hashes(key)

    def texts(self, names: list[str]) -> list[str]:
        """Return ids as they are written; "" is no id."""
        return [self._text(name) if name else "" for name in names] if self.is_on else names

    def keys(self, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Return the keys of ids, of any shape, as they are written."""
        if not self.is_on:
            return keys
        distinct, which = np.unique(keys, return_inverse=True)
        hashed = np.array([self._one(key) for key in distinct.tolist()], np.uint64)
        return hashed[which].reshape(keys.shape)

    def request_keys(self, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Return the key columns of requests, (..., n_keys), as they are written."""
        return self._some(keys, self._request)

    def node_keys(self, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Return the key columns of nodes, (..., n_keys), as they are written."""
        return self._some(keys, self._node)

    def categories(
        self, request_keys: NDArray[np.uint64], node_keys: NDArray[np.uint64]
    ) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Return the keys that are those of categories, of requests and of nodes, rows of any width."""
        n_request, n_node = self._widths
        requests, nodes = request_keys.reshape(-1, n_request), node_keys.reshape(-1, n_node)
        return np.delete(requests, self._request, axis=1), np.delete(nodes, self._node, axis=1)

    def _some(self, keys: NDArray[np.uint64], columns: Sequence[int]) -> NDArray[np.uint64]:
        if self.is_on:
            for column in columns:
                keys[..., column] = self.keys(keys[..., column])
        return keys


def _hashes(key: bytes) -> tuple[Any, Any]:
    """Return a hash of texts and one of 64-bit keys; both remember what they hashed last."""

    @lru_cache(MOST_REMEMBERED)
    def text(name: str) -> str:
        data = name.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(data, key=key, digest_size=TEXT_BYTES).hexdigest()

    @lru_cache(MOST_REMEMBERED)
    def one(word: int) -> int:
        if word == MISSING_KEY:
            return MISSING_KEY
        digest = hashlib.blake2b(word.to_bytes(8, "little"), key=key, digest_size=8).digest()
        return int.from_bytes(digest, "little") or 1

    return text, one

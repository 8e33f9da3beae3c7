"""Decisions as short texts that outcomes travel with, to whichever process takes them in."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from typing import Final, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from scheduler.errors import InputError, shown

VERSION: Final = 2
"""Version 1 had other keys for ids that are integers."""

SIGNATURE_BYTES: Final = 16
"""Of HMAC-SHA256: as hard to guess as a key of 128 bits."""

MOST_CHARACTERS: Final = 65_536
"""Of a token: far above a slate of 255 nodes with ten columns."""

_HEAD = struct.Struct("<BBBBB8sqqd")
_LAYOUT_BYTES: Final = 8


class Token(NamedTuple):
    """What of a decision its outcome needs.

    Attributes
    ----------
    layout
        The first 16 hexadecimal digits of the spec's fingerprint: what the keys mean.
    id
        Of the decision.
    scheduler
        First id of the scheduler that decided: it tells schedulers, and their lives between restarts, apart.
    time
        When it was made, in seconds.
    length
        How many nodes the slate has; further ones are alternatives.
    request_keys
        (n_keys,) uint64, the columns of the request that history keys are made of.
    node_keys
        (n, n_keys) uint64, those of the slate's nodes and of the alternatives.
    held
        (n,) float64, kbit/s reserved.
    """

    layout: str
    id: int
    scheduler: int
    time: float
    length: int
    request_keys: NDArray[np.uint64]
    node_keys: NDArray[np.uint64]
    held: NDArray[np.float64]


def write_token(token: Token, key: bytes | None) -> str:
    """Return a token as text, signed with a key where there is one."""
    n, n_node_keys = token.node_keys.shape
    sizes = VERSION, len(token.request_keys), n_node_keys, n, token.length
    head = _HEAD.pack(*sizes, bytes.fromhex(token.layout), token.id, token.scheduler, token.time)
    arrays = (token.request_keys.astype("<u8"), token.node_keys.astype("<u8"), token.held.astype("<f8"))
    body = head + b"".join(array.tobytes() for array in arrays)
    return base64.urlsafe_b64encode(body + _signature(body, key)).decode().rstrip("=")


def read_token(text: object, key: bytes | None) -> Token:
    """Return what a text says.

    Raises
    ------
    InputError
        If it is no token, or was not signed with the key.
    """
    if not isinstance(text, str) or len(text) > MOST_CHARACTERS:
        _refuse("a text", shown(text))
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        _refuse("one of letters, digits, - and _", shown(text))
    body = data[: len(data) - SIGNATURE_BYTES] if key is not None else data
    if len(body) < _HEAD.size:
        _refuse(f"at least {_HEAD.size} bytes", len(body))
    version, n_request, n_node, n, length, layout, id_, scheduler, time = _HEAD.unpack_from(body)
    if version != VERSION:
        _refuse(f"one of format {VERSION}", version)
    expected = _HEAD.size + 8 * (n_request + n * n_node + n)
    if len(body) != expected:
        signed = " without a signature" if len(body) == expected + SIGNATURE_BYTES else ""
        _refuse(f"{expected} bytes{signed}", len(body))
    if key is not None and not hmac.compare_digest(_signature(body, key), data[len(body) :]):
        _refuse("one that was signed with token_key", "another")
    words = np.frombuffer(body, "<u8", offset=_HEAD.size).astype(np.uint64)
    nodes, held = words[n_request : n_request + n * n_node].reshape(n, n_node), words[n_request + n * n_node :]
    return Token(layout.hex(), id_, scheduler, time, length, words[:n_request], nodes, held.view(np.float64))


def layout_of(fingerprint: str) -> str:
    """Return what a token says of a spec's fingerprint."""
    return hashlib.sha256(fingerprint.encode()).hexdigest()[: 2 * _LAYOUT_BYTES]


def _signature(body: bytes, key: bytes | None) -> bytes:
    return b"" if key is None else hmac.digest(key, body, "sha256")[:SIGNATURE_BYTES]


def _refuse(expected: object, found: object) -> NoReturn:
    message = f"token: expected {expected}, found {found}"
    raise InputError(message)

"""Hash integers by BLAKE2s (RFC 7693), many at once: `hashlib` takes a microsecond for each, this kernel some 20 ns.

The message of an integer is its nine bytes, the least first, in two's complement: all of -2**63 to 2**64 - 1 differ.
`PERSON` keeps the hashes of integers apart from those of texts.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np

from scheduler.runtime.jit import inlined, kernel

DIGEST_BYTES: Final = 8

MESSAGE_BYTES: Final = 9

PERSON: Final = b"integer"
"""What BLAKE2 calls personalization: with another one all hashes are others."""

Words: TypeAlias = tuple[
    np.uint32, np.uint32, np.uint32, np.uint32, np.uint32, np.uint32, np.uint32, np.uint32,
    np.uint32, np.uint32, np.uint32, np.uint32, np.uint32, np.uint32, np.uint32, np.uint32,
]  # fmt: skip
"""Working variables of a round."""

_IV: Final = (
    0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19,
)  # fmt: skip
"""Initialization vector of RFC 7693, section 2.6."""

_PARAMETERS: Final = bytes([DIGEST_BYTES, 0, 1, 1]) + bytes(20) + PERSON.ljust(8, b"\0")
"""The parameter block: length of the digest, no key, fan-out and depth 1, nothing of trees, no salt, the person."""

_STATE: Final = tuple(
    np.uint32(word ^ int.from_bytes(_PARAMETERS[4 * i : 4 * i + 4], "little")) for i, word in enumerate(_IV)
)

_START: Final = (
    *_STATE,
    *map(np.uint32, _IV[:4]),
    np.uint32(_IV[4] ^ MESSAGE_BYTES),
    np.uint32(_IV[5]),
    np.uint32(_IV[6] ^ 0xFFFFFFFF),  # it is the last block
    np.uint32(_IV[7]),
)
"""Working variables before the first round of the only block."""

_O: Final = np.uint32(0)
"""A word of the message that is zero, as all but the first three are."""


@inlined
def _turned(x: np.uint32, left: int, right: int) -> np.uint32:
    return (x << np.uint32(left)) | (x >> np.uint32(right))


@inlined
def _g(
    a: np.uint32, b: np.uint32, c: np.uint32, d: np.uint32, x: np.uint32, y: np.uint32
) -> tuple[np.uint32, np.uint32, np.uint32, np.uint32]:
    """Mix two words of the message into four working variables: function G of section 3.1."""
    a = np.uint32(a + b + x)
    d = _turned(np.uint32(d ^ a), 16, 16)
    c = np.uint32(c + d)
    b = _turned(np.uint32(b ^ c), 20, 12)
    a = np.uint32(a + b + y)
    d = _turned(np.uint32(d ^ a), 24, 8)
    c = np.uint32(c + d)
    b = _turned(np.uint32(b ^ c), 25, 7)
    return a, b, c, d


@inlined
def _round(
    v: Words,
    m0: np.uint32, m1: np.uint32, m2: np.uint32, m3: np.uint32, m4: np.uint32, m5: np.uint32, m6: np.uint32,
    m7: np.uint32, m8: np.uint32, m9: np.uint32, m10: np.uint32, m11: np.uint32, m12: np.uint32, m13: np.uint32,
    m14: np.uint32, m15: np.uint32,
) -> Words:  # fmt: skip
    """Mix the message into the working variables: one round of section 3.2."""
    v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13, v14, v15 = v
    v0, v4, v8, v12 = _g(v0, v4, v8, v12, m0, m1)
    v1, v5, v9, v13 = _g(v1, v5, v9, v13, m2, m3)
    v2, v6, v10, v14 = _g(v2, v6, v10, v14, m4, m5)
    v3, v7, v11, v15 = _g(v3, v7, v11, v15, m6, m7)
    v0, v5, v10, v15 = _g(v0, v5, v10, v15, m8, m9)
    v1, v6, v11, v12 = _g(v1, v6, v11, v12, m10, m11)
    v2, v7, v8, v13 = _g(v2, v7, v8, v13, m12, m13)
    v3, v4, v9, v14 = _g(v3, v4, v9, v14, m14, m15)
    return v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13, v14, v15


@inlined
def _digest(a: np.uint32, b: np.uint32, c: np.uint32) -> np.uint64:
    """Return the digest of a message of three words; each round takes them in its order of section 2.7."""
    v = _START
    v = _round(v, a, b, c, _O, _O, _O, _O, _O, _O, _O, _O, _O, _O, _O, _O, _O)
    v = _round(v, _O, _O, _O, _O, _O, _O, _O, _O, b, _O, a, c, _O, _O, _O, _O)
    v = _round(v, _O, _O, _O, a, _O, c, _O, _O, _O, _O, _O, _O, _O, b, _O, _O)
    v = _round(v, _O, _O, _O, b, _O, _O, _O, _O, c, _O, _O, _O, _O, a, _O, _O)
    v = _round(v, _O, a, _O, _O, c, _O, _O, _O, _O, b, _O, _O, _O, _O, _O, _O)
    v = _round(v, c, _O, _O, _O, a, _O, _O, _O, _O, _O, _O, _O, _O, _O, b, _O)
    v = _round(v, _O, _O, b, _O, _O, _O, _O, _O, a, _O, _O, _O, _O, c, _O, _O)
    v = _round(v, _O, _O, _O, _O, _O, b, _O, _O, _O, a, _O, _O, _O, _O, c, _O)
    v = _round(v, _O, _O, _O, _O, _O, _O, a, _O, _O, c, _O, _O, b, _O, _O, _O)
    v = _round(v, _O, c, _O, _O, _O, _O, b, _O, _O, _O, _O, _O, _O, _O, _O, a)
    low, high = np.uint32(_STATE[0] ^ v[0] ^ v[8]), np.uint32(_STATE[1] ^ v[1] ^ v[9])
    return np.uint64(low) | (np.uint64(high) << np.uint64(32))


@kernel
def digests(bits: np.ndarray, ninth: np.ndarray, out: np.ndarray) -> None:
    """Write the digest of each integer; the loop is one that a compiler turns into vector instructions.

    Parameters
    ----------
    bits
        (n,) uint64, the integers' low 64 bits.
    ninth
        (n,) uint32, their ninth byte: 255 below 0, else 0.
    out
        (n,) uint64, filled.
    """
    for i in range(bits.size):
        out[i] = _digest(np.uint32(bits[i] & np.uint64(0xFFFFFFFF)), np.uint32(bits[i] >> np.uint64(32)), ninth[i])

"""Ids as columns of numbers: integers as they are, texts as their bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.ids import Id

SIGNED, UNSIGNED, TEXT = range(3)
"""Kinds of ids: integers of 64 bits, those above the largest of them, texts."""

_HALF: Final = 1 << 63


class IdColumns(NamedTuple):
    """Ids as three columns.

    Attributes
    ----------
    kind
        (n,) uint8, see `SIGNED`.
    number
        (n,) int64, the integer's bits, or the length of the text in bytes.
    text
        (n_bytes,) uint8, the texts one after another.
    """

    kind: NDArray[np.uint8]
    number: NDArray[np.int64]
    text: NDArray[np.uint8]


def to_columns(ids: Sequence[Id]) -> IdColumns:
    """Return ids as columns; texts are UTF-8, in which a lone half of a surrogate pair is kept."""
    kind, number, texts = np.zeros(len(ids), np.uint8), np.zeros(len(ids), np.int64), list[bytes]()
    for i, id_ in enumerate(ids):
        if isinstance(id_, str):
            texts.append(id_.encode("utf-8", "surrogatepass"))
            kind[i], number[i] = TEXT, len(texts[-1])
        elif id_ < _HALF:
            number[i] = id_
        else:
            kind[i], number[i] = UNSIGNED, id_ - 2 * _HALF
    return IdColumns(kind, number, np.frombuffer(b"".join(texts), np.uint8))


def to_ids(columns: IdColumns) -> list[Id]:
    """Return ids from columns.

    Raises
    ------
    ValueError
        If the columns do not fit each other.
    """
    kinds, numbers, text = columns.kind.tolist(), columns.number.tolist(), columns.text.tobytes()
    ids: list[Id] = []
    at = 0
    for kind, number in zip(kinds, numbers, strict=True):
        if kind == TEXT:
            ids.append(text[at : at + number].decode("utf-8", "surrogatepass"))
            at += number
        else:
            ids.append(number if kind == SIGNED else number + 2 * _HALF)
    if at != len(text):
        message = f"expected texts of {at} bytes, found {len(text)}"
        raise ValueError(message)
    return ids

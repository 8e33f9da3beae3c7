"""Compares decisions that were made again with those that were recorded, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.audit.arrays import RedecidedArrays
from scheduler.audit.batches import Recorded
from scheduler.decisions.arrays import DROPS, REASONS

FIELDS: Final = (
    "raw",
    "values",
    "profile",
    "utility",
    "uncertainty",
    "is_new",
    "draw",
    "pick",
    "propensity",
    "reason",
    "dropped",
    "slate",
    "alternatives",
)
"""In the order in which they are computed: where one differs, later ones may differ because of it."""


class Difference(NamedTuple):
    """A decision that came out otherwise.

    Attributes
    ----------
    decision
        Its id.
    field
        The first of `FIELDS` that differs.
    node
        The candidate that it is of, as text; "" for a field of the whole decision.
    expected, found
        As recorded, and as it came out now.
    """

    decision: int
    field: str
    node: str
    expected: Any
    found: Any


class _Pair(NamedTuple):
    """A field as recorded and as it came out, (n, ...) by decision or (k, ...) by candidate."""

    expected: NDArray[Any]
    found: NDArray[Any]
    by_candidate: bool


def differences(recorded: Recorded, redecided: RedecidedArrays, max_nodes: int) -> list[Difference]:
    """Return the decisions that came out otherwise, each with the first field that differs.

    Parameters
    ----------
    max_nodes
        Places of a slate, after which those of alternatives come.
    """
    starts = recorded.arrays.starts
    owner = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    found: dict[int, Difference] = {}
    for field, pair in _pairs(recorded, redecided, max_nodes):
        rows = np.flatnonzero(_differ(pair.expected, pair.found))
        for row in rows.tolist():
            i = int(owner[row]) if pair.by_candidate else row
            if i not in found:
                node = recorded.nodes[row] if pair.by_candidate else ""
                expected, now = _plain(field, pair.expected[row]), _plain(field, pair.found[row])
                found[i] = Difference(int(recorded.arrays.id[i]), field, node, expected, now)
    return [found[i] for i in sorted(found)]


def _pairs(recorded: Recorded, redecided: RedecidedArrays, max_nodes: int) -> Iterator[tuple[str, _Pair]]:
    given, out = recorded.arrays, redecided.out
    expected = recorded.position
    places = np.full_like(expected, -1)
    width = min(places.shape[1], out.position.shape[1])
    places[:, :width] = out.position[:, :width]
    pairs = {
        "raw": _Pair(given.raw, redecided.raw, True),  # noqa: FBT003
        "values": _Pair(given.values, redecided.values, True),  # noqa: FBT003
        "profile": _Pair(given.profile, redecided.profile, False),  # noqa: FBT003
        "utility": _Pair(given.utility, redecided.utility, True),  # noqa: FBT003
        "uncertainty": _Pair(given.uncertainty, redecided.uncertainty, True),  # noqa: FBT003
        "is_new": _Pair(given.is_new, redecided.is_new, True),  # noqa: FBT003
        "draw": _Pair(given.draw, redecided.draw, False),  # noqa: FBT003
        "pick": _Pair(expected[:, 0], places[:, 0], False),  # noqa: FBT003
        "propensity": _Pair(recorded.propensity, out.propensity, False),  # noqa: FBT003
        "reason": _Pair(recorded.reason, out.reason, False),  # noqa: FBT003
        "dropped": _Pair(recorded.dropped, out.dropped, False),  # noqa: FBT003
        "slate": _Pair(expected[:, :max_nodes], places[:, :max_nodes], False),  # noqa: FBT003
        "alternatives": _Pair(expected[:, max_nodes:], places[:, max_nodes:], False),  # noqa: FBT003
    }
    for field in FIELDS:
        yield field, pairs[field]


def _differ(expected: NDArray[Any], found: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which rows are not the same bits; one NaN is as good as another."""
    if expected.shape != found.shape:
        return np.ones(len(expected), np.bool_)
    differ = expected != found
    if expected.dtype.kind == "f":
        differ |= np.signbit(expected) != np.signbit(found)
        differ &= ~(np.isnan(expected) & np.isnan(found))
    return np.asarray(differ.any(axis=tuple(range(1, differ.ndim))))


def _plain(field: str, value: Any) -> Any:  # noqa: ANN401 - a number or an array of any kind
    """Return a value as JSON has it."""
    if field == "reason":
        return REASONS[int(value)] if value < len(REASONS) else int(value)
    if field == "dropped":
        return {name: int(n) for name, n in zip(DROPS, value, strict=True) if n}
    return value.tolist()

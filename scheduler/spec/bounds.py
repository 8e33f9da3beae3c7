"""Bounds on how much a spec may ask for. Each holds before anything is sized by the spec.

The largest spec that fits all bounds costs a scheduler some hundred megabytes; the largest shipped one has 61 features,
3 heads, 3 values, 3 half-lives and 5 tiers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from scheduler.errors import SpecError, shown
from scheduler.spec.types import Spec

MOST_BYTES: Final = 2**20
"""Of a spec as text. Shipped ones have 3 to 8 thousand."""

LEAST_SECONDS, MOST_SECONDS = 1e-3, 1e9
"""Of a duration: a millisecond, because outcomes are measured in those, and 30 years."""

MOST: Final = {
    # A request's and a node's columns are kept for each client and node.
    "request": 1_024,
    "node": 1_024,
    # A candidate has a number for each feature.
    "features": 1_024,
    # A candidate has a forest, a value and an error for each head.
    "heads": 16,
    "outcomes": 256,
    # An outcome is written under every key.
    "history.keys": 64,
    "history.values": 64,
    "history.half_lives": 16,
    "latent_factors": 64,
    "change_points": 64,
    # A node is listed in every tier, a request looks into one after another.
    "candidates.tiers": 64,
    # A request is compared with one profile after another.
    "utility.profiles": 256,
    "policy.spread": 16,
}
"""How many parts of each kind there may be."""

MOST_KEY_PARTS: Final = 8
"""Parts of a history key: client, node and some categories of either."""

MOST_NUMBERS: Final = 16_384
"""Numbers of the columns of one side, vectors included: 128 KB a node or client."""

MOST_ROW_FLOATS: Final = 1_024
"""Statistics of one entry of history, 4 KB: three for each pair of value and half-life."""

MOST_CANDIDATE_NUMBERS: Final = 2**24
"""Features of all candidates of a request: 64 MB for each thread that decides."""

STATISTICS: Final = 3
"""Weight, mean and squares, of each value and half-life."""


def check_bounds(spec: Spec) -> None:
    """Raise `SpecError`, which names the key, if a spec asks for more than a scheduler has room for."""
    for where, most, found in (*_counts(spec), *_sizes(spec)):
        if found > most:
            message = f"{where}: expected at most {most:,}, found {shown(found)}"
            raise SpecError(message)


def _counts(spec: Spec) -> Iterator[tuple[str, int, int]]:
    """Yield the name of each kind of part, how many there may be, and how many there are."""
    for where, most in MOST.items():
        part: object = spec
        for name in where.split("."):
            part = getattr(part, name)
        yield where, most, len(part)  # type: ignore[arg-type]
    for name, parts in spec.history.keys.items():
        yield f"history.keys.{name}: parts", MOST_KEY_PARTS, len(parts)


def _sizes(spec: Spec) -> Iterator[tuple[str, int, int]]:
    """Yield what is computed from several keys, how large it may be, and how large it is."""
    for side, columns in (("request", spec.request), ("node", spec.node)):
        yield f"{side}: numbers of all columns", MOST_NUMBERS, sum(column.size for column in columns.values())
    values, half_lives = len(spec.history.values), len(spec.history.half_lives)
    row = values + STATISTICS * values * half_lives
    yield "history: numbers of an entry, by values and half_lives", MOST_ROW_FLOATS, row
    candidates = spec.candidates.limit * len(spec.features)
    yield "candidates.limit times the number of features", MOST_CANDIDATE_NUMBERS, candidates

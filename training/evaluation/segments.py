"""Where one policy does better than another, and where worse: by client, by node, by context."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.evaluation.metrics import LEARNED
from training.evaluation.results import Comparison
from training.telemetry import Categories

FEWEST = 30
"""Fewest requests of a listed group; with fewer, chance outweighs the policy."""

SHOWN = 5
"""Groups listed at either end."""


class Group(NamedTuple):
    """Requests that have something in common.

    Attributes
    ----------
    name
        The value that its requests share.
    n
        How many.
    learned, baseline
        Mean cost of either policy.
    gain
        Mean of baseline less learned; negative where the model loses.
    weight
        ``gain`` as a share of the largest one listed beside it, -1 to 1.
    """

    name: str
    n: int
    learned: float
    baseline: float
    gain: float
    weight: float


class Grouping(NamedTuple):
    """All groups of one kind, summed up: how many are won and lost, and the largest of both.

    ``wins`` and ``losses`` count groups with at least `FEWEST` requests, of which ``best`` and ``worst`` are
    those that add most to the total, largest first.
    """

    title: str
    wins: int
    losses: int
    best: tuple[Group, ...]
    worst: tuple[Group, ...]


def groupings(comparison: Comparison, baseline: str) -> list[Grouping]:
    """Compare the learned model with a baseline, one grouping after another.

    Groupings without a group to list are left out, as are those that repeat another one under another name.
    """
    kept: list[tuple[str, Categories]] = []
    for title, column in _columns(comparison):
        if not any(_alike(column.codes, other.codes) for _, other in kept):
            kept.append((title, column))
    found = [_grouping(title, column, comparison, baseline) for title, column in kept]
    return [grouping for grouping in found if grouping.best or grouping.worst]


def _columns(comparison: Comparison) -> Iterator[tuple[str, Categories]]:
    client, node = comparison.client, comparison.picks[LEARNED].node
    yield "client", Categories(client, tuple(comparison.clients.ids.tolist()))
    yield "node that the model picked", Categories(node, tuple(comparison.nodes.ids.tolist()))
    for name, column in comparison.request.items():
        if isinstance(column, Categories) and len(column.values) > 1:
            yield f"request: {name}", column
    for what, table, rows in (
        ("client", comparison.clients, client),
        ("picked node", comparison.nodes, node),
    ):
        for name, column in table.columns.items():
            if isinstance(column, Categories) and len(column.values) > 1:
                yield f"{what}: {name}", column.take(rows)


def _alike(a: NDArray[np.int32], b: NDArray[np.int32]) -> bool:
    """Return whether two columns group requests in the same way, under whatever names."""
    pairs = np.unique(np.stack([a, b]), axis=1).shape[1]
    return len(np.unique(a)) == len(np.unique(b)) == pairs


def _grouping(title: str, column: Categories, comparison: Comparison, baseline: str) -> Grouping:
    learned = comparison.picks[LEARNED].cost.astype(np.float64)
    other = comparison.picks[baseline].cost.astype(np.float64)
    codes = np.where(column.codes < 0, len(column.values), column.codes)
    count = np.bincount(codes, minlength=len(column.values) + 1)
    costs = np.stack([np.bincount(codes, cost, len(count)) for cost in (learned, other)])
    total = costs[1] - costs[0]
    listed = np.flatnonzero(count >= FEWEST)
    order = listed[np.argsort(-total[listed], kind="stable")]
    best = [at for at in order[:SHOWN].tolist() if total[at] > 0.0]
    worst = [at for at in order[::-1][:SHOWN].tolist() if total[at] < 0.0]
    gain = total / np.maximum(count, 1)
    largest = max((abs(gain[at]) for at in best + worst), default=1.0)
    names = [*map(str, column.values), "unknown"]

    def group(at: int) -> Group:
        own, others = (costs[:, at] / count[at]).tolist()
        return Group(names[at], int(count[at]), own, others, float(gain[at]), float(gain[at] / largest))

    return Grouping(
        title,
        wins=int((total[listed] > 0.0).sum()),
        losses=int((total[listed] < 0.0).sum()),
        best=tuple(map(group, best)),
        worst=tuple(map(group, worst)),
    )

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
"""Fewest requests of a listed segment; with fewer, chance outweighs the policy."""

SHOWN = 5
"""Segments listed at either end."""


class Segment(NamedTuple):
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


class Segmentation(NamedTuple):
    """All segments of one kind, summed up: how many are won and lost, and the largest of both.

    ``wins`` and ``losses`` count segments with at least `FEWEST` requests, of which ``best`` and ``worst`` are
    those that add most to the total, largest first.
    """

    title: str
    wins: int
    losses: int
    best: tuple[Segment, ...]
    worst: tuple[Segment, ...]


def segmentations(comparison: Comparison, baseline: str) -> list[Segmentation]:
    """Compare the learned model with a baseline, one segmentation after another.

    Segmentations without a segment to list are left out, as are those that repeat another one under another name.
    """
    distinct: list[tuple[str, Categories]] = []
    for title, column in _columns(comparison):
        if not any(_alike(column.codes, other.codes) for _, other in distinct):
            distinct.append((title, column))
    found = [_segmentation(title, column, comparison, baseline) for title, column in distinct]
    return [segmentation for segmentation in found if segmentation.best or segmentation.worst]


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
    """Return whether two columns segment requests in the same way, under whatever names."""
    pairs = np.unique(np.stack([a, b]), axis=1).shape[1]
    return len(np.unique(a)) == len(np.unique(b)) == pairs


def _segmentation(title: str, column: Categories, comparison: Comparison, baseline: str) -> Segmentation:
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

    def segment(at: int) -> Segment:
        own, others = (costs[:, at] / count[at]).tolist()
        return Segment(names[at], int(count[at]), own, others, float(gain[at]), float(gain[at] / largest))

    return Segmentation(
        title,
        wins=int((total[listed] > 0.0).sum()),
        losses=int((total[listed] < 0.0).sum()),
        best=tuple(map(segment, best)),
        worst=tuple(map(segment, worst)),
    )

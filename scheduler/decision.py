"""What a scheduler answers."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scheduler.columns import Id
from scheduler.layout import DROPS, REASONS, DecisionArrays


class Decision(NamedTuple):
    """Which nodes serve one request, and why.

    Attributes
    ----------
    id
        Names the decision when its outcomes are reported.
    nodes
        The slate, first choice first; empty where the origin serves.
    scores
        One dict for each node of the slate: each head's expected value, and ``utility``.
    alternatives
        By id, best first, the scores of nodes that could have begun the slate instead, as many as the spec's policy
        asks for. No uplink of theirs is reserved.
    propensity
        Probability with which the slate was drawn, 1 where nothing was left to chance.
    reason
        One of `scheduler.layout.REASONS`.
    dropped
        Candidates dropped by each filter that dropped any.
    model_version
        Version of the model that scored.
    """

    id: int
    nodes: tuple[Id, ...]
    scores: tuple[dict[str, float], ...]
    alternatives: dict[Id, dict[str, float]]
    propensity: float
    reason: str
    dropped: dict[str, int]
    model_version: str


class Decisions(NamedTuple):
    """Decisions of many requests; row ``i`` belongs to request ``i``.

    Attributes
    ----------
    id
        (n,) int64.
    nodes
        (n, max_nodes) object ids, None past a slate's end.
    position
        (n, max_nodes) int32 places in the candidate list, -1 past a slate's end.
    values
        (n, max_nodes, n_heads) float64, the heads' expected values in the order of ``heads``.
    utility
        (n, max_nodes) float64.
    alternatives, alternative_values, alternative_utility
        The same of the alternatives, (n, n_alternatives) and so on.
    propensity
        (n,) float64.
    reason
        (n,) uint8, see `scheduler.layout.REASONS`.
    dropped
        (n, len(DROPS)) int32.
    heads
        Names of the heads.
    model_version
        Version of the model that scored.
    """

    id: NDArray[np.int64]
    nodes: NDArray[Any]
    position: NDArray[np.int32]
    values: NDArray[np.float64]
    utility: NDArray[np.float64]
    alternatives: NDArray[Any]
    alternative_values: NDArray[np.float64]
    alternative_utility: NDArray[np.float64]
    propensity: NDArray[np.float64]
    reason: NDArray[np.uint8]
    dropped: NDArray[np.int32]
    heads: tuple[str, ...]
    model_version: str

    def one(self, i: int) -> Decision:
        """Return decision ``i`` by itself."""
        slate = scored(self.nodes[i].tolist(), self.values[i], self.utility[i], self.heads)
        spare = scored(
            self.alternatives[i].tolist(), self.alternative_values[i], self.alternative_utility[i], self.heads
        )
        return decision_at(self, i, slate, spare, self.model_version)


Scored: TypeAlias = list[tuple[Id, dict[str, float]]]
"""Nodes, each with its scores."""


def scored(
    ids: list[Id | None], values: NDArray[np.float64], utility: NDArray[np.float64], heads: tuple[str, ...]
) -> Scored:
    """Return nodes with their scores from head values (n, n_heads) and utilities (n,); None for an id is no node."""
    names = (*heads, "utility")
    rows = zip(ids, values.tolist(), utility.tolist(), strict=True)
    return [(id_, dict(zip(names, (*row, last), strict=True))) for id_, row, last in rows if id_ is not None]


def decision_at(found: Decisions | DecisionArrays, i: int, slate: Scored, spare: Scored, version: str) -> Decision:
    """Return row ``i`` of what the kernel wrote as one decision for the given slate and alternatives."""
    return Decision(
        id=found.id.item(i),
        nodes=tuple([id_ for id_, _ in slate]),
        scores=tuple([scores for _, scores in slate]),
        alternatives=dict(spare),
        propensity=found.propensity.item(i),
        reason=REASONS[found.reason.item(i)],
        dropped={name: n for name, n in zip(DROPS, found.dropped[i].tolist(), strict=True) if n},
        model_version=version,
    )

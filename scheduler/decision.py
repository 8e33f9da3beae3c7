"""What a scheduler answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.columns import Id
from scheduler.layout import DROPS, REASONS


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
        slate = _scored(self.nodes[i].tolist(), self.values[i].tolist(), self.utility[i].tolist(), self.heads)
        spare = _scored(
            self.alternatives[i].tolist(),
            self.alternative_values[i].tolist(),
            self.alternative_utility[i].tolist(),
            self.heads,
        )
        return Decision(
            id=self.id.item(i),
            nodes=tuple(slate),
            scores=tuple(slate.values()),
            alternatives=spare,
            propensity=self.propensity.item(i),
            reason=REASONS[self.reason.item(i)],
            dropped=dropped_by_name(self.dropped[i].tolist()),
            model_version=self.model_version,
        )


def _scored(
    ids: Sequence[Id | None], values: Sequence[Sequence[float]], utility: Sequence[float], heads: tuple[str, ...]
) -> dict[Id, dict[str, float]]:
    """Return scores by node from head values (n, n_heads) and utilities (n,); None for an id is no node."""
    rows = zip(ids, values, utility, strict=True)
    return {id_: named_scores(heads, row, last) for id_, row, last in rows if id_ is not None}


def named_scores(heads: tuple[str, ...], values: Sequence[float], utility: float) -> dict[str, float]:
    """Return the scores of one node by name."""
    scores = dict(zip(heads, values, strict=True))
    scores["utility"] = utility
    return scores


def dropped_by_name(dropped: Sequence[int]) -> dict[str, int]:
    """Return how many candidates each filter dropped, of those that dropped any."""
    return {name: n for name, n in zip(DROPS, dropped, strict=True) if n} if any(dropped) else {}

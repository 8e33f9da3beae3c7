"""What a scheduler answers."""

from __future__ import annotations

from typing import Any, NamedTuple

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
    propensity: NDArray[np.float64]
    reason: NDArray[np.uint8]
    dropped: NDArray[np.int32]
    heads: tuple[str, ...]
    model_version: str

    def one(self, i: int) -> Decision:
        """Return decision ``i`` by itself."""
        length = int((self.position[i] >= 0).sum())
        return decision_at(self, i, tuple(self.nodes[i, :length].tolist()), self.heads, self.model_version)


def decision_at(
    found: Decisions | DecisionArrays, i: int, nodes: tuple[Id, ...], heads: tuple[str, ...], version: str
) -> Decision:
    """Return row ``i`` of what the kernel wrote as one decision for the given slate."""
    names = (*heads, "utility")
    return Decision(
        id=int(found.id[i]),
        nodes=nodes,
        scores=tuple(
            dict(zip(names, (*found.values[i, s].tolist(), float(found.utility[i, s])), strict=True))
            for s in range(len(nodes))
        ),
        propensity=float(found.propensity[i]),
        reason=REASONS[found.reason[i]],
        dropped={name: n for name, n in zip(DROPS, found.dropped[i].tolist(), strict=True) if n},
        model_version=version,
    )

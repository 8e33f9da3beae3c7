"""What a scheduler answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.ids import Id
from scheduler.decisions.arrays import DROPS, REASONS, DecisionArrays


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
        One of `scheduler.decisions.arrays.REASONS`.
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
        (n,) uint8, see `scheduler.decisions.arrays.REASONS`.
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


_UTILITY = 2
"""Place of the first utility in an `DecisionBuffer`, after id and propensity."""


class DecisionBuffer:
    """Room for one decision, read as plain numbers in one step: asking numpy for each by itself took 2 us.

    Parameters
    ----------
    max_nodes, n_alternatives
        Longest slate, and how many alternatives come after it.
    heads
        Names of the heads.

    Attributes
    ----------
    arrays
        What the kernel writes to, views of one block.
    """

    def __init__(self, max_nodes: int, n_alternatives: int, heads: tuple[str, ...]) -> None:
        self._max_nodes, self._heads, self._width = max_nodes, heads, len(heads)
        self._places = n = max_nodes + n_alternatives
        self._values = _UTILITY + n
        self._position = self._values + n * len(heads)
        self._dropped = self._position + n
        self._form = Struct(f"=qd{n}d{n * len(heads)}d{n}i{len(DROPS)}iB")  # widest first: all are aligned
        self._block = bytearray(self._form.size)
        shapes = (1,), (1,), (1, n), (1, n, len(heads)), (1, n), (1, len(DROPS)), (1,)
        kinds = np.int64, np.float64, np.float64, np.float64, np.int32, np.int32, np.uint8
        views, start = [], 0
        for shape, kind in zip(shapes, kinds, strict=True):
            count = math.prod(shape)
            views.append(np.frombuffer(self._block, kind, count, start).reshape(shape))
            start += views[-1].nbytes
        id_, propensity, utility, values, position, dropped, reason = views
        self.arrays = DecisionArrays(id_, position, values, utility, propensity, reason, dropped)

    def read(self, slots: NDArray[np.int32], id_at: Callable[[int], Id | None], version: str) -> Decision:
        """Return the decision; ``slots`` (1, n_candidates) are its candidates', ``id_at`` gives the id of one."""
        found = self._form.unpack_from(self._block)
        slate = self._nodes(found, 0, self._max_nodes, slots, id_at)
        return Decision(
            found[0],
            tuple(slate),
            tuple(slate.values()),
            self._nodes(found, self._max_nodes, self._places, slots, id_at) if self._places > self._max_nodes else {},
            found[1],
            REASONS[found[-1]],
            dropped_by_name(found[self._dropped : -1]),
            version,
        )

    def _nodes(
        self, found: tuple[Any, ...], first: int, end: int, slots: NDArray[np.int32], id_at: Callable[[int], Id | None]
    ) -> dict[Id, dict[str, float]]:
        """Return the scores of the nodes of some places by id; the first place without a node ends them."""
        nodes, width = {}, self._width
        for s in range(first, end):
            place = found[self._position + s]
            id_ = None if place < 0 else id_at(slots.item(place))
            if id_ is None:
                break
            at = self._values + s * width
            nodes[id_] = named_scores(self._heads, found[at : at + width], found[_UTILITY + s])
        return nodes

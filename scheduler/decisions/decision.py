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
        Probability with which the slate's first node was drawn, 1 where nothing was left to chance.
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
        form = DecisionForm(self.nodes.shape[1], self.heads, self.model_version)
        return form.decision(
            self.id.item(i),
            self.propensity.item(i),
            [*self.utility[i].tolist(), *self.alternative_utility[i].tolist()],
            [*self.values[i].ravel().tolist(), *self.alternative_values[i].ravel().tolist()],
            [*self.nodes[i].tolist(), *self.alternatives[i].tolist()],
            self.dropped[i].tolist(),
            self.reason.item(i),
        )


class DecisionForm(NamedTuple):
    """How the numbers of one decision become a `Decision`.

    Attributes
    ----------
    max_nodes
        Places of the slate; those of alternatives follow.
    heads
        Names of the heads.
    model_version
        Version of the model that scored.
    """

    max_nodes: int
    heads: tuple[str, ...]
    model_version: str

    def decision(  # noqa: PLR0913, PLR0917 - the numbers of a decision, as they stand in memory
        self,
        id_: int,
        propensity: float,
        utility: Sequence[float],
        values: Sequence[float],
        nodes: Sequence[Id | None],
        dropped: Sequence[int],
        reason: int,
    ) -> Decision:
        """Return a decision.

        Parameters
        ----------
        utility, nodes
            Of each place; None is no node.
        values
            Those of all heads, place after place.
        dropped, reason
            As in `scheduler.decisions.arrays.DecisionArrays`.
        """
        n, places = self.max_nodes, len(nodes)
        slate = self._scores(0, n, utility, values, nodes)
        return Decision(
            id_,
            tuple(slate),
            tuple(slate.values()),
            self._scores(n, places, utility, values, nodes) if places > n else {},
            propensity,
            REASONS[reason],
            {name: n for name, n in zip(DROPS, dropped, strict=True) if n} if any(dropped) else {},
            self.model_version,
        )

    def _scores(
        self, first: int, end: int, utility: Sequence[float], values: Sequence[float], nodes: Sequence[Id | None]
    ) -> dict[Id, dict[str, float]]:
        """Return the scores of the nodes of some places by id."""
        found, heads = {}, self.heads
        width = len(heads)
        for s in range(first, end):
            id_ = nodes[s]
            if id_ is not None:
                scores = dict(zip(heads, values[s * width : (s + 1) * width], strict=True))
                scores["utility"] = utility[s]
                found[id_] = scores
        return found


_UTILITY = 2
"""Place of the first utility in a `DecisionBuffer`, after id and propensity."""


class DecisionBuffer:
    """Memory for one decision, read as plain numbers in one step: asking numpy for each by itself took 2 us.

    Parameters
    ----------
    max_nodes, n_alternatives
        Longest slate, and how many alternatives come after it.
    heads
        Names of the heads.
    model_version
        Version of the model that scores.

    Attributes
    ----------
    arrays
        What the kernel writes to, views of one block.
    """

    def __init__(self, max_nodes: int, n_alternatives: int, heads: tuple[str, ...], model_version: str) -> None:
        self._form = DecisionForm(max_nodes, heads, model_version)
        n, width, n_drops = max_nodes + n_alternatives, len(heads), len(DROPS)
        self._values = _UTILITY + n
        self._position = self._values + n * width
        self._dropped = self._position + n
        self._struct = Struct(f"=qd{n}d{n * width}d{n}i{n_drops}iB")  # widest first: all are aligned
        self._block = bytearray(self._struct.size)
        shapes = (1,), (1,), (1, n), (1, n, width), (1, n), (1, n_drops), (1,)
        kinds = np.int64, np.float64, np.float64, np.float64, np.int32, np.int32, np.uint8
        views, start = [], 0
        for shape, kind in zip(shapes, kinds, strict=True):
            count = math.prod(shape)
            views.append(np.frombuffer(self._block, kind, count, start).reshape(shape))
            start += views[-1].nbytes
        id_, propensity, utility, values, position, dropped, reason = views
        self.arrays = DecisionArrays(id_, position, values, utility, propensity, reason, dropped)

    def read(self, slots: NDArray[np.int32], id_at: Callable[[int], Id | None]) -> Decision:
        """Return the decision; ``slots`` (1, n_candidates) are its candidates', ``id_at`` gives the id of one."""
        found = self._struct.unpack_from(self._block)
        values, position, dropped = self._values, self._position, self._dropped
        nodes = [None if at < 0 else id_at(slots.item(at)) for at in found[position:dropped]]
        return self._form.decision(
            found[0],
            found[1],
            found[_UTILITY:values],
            found[values:position],
            nodes,
            found[dropped:-1],
            found[-1],
        )

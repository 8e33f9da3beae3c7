"""The moving average that decides best, of one under each history key."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.arrays import MISSING_KEY
from scheduler.columns.ids import id_keys
from scheduler.spec import CLIENT, NODE, Spec
from training.policies.moving_averages import HALF_LIFE, Averages, Levels, slice_spacing
from training.policies.pair_numbers import PairNumbers
from training.policies.protocol import Question, Seen, Setting, least, seen_before
from training.telemetry import Categories, Columns, Telemetry

Key: TypeAlias = tuple[str, ...]
Keys: TypeAlias = NDArray[np.uint64]

CHOSEN_ON = 0.2
"""Share of the slices before an evaluation, the last, on which the average is chosen."""

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # of Fibonacci hashing, see `training.policies.pair_numbers`


def average_keys(spec: Spec) -> list[Key]:
    """Return the keys of the averages, the finest first.

    They are the spec's history keys with a part of the node, the node, client and node, and client and node with each
    category of a request that telemetry logs.
    """
    logged = [f"request.{name}" for name, c in spec.request_columns("telemetry").items() if c.type == "category"]
    found = [*spec.history.keys.values(), (NODE,), (CLIENT, NODE), *((CLIENT, NODE, part) for part in logged)]
    distinct = {frozenset(parts): tuple(parts) for parts in found if any(_of_node(part) for part in parts)}
    return sorted(distinct.values(), key=lambda parts: -len(parts))


def _of_node(part: str) -> bool:
    return part == NODE or part.startswith("node.")


class _Average:
    """A moving average of the cost's square root under the hashes of one key."""

    def __init__(self, half_life: float) -> None:
        self._numbers, self._averages = PairNumbers(1), Averages(1, half_life)

    def learn(self, keys: Keys, cost: NDArray[np.float64], time: NDArray[np.float64]) -> None:
        number = self._numbers.add(keys.view(np.int64), np.zeros(keys.size, np.int64))
        self._averages.make_room(len(self._numbers))
        self._averages.add(number, cost, time)

    def read(self, keys: Keys) -> NDArray[np.float64]:
        return self._averages.read(self._numbers.find(keys.view(np.int64), np.zeros(keys.shape, np.int64)))


class KeyAverage:
    """Picks the least moving average under one key, the one that decides best on the last slices before the evaluation.

    There, every client takes the measured node with the least average of what came before the slice. Where a key is
    new, the node's average counts.

    Attributes
    ----------
    chosen
        The parts of the chosen key; empty before `warm`.
    """

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._levels = Levels.empty(setting, pair=False, last=False)
        self._average = _Average(HALF_LIFE)
        self._asked: dict[int, np.uint64] = {}
        self.chosen: Key = ()

    def warm(self, telemetry: Telemetry) -> None:
        """Choose the key, and learn from all telemetry."""
        seconds = self._setting.spec.telemetry.slice.seconds
        half_life = HALF_LIFE * slice_spacing(telemetry, seconds)
        candidates = average_keys(self._setting.spec)
        costs = []
        for parts in candidates:
            average = _Average(half_life)
            costs.append((self._replay(telemetry, parts, average, _Average(half_life)), average))
        best = min(range(len(costs)), key=lambda at: costs[at][0])
        self.chosen, self._average = candidates[best], costs[best][1]
        self._levels.set_spacing(telemetry, seconds)
        self._levels.learn(seen_before(telemetry))

    def _replay(self, telemetry: Telemetry, parts: Key, average: _Average, of_node: _Average) -> float:
        """Let averages learn all telemetry, and return the mean cost of what they would have picked near the end."""
        seen = seen_before(telemetry)
        node = seen.node.astype(np.uint64)
        keys = self._rows_keys(telemetry, parts)[seen.number]
        cost = np.sqrt(seen.cost, dtype=np.float64)
        slices = telemetry.slice[seen.number]
        present = np.unique(slices)
        if not present.size:
            return 0.0
        first = present[-max(1, round(CHOSEN_ON * present.size))]
        at = np.flatnonzero(slices < first)
        average.learn(keys[at], cost[at], seen.arrival[at])
        of_node.learn(node[at], cost[at], seen.arrival[at])
        total, n = 0.0, 0
        for number in present[present >= first]:
            at = np.flatnonzero(slices == number)
            rows = seen.number[at]
            known = average.read(keys[at])
            expected = np.where(np.isnan(known), of_node.read(node[at]), known)
            picked = _least_of_each(_requests(telemetry, rows), expected)
            total, n = total + float(seen.cost[at][picked].sum(dtype=np.float64)), n + picked.size
            average.learn(keys[at], cost[at], seen.arrival[at])
            of_node.learn(node[at], cost[at], seen.arrival[at])
        return total / n if n else 0.0

    def pick(self, question: Question) -> NDArray[np.intp]:
        """Return the columns of the least averages."""
        node = np.maximum(question.candidates, 0)
        keys = self._keys(self.chosen, question.client[:, None], node, question.request, question.node_state)
        known = self._average.read(keys)
        expected = np.where(np.isnan(known), self._levels.of_nodes(node), known)
        picked = least(expected, question.candidates)
        own = np.take_along_axis(keys, picked[:, None], axis=1)[:, 0]
        self._asked.update(zip(question.number.tolist(), own, strict=True))
        return picked

    def learn(self, seen: Seen) -> None:
        """Update the averages."""
        keys = np.array([self._asked.pop(number, 0) for number in seen.number.tolist()], np.uint64)
        self._average.learn(keys, np.sqrt(seen.cost, dtype=np.float64), seen.arrival)
        self._levels.learn(seen)

    def _rows_keys(self, telemetry: Telemetry, parts: Key) -> Keys:
        """Return the key of each telemetry row; the node's own columns are those of the row."""
        return self._keys(parts, telemetry.client, telemetry.node, telemetry.request, telemetry.node_state, by_row=True)

    def _keys(
        self,
        parts: Key,
        client: NDArray[np.int32],
        node: NDArray[np.int32],
        request: Columns,
        node_state: Columns,
        by_row: bool = False,  # noqa: FBT001, FBT002
    ) -> Keys:
        """Return a hash of the parts of each client and node, in the shape that these have together.

        ``node_state`` has a value for each row with ``by_row``, else for each node.
        """
        found = np.zeros(np.broadcast_shapes(client.shape, node.shape), np.uint64)
        for part in parts:
            side, _, name = part.partition(".")
            if not name:
                code = (client if side == CLIENT else node).astype(np.uint64)
            elif side == "request":
                own = _codes(request[name]) if name in request else None
                code = _codes(self._setting.clients.columns[name])[client] if own is None else own.reshape(client.shape)
            else:
                own = _codes(node_state[name]) if name in node_state else None
                code = own if own is not None and by_row else self._of_nodes(name, own)[node]
            found = (found ^ code) * _MULTIPLIER
            found ^= found >> np.uint64(29)
        return found

    def _of_nodes(self, name: str, state: Keys | None) -> Keys:
        return _codes(self._setting.nodes.columns[name]) if state is None else state


def _codes(column: NDArray[np.float64] | Categories) -> Keys:
    """Return a number for each row's category that depends on the category alone."""
    if not isinstance(column, Categories):
        raise TypeError("expected a category, found numbers")  # the spec's checks allow no others in a key
    return np.append(id_keys(list(column.values)), np.uint64(MISSING_KEY))[column.codes]


def _requests(telemetry: Telemetry, rows: NDArray[np.int64]) -> Keys:
    """Return a number for the client and the request's categories of each row; by the client alone if all differ."""
    client = telemetry.client[rows].astype(np.uint64)
    found = client.copy()
    for column in telemetry.request.values():
        if isinstance(column, Categories):
            found = (found ^ _codes(column.take(rows))) * _MULTIPLIER
    return found if len(np.unique(found)) < len(rows) else client


def _least_of_each(group: Keys, expected: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the row of the least number in each group of two or more rows; unknown numbers come last."""
    order = np.lexsort((expected, group))
    _, first, count = np.unique(group[order], return_index=True, return_counts=True)
    return order[first[count > 1]]
